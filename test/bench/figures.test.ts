// What figures say: arrivals, distributions, comparisons of two runs.
import { describe, expect, test } from 'vitest'

import { changes, differences } from '../../bench/compare.js'
import type { BenchDocument } from '../../bench/document.js'
import { addLatencies } from '../../bench/latencies.js'
import { Random } from '../../bench/random.js'
import { Report, shareOfLimit } from '../../bench/report.js'
import type { Row } from '../../bench/report.js'
import { fingerprint } from '../../bench/target.js'
import { checkpoint } from '../fixtures/paths.js'

test.each([0.25, 0.5, 1, 4])('gaps of burstiness %d have the mean 1 and the variance 1/shape', (shape) => {
  const random = new Random(11)
  const samples = Array.from({ length: 40_000 }, () => random.gamma(shape))
  const mean = samples.reduce((sum, value) => sum + value, 0) / samples.length
  const variance = samples.reduce((sum, value) => sum + (value - mean) ** 2, 0) / samples.length
  expect(mean).toBeCloseTo(1, 1)
  expect(variance * shape).toBeGreaterThan(0.9)
  expect(variance * shape).toBeLessThan(1.1)
})

test('latencies become mean, p50, p90 and p99 of each metric; one token has no time per token', () => {
  const report = new Report(() => undefined, () => undefined)
  const of = (ttft: number): { ttft: number; tpot: number; itl: number[]; e2e: number; tokens: number } => ({ ttft, tpot: 2, itl: [1, 3], e2e: ttft + 4, tokens: 3 })
  addLatencies(report, 'load 1', [...Array.from({ length: 100 }, (_, i) => of(i + 1)), { ttft: 50, tpot: 0, itl: [], e2e: 50, tokens: 1 }], { x: 1, xTitle: 'load' })
  const value = (name: string): number => report.rows.find((row) => row.name === `load 1: ${name}`)!.value
  expect(report.rows).toHaveLength(16)
  expect(value('TTFT p50')).toBe(50)
  expect(value('TTFT p90')).toBe(90)
  expect(value('TTFT p99')).toBeCloseTo(99, 0)
  expect(value('TPOT mean')).toBe(2)
  expect(value('ITL mean')).toBe(2)
  for (const { name, value: figure, spread } of report.rows) expect(spread![0] <= figure && figure <= spread![1], name).toBe(true)
  const [low, high] = report.rows.find(({ name }) => name === 'load 1: TTFT mean')!.spread!
  expect(high - low).toBeGreaterThan(8) // 1.96 standard errors of 1..100 on both sides: 11.4
  expect(high - low).toBeLessThan(15)
  expect(report.rows.every(({ plot, better }) => plot?.x === 1 && better === 'lower')).toBe(true)
})

describe('two runs', () => {
  const row = (name: string, value: number, spread?: [number, number], better?: 'lower'): Row => ({ name, value, unit: 'x', ...(spread && { spread }), ...(better && { better }) })
  const run = (rows: Row[], node = '20'): BenchDocument => ({
    version: 1, case: 'throughput', date: '', options: { model: 'a', rounds: '3' }, about: { model: { fingerprint: 'f' } }, rows,
    environment: { package: '1', commit: node, cpu: 'c', cores: 1, memoryBytes: 1, platform: 'p', kernel: 'k', node, host: [{ what: 'memory', found: node }] },
  })

  test('differ only where their spreads do not meet, and in the right direction', () => {
    const before = run([row('a', 10, [9, 11]), row('b', 10, [9, 11]), row('c', 10, [9, 11], 'lower'), row('d', 10), row('e', 10, [10, 10]), row('gone', 1)])
    const now = [row('a', 11, [10, 12]), row('b', 13, [12, 14]), row('c', 13, [12, 14], 'lower'), row('d', 20), row('e', 20, [20, 20]), row('new', 1)]
    expect(changes(before, now).map(({ row: { name }, verdict, ratio }) => [name, verdict, ratio])).toEqual([
      ['a', 'same', 1.1], ['b', 'better', 1.3], ['c', 'worse', 1.3], ['d', 'unknown', 2], ['e', 'unknown', 2],
    ])
  })

  test('say what else was different, but not the commit and the free memory', () => {
    expect(differences(run([]), run([]))).toEqual([])
    expect(differences(run([]), run([], '22'))).toEqual(['node: 20 before, 22 now'])
    expect(differences(run([]), { ...run([]), options: { model: 'b', rounds: '3' }, about: { model: { fingerprint: 'g' } } })).toEqual([
      'option model: a before, b now', 'model fingerprint: f before, g now',
    ])
  })
})

test('a share of the limit is what was reached of it, whichever side is good', () => {
  expect(shareOfLimit(80, 100, 'higher')).toBe(0.8)
  expect(shareOfLimit(125, 100, 'lower')).toBe(0.8)
})

test('fingerprints tell checkpoints apart, and are the same for the same one', () => {
  const names = ['pangu', 'llama', 'llama-tied']
  const prints = names.map((name) => fingerprint(checkpoint(name)))
  expect(new Set(prints).size).toBe(3)
  expect(fingerprint(checkpoint('pangu'))).toBe(prints[0])
})
