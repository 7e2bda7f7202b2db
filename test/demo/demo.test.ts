import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'

import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import { demo } from '../../bench/demo/demo.js'
import type { Recording } from '../../bench/demo/events.js'
import { figuresOf } from '../../bench/research-world/arena.js'

async function shown(args: readonly string[], tty = false): Promise<string> {
  let text = ''
  await demo(args, { write: (more) => (text += more), tty, columns: 100 })
  return text
}

describe('the demo', () => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'demo-'))
  const file = path.join(folder, 'recording.json')
  let plain = ''
  beforeAll(async () => {
    plain = await shown(['--questions', '6', '--agents', '3', '--seconds', '60', '--threads', '1', '--record', file])
  })
  afterAll(() => rmSync(folder, { recursive: true }))

  test('shows a question with thinking, calls, results and verdicts, then both batches and the table', () => {
    for (const part of [/^Question \(\d steps apart\): /m, / 1 large {2}Plan: /, /-> search\(query: "/, /<- \w+/, /progress \d\.\d\d: /, /λ \d\.\d\d/])
      expect(plain).toMatch(part)
    expect(plain.match(/\d+\/6 done/g)?.length).toBeGreaterThanOrEqual(2)
    expect(plain).toMatch(/questions answered right +\d+ % ± \d+ +\d+ % ± \d+/)
    expect(plain).toMatch(/speedup +1\.00x +\d+\.\d\dx/)
    expect(plain).not.toContain('\u001B')
  })

  test('answers the same questions with and without the four parts, and drafts only with them', () => {
    const { events } = JSON.parse(readFileSync(file, 'utf8')) as Recording
    const tables = events.flatMap(({ event }) => (event.type === 'table' ? [event] : []))
    expect(tables).toHaveLength(1)
    const { without, with: withParts } = tables[0]!
    expect(without.questions).toBe(6)
    expect(withParts.questions).toBe(6)
    expect(without.largeTurnShare).toBe(1)
    expect(withParts.largeTurnShare).toBeLessThan(1)
    expect(without.accepted).toBe(0)
    expect(withParts.accepted).toBeGreaterThan(0)
    expect(withParts.validCalls).toBeGreaterThan(0.9)
  })

  test('replays a recording as it was, with colours where there is a terminal', async () => {
    expect(await shown(['--replay', file, '--speed', '0'])).toBe(plain)
    const coloured = await shown(['--replay', file, '--speed', '0'], true)
    expect(coloured).toContain('\u001B[')
    expect(coloured).toContain('\r\u001B[K')
  })
})

test('figures of no questions are numbers', () => {
  const numbers = Object.values(figuresOf([], [], 1, 0)).filter((value) => typeof value === 'number')
  expect(numbers.length).toBeGreaterThan(20)
  expect(numbers.every(Number.isFinite)).toBe(true)
})
