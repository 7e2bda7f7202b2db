import { describe, expect, test } from 'vitest'

import { Tenants } from '../../lib/policy/tenants.js'
import { seeded } from './snapshots.js'

/** As defined, with a memory that has no end: the tokens each was served, lifted to the least served of those with requests when it comes back. */
class Slow {
  readonly served = new Map<string, number>()
  live: ReadonlySet<string> = new Set()
  least = 0

  update(live: ReadonlySet<string>): void {
    for (const tenant of live) if (!this.live.has(tenant)) this.served.set(tenant, Math.max(this.served.get(tenant) ?? 0, this.least))
    if (live.size > 0) this.least = Math.min(...[...live].map((tenant) => this.served.get(tenant)!))
    this.live = live
  }

  charge(tenant: string, tokens: number): void {
    this.served.set(tenant, this.served.get(tenant)! + tokens)
  }

  excess(tenant: string): number {
    return Math.max(0, (this.served.get(tenant) ?? this.least) - this.least)
  }
}

/** Rounds in which some of `names` have requests and are served; `look` after each. */
function rounds(seed: number, names: (round: number, random: (below: number) => number) => string[], tenants: Tenants, look: (slow: Slow) => void): void {
  const random = seeded(seed)
  const slow = new Slow()
  for (let round = 0; round < 100; ++round) {
    const live = new Set(names(round, random))
    tenants.update(live)
    slow.update(live)
    for (const tenant of live) {
      const tokens = random(100)
      tenants.charge(tenant, tokens)
      slow.charge(tenant, tokens)
    }
    look(slow)
  }
}

describe('what tenants were served', () => {
  const few = Array.from({ length: 12 }, (_, i) => `tenant ${i}`)

  test('is remembered of all while they are not too many', () => {
    for (let seed = 1; seed <= 20; ++seed) {
      const tenants = new Tenants(few.length)
      rounds(
        seed,
        (_, random) => few.filter(() => random(3) === 0),
        tenants,
        (slow) => expect(few.map((tenant) => tenants.excess(tenant))).toEqual(few.map((tenant) => slow.excess(tenant))),
      )
    }
  })

  test('of any number of tenants takes little room, and those with requests are never forgotten', () => {
    for (let seed = 1; seed <= 5; ++seed) {
      const tenants = new Tenants(40)
      let forgiven = 0
      rounds(
        seed,
        // One that stays, and others that come once: the least served one is always new, so that nobody is ever level with it again.
        (round, random) => ['stays', ...Array.from({ length: 1 + random(4) }, (_, i) => `once ${round}.${i}`)],
        tenants,
        (slow) => {
          expect(tenants.excess('stays')).toBe(slow.excess('stays'))
          expect(tenants.size).toBeLessThanOrEqual(40 + 5)
          const wrong = [...slow.served.keys()].filter((tenant) => tenants.excess(tenant) !== slow.excess(tenant))
          expect(wrong.filter((tenant) => tenants.excess(tenant) !== 0)).toEqual([])
          forgiven += wrong.length
        },
      )
      expect(forgiven).toBeGreaterThan(0)
    }
  })

  test('those that overused most are remembered longest', () => {
    const tenants = new Tenants(100)
    tenants.update(new Set(['greedy']))
    tenants.charge('greedy', 1e9)
    for (let i = 0; i < 2000; ++i) {
      tenants.update(new Set([`once ${i}`, `once ${i + 1}`]))
      tenants.charge(`once ${i}`, 10)
    }
    expect(tenants.excess('greedy')).toBeGreaterThan(9e8)
    expect(tenants.size).toBeLessThanOrEqual(102)
  })
})
