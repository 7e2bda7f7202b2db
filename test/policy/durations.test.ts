import { describe, expect, test } from 'vitest'

import { bestKeep, Durations } from '../../lib/policy/durations.js'
import { seeded } from './snapshots.js'

describe('how long to keep', () => {
  /** Straight from the definition: over every t, P(return by t) · saving − price · E[min(return, t) − elapsed], given no return so far. */
  function slow(samples: readonly number[], elapsed: number, saving: number, price: number): { until: number; value: number } {
    const left = samples.filter((t) => t > elapsed)
    let best = { until: elapsed, value: 0 }
    for (const until of left.filter(Number.isFinite)) {
      const returned = left.filter((t) => t <= until).length / left.length
      const held = left.reduce((sum, t) => sum + Math.min(t, until) - elapsed, 0) / left.length
      const value = returned * saving - price * held
      if (value >= best.value - 1e-12) best = { until, value: Math.max(value, best.value) }
    }
    return best
  }

  test('is the best of all times', () => {
    for (let seed = 1; seed <= 500; ++seed) {
      const random = seeded(seed)
      const samples = Array.from({ length: 1 + random(12) }, () => (random(8) === 0 ? Infinity : random(4000) / 100)).toSorted((a, b) => a - b)
      const elapsed = random(3000) / 100
      const saving = random(500) / 100
      const price = random(100) / 100
      const keep = bestKeep(Float64Array.from(samples), elapsed, saving, price)
      const expected = slow(samples, elapsed, saving, price)
      expect(keep.value).toBeCloseTo(expected.value, 9)
      expect(keep.until).toBeCloseTo(expected.until, 9)
    }
  })

  test('for nothing: to the end; for more than it saves: not at all', () => {
    const samples = Float64Array.from([1, 2, 30])
    expect(bestKeep(samples, 0, 1, 0).until).toBe(30)
    expect(bestKeep(samples, 0, 1, 10)).toEqual({ until: 0, value: 0 })
    // The two quick returns are worth waiting for, the slow one is not.
    expect(bestKeep(samples, 0, 1, 0.1).until).toBe(2)
  })

  test('more saving never keeps shorter, a higher price never longer', () => {
    const random = seeded(9)
    for (let i = 0; i < 500; ++i) {
      const samples = Float64Array.from({ length: 10 }, () => random(3000) / 100).toSorted()
      const saving = random(300) / 100
      const price = random(100) / 200
      const { until } = bestKeep(samples, 0, saving, price)
      expect(bestKeep(samples, 0, saving * 1.5, price).until).toBeGreaterThanOrEqual(until)
      expect(bestKeep(samples, 0, saving, price * 1.5).until).toBeLessThanOrEqual(until)
    }
  })

  test('a tool that is overdue is not waited for', () => {
    expect(bestKeep(Float64Array.from([1, 2, 3]), 5, 10, 0.1).until).toBe(5)
  })
})

describe('what is learnt', () => {
  const mean = (samples: Float64Array): number => samples.reduce((sum, value) => sum + value, 0) / samples.length

  test('nothing is known: the prior', () => {
    const durations = new Durations({ priorMean: 10, priorWeight: 100 })
    expect(mean(durations.samples('search'))).toBeCloseTo(10, 0)
  })

  test('each tool has its own, and old ones are forgotten', () => {
    const durations = new Durations({ memory: 32 })
    for (let i = 0; i < 32; ++i) {
      durations.observe('search', 3)
      durations.observe('crawl', 100)
    }
    expect(mean(durations.samples('search'))).toBeCloseTo(3, 6)
    expect(mean(durations.samples('crawl'))).toBeCloseTo(100, 6)
    for (let i = 0; i < 32; ++i) durations.observe('search', 7)
    expect(mean(durations.samples('search'))).toBeCloseTo(7, 6)
  })

  test('of very many tools, those that were waited for lately are remembered', () => {
    const durations = new Durations({ memory: 4 })
    const often = (): void => durations.observe('often', 3)
    for (let i = 0; i < 4; ++i) durations.observe('long ago', 50)
    for (let i = 0; i < 3000; ++i) {
      if (i % 500 === 0) often()
      durations.observe(`call ${i}`, 10)
    }
    expect(mean(durations.samples('often'))).toBeCloseTo(3, 6)
    expect(mean(durations.samples('long ago'))).toBeLessThan(20)
  })

  test('few observations are drawn towards what tools take on the whole', () => {
    const durations = new Durations({ priorMean: 10, priorWeight: 4, memory: 64 })
    for (let i = 0; i < 200; ++i) durations.observe('search', 2)
    durations.observe('rare', 30)
    const rare = mean(durations.samples('rare'))
    expect(rare).toBeGreaterThan(2.2)
    expect(rare).toBeLessThan(15)
  })

  test('what never came back is remembered as such', () => {
    const durations = new Durations({ memory: 8 })
    for (let i = 0; i < 8; ++i) durations.observe('idle', Infinity)
    expect(bestKeep(durations.samples('idle'), 0, 5, 0.01)).toEqual({ until: 0, value: 0 })
  })

  test('samples ascend', () => {
    const durations = new Durations()
    const random = seeded(5)
    for (let i = 0; i < 200; ++i) {
      durations.observe('search', random(2) === 0 ? random(1000) / 10 : Infinity)
      expect(durations.samples('search')).toEqual(durations.samples('search').toSorted())
    }
  })
})
