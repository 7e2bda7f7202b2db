import { describe, expect, test } from 'vitest'

import { turns } from '../../bench/sched/statistics.js'
import { priceTarget, ShadowPrice, shadowPriceDefaults } from '../../lib/policy/shadow_price.js'
import { seeded } from './snapshots.js'

const demandOf = (fresh: number, evictable = 0): { pinned: number; evictable: number; host: number; fresh: number } => ({ pinned: 0, evictable, host: 0, fresh })

describe('the target', () => {
  test('is what the paper prints where nothing is shared: λmax · sigmoid(k (D / (U + ε) − 1))', () => {
    const { target, z } = priceTarget({ free: 99, cached: 0 }, demandOf(100), 0, shadowPriceDefaults)
    expect(z).toBe(1)
    expect(target).toBe(0.5)
    expect(priceTarget({ free: 999, cached: 0 }, demandOf(0), 0, shadowPriceDefaults).target).toBeCloseTo(0.018, 3)
    expect(priceTarget({ free: 99, cached: 0 }, demandOf(200), 0, shadowPriceDefaults).target).toBeCloseTo(0.982, 3)
  })

  test('rises with demand, falls with room, stays within its bounds', () => {
    const random = seeded(1)
    for (let i = 0; i < 2000; ++i) {
      const pool = { free: random(500), cached: random(500) }
      const fresh = random(3000)
      const hits = random(500)
      const reserve = random(100)
      const of = (more: number, room: number): number => priceTarget({ ...pool, free: pool.free + room }, demandOf(fresh + more, hits), reserve, shadowPriceDefaults).target
      expect(of(random(100), 0)).toBeGreaterThanOrEqual(of(0, 0))
      expect(of(0, random(100))).toBeLessThanOrEqual(of(0, 0))
      expect(of(0, 0)).toBeGreaterThan(0)
      expect(of(0, 0)).toBeLessThanOrEqual(shadowPriceDefaults.lambdaMax)
    }
  })

  test('without room z is clamped', () => {
    expect(priceTarget({ free: 0, cached: 10 }, demandOf(1000, 10), 0, shadowPriceDefaults).z).toBe(shadowPriceDefaults.zMax)
  })
})

describe('λ over time', () => {
  test('goes to its target as β says, however often it is asked', () => {
    const often = new ShadowPrice()
    const seldom = new ShadowPrice()
    const pool = { free: 99, cached: 0 }
    often.update(0, pool, demandOf(100), 0)
    seldom.update(0, pool, demandOf(100), 0)
    for (let i = 1; i <= 100; ++i) often.update(i / 100, pool, demandOf(100), 0)
    seldom.update(1, pool, demandOf(100), 0)
    expect(often.lambda).toBeCloseTo(seldom.lambda, 9)
    const start = 1 / (1 + Math.exp(4))
    expect(seldom.lambda).toBeCloseTo(0.5 + (start - 0.5) * 0.8 ** 2, 9)
  })

  test('a step in demand moves it one way only', () => {
    const price = new ShadowPrice()
    const series: number[] = []
    for (let i = 0; i < 200; ++i) series.push(price.update(i / 20, { free: 99, cached: 0 }, demandOf(i < 100 ? 300 : 10), 0).lambda)
    expect(turns(series, 0.01)).toBe(1)
    expect(Math.max(...series)).toBeGreaterThan(0.85)
    expect(series.at(-1)).toBeLessThan(0.15)
  })

  test('demand that jumps at every look hardly moves it', () => {
    const price = new ShadowPrice()
    const random = seeded(3)
    const series: number[] = []
    for (let i = 0; i < 2000; ++i) series.push(price.update(i / 50, { free: 99, cached: 0 }, demandOf(random(2) * 200), 0).lambda)
    // 40 s of it; the target turns a thousand times.
    expect(turns(series.slice(250), 0.1)).toBeLessThan(20)
  })

  test('the count of turns ignores small ones', () => {
    expect(turns([0, 1, 0, 1, 0], 0.5)).toBe(3)
    expect(turns([0, 1, 0.9, 1, 0.95, 2, 0], 0.5)).toBe(1)
    expect(turns([0, 0.1, 0, 0.1], 0.5)).toBe(0)
    expect(turns([], 0.5)).toBe(0)
  })
})
