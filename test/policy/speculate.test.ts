import { readFileSync } from 'node:fs'

import { expect, test } from 'vitest'

import { costAt, speculate } from '../../lib/policy/speculate.js'
import type { SpeculationSnapshot } from '../../lib/policy/speculate.js'

interface SharedCase {
  lengths: number[]
  uniform: boolean
  tokens: number
  yield: number
  fixedSeconds: [number]
  room: number
  worth: [number]
  curve: [number, number][]
  survivals: number[][]
  rowSeconds: number[]
  admitted: number[]
}

const cases = JSON.parse(
  readFileSync(new URL('../fixtures/speculate_cases.json', import.meta.url), 'utf8'),
) as SharedCase[]

function snapshot(from: SharedCase): SpeculationSnapshot {
  return {
    survivals: from.survivals,
    rowSeconds: from.rowSeconds,
    load: { tokens: from.tokens, yield: from.yield, fixedSeconds: from.fixedSeconds[0], room: from.room, worth: from.worth[0] },
    curve: from.curve.map(([tokens, seconds]) => ({ tokens, seconds })),
    shapes: { lengths: from.lengths, uniform: from.uniform },
  }
}

function rate({ survivals, rowSeconds = [], load, curve, shapes }: SpeculationSnapshot, lengths: number[]): number {
  const padded = lengths.map((length) => (length === 0 ? 0 : (shapes.lengths.find((step) => step >= length) ?? length)))
  const rows = shapes.uniform ? Math.max(0, ...padded) * lengths.length : padded.reduce((sum, n) => sum + n, 0)
  const gain = survivals.reduce(
    (sum, survival, i) => sum + Array.from(survival).slice(0, lengths[i]).reduce((a, b) => a + b, 0),
    0,
  )
  const longest = Math.max(0, ...padded)
  const context = padded.reduce((sum, n, i) => sum + (rowSeconds[i] ?? 0) * (shapes.uniform ? longest : n), 0)
  return (load.yield + gain) / (load.fixedSeconds + context + costAt(curve, load.tokens + rows))
}

test('the same lengths as the native admission, in every shared case', () => {
  expect(cases.length).toBeGreaterThan(50)
  expect(cases.some((one) => one.admitted.some((length) => length > 3))).toBe(true)
  for (const one of cases) expect(speculate(snapshot(one))).toEqual(one.admitted)
})

test('the expected rate is never below plain decoding', () => {
  for (const one of cases) {
    const given = snapshot(one)
    const plain = rate(given, one.survivals.map(() => 0))
    expect(rate(given, speculate(given))).toBeGreaterThanOrEqual(plain * (1 - 1e-12))
  }
})

test('free rows are all taken, rows as dear as a step are not, and the inputs stay as they were', () => {
  const given: SpeculationSnapshot = {
    survivals: [Float64Array.of(0.5, 0.25, 0.125), [0.01], []],
    load: { tokens: 3, yield: 3, fixedSeconds: 0, room: 100 },
    curve: [
      { tokens: 1, seconds: 0.01 },
      { tokens: 100, seconds: 0.01 },
    ],
    shapes: { lengths: [], uniform: false },
  }
  const before = structuredClone(given)
  expect(speculate(given)).toEqual([3, 1, 0])
  expect(given).toEqual(before)
  expect(speculate({ ...given, load: { ...given.load, room: 2 } })).toEqual([2, 0, 0])
  const dear = [
    { tokens: 1, seconds: 0.01 },
    { tokens: 2, seconds: 0.02 },
  ]
  expect(speculate({ ...given, curve: dear })).toEqual([0, 0, 0])
  expect(() => speculate({ ...given, curve: [] })).toThrow('got none')
})

test('step cost: constant, linear, extrapolated', () => {
  const curve = [
    { tokens: 2, seconds: 1 },
    { tokens: 4, seconds: 2 },
    { tokens: 8, seconds: 3 },
  ]
  expect([1, 2, 3, 4, 6, 8, 12].map((tokens) => costAt(curve, tokens))).toEqual([1, 1, 1.5, 2, 2.5, 3, 4])
})
