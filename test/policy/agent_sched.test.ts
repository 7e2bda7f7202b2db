import { describe, expect, test } from 'vitest'

import { longestPrefix } from '../../lib/policy/baselines.js'
import { AgentSched, reasons } from '../../lib/policy/schedule.js'
import type { AgentSchedOptions } from '../../lib/policy/schedule.js'
import type { SessionView, Snapshot } from '../../lib/policy/types.js'
import { checkPlan, randomSnapshot, running, runToy, seeded, snapshot, waiting } from './snapshots.js'
import type { ToyRequest } from './snapshots.js'

const ids = (scheduler: AgentSched, state: Snapshot): number[] => scheduler.plan(state).rows.map((row) => row.id)
const one = { maxBatchTokens: 256, maxSequences: 1, blockSize: 16 }
/** λ at its highest, for as long as anybody looks. */
const tight = { demand: { pinned: 0, evictable: 0, host: 0, fresh: 100_000 } }

/** λ follows its target slowly: it is there after a minute. */
function settled(options: Partial<AgentSchedOptions>, more: Partial<Snapshot>): AgentSched {
  const scheduler = new AgentSched({ maxWait: 1e6, ...options })
  for (let now = -60; now < 0; ++now) scheduler.plan(snapshot([], { now, ...more }))
  return scheduler
}

describe('any snapshot', () => {
  test('limits are kept, everybody who waits has a reason', () => {
    for (let seed = 1; seed <= 120; ++seed) {
      const random = seeded(seed)
      const scheduler = new AgentSched({ maxWait: 1 + random(100) })
      for (let step = 0; step < 10; ++step) {
        const state = randomSnapshot(random, step)
        const plan = scheduler.plan(state)
        checkPlan(state, plan)
        const planned = new Set(plan.rows.map((row) => row.id))
        for (const request of state.requests) if (!request.started && !planned.has(request.id)) expect(plan.reasons.has(request.id)).toBe(true)
        for (const { retentionClass } of plan.retain) expect([0, 1, 2, 3]).toContain(retentionClass)
        for (const figure of Object.values(plan.figures!)) expect(figure).not.toBeNaN()
      }
    }
  })

  test('the same snapshots give the same plans', () => {
    for (let seed = 1; seed <= 30; ++seed) {
      const plans = [0, 1].map(() => {
        const random = seeded(seed)
        const scheduler = new AgentSched()
        return Array.from({ length: 20 }, (_, step) => scheduler.plan(randomSnapshot(random, step)))
      })
      expect(plans[0]).toEqual(plans[1])
    }
  })

  test('something runs whenever anything can', () => {
    const stuck: number[] = []
    for (let seed = 1; seed <= 200; ++seed) {
      const state = randomSnapshot(seeded(seed), 0)
      const plan = new AgentSched().plan(state)
      if (state.requests.length > 0 && plan.rows.length + plan.preempt.length === 0) stuck.push(seed)
    }
    expect(stuck).toEqual([])
  })
})

describe('order', () => {
  test('of two prompts of one length the one with more cached goes first, whatever λ is', () => {
    for (let seed = 1; seed <= 200; ++seed) {
      const random = seeded(seed)
      const known = 100 + random(800)
      const less = random(known - 40)
      const more = less + 17 + random(known - less - 17)
      const demand = { pinned: 0, evictable: 0, host: 0, fresh: random(5000) }
      const scheduler = settled({}, { demand })
      expect(ids(scheduler, snapshot([waiting(1, known, { hit: less }), waiting(2, known, { hit: more })], { demand, limits: one }))).toEqual([2])
    }
  })

  test('is the same in a pool and for requests four times the size', () => {
    for (let seed = 1; seed <= 50; ++seed) {
      const order = [1, 4].map((size) => {
        const random = seeded(seed)
        const total = 1000 * size
        const more = {
          prefilled: 64_000 * size, demand: { pinned: 0, evictable: 0, host: 0, fresh: random(2000) * size }, limits: { ...one, maxSequences: 12, maxBatchTokens: 1e6 },
          pool: { total, free: total, cached: 0, used: 0, hostTotal: 0, hostFree: 0 },
        }
        const requests = Array.from({ length: 12 }, (_, id) => {
          const blocks = 2 + random(40)
          return waiting(id, 16 * blocks * size, { hit: 16 * random(blocks) * size, prefilledAtArrival: 640 * random(100) * size })
        })
        // ε counts for a block whatever the pool's size.
        return ids(settled({ price: { epsilon: 1e-9 } }, more), snapshot(requests, more))
      })
      expect(order[0]).toHaveLength(12)
      expect(order[1]).toEqual(order[0])
    }
  })

  test('with ample memory the shortest uncached prefill goes first', () => {
    const scheduler = settled({}, {})
    const requests = [waiting(1, 900, { hit: 320 }), waiting(2, 400), waiting(3, 900, { hit: 800 })]
    expect(ids(scheduler, snapshot(requests, { limits: one }))).toEqual([3])
    expect(ids(scheduler, snapshot(requests.slice(0, 2), { limits: one }))).toEqual([2])
  })

  test('with short memory what is cached goes before what is a little shorter', () => {
    // Uncached: 13 blocks and 12.
    const requests = [waiting(1, 608, { hit: 400 }), waiting(2, 192)]
    expect(ids(settled({}, {}), snapshot(requests, { limits: one }))).toEqual([2])
    expect(ids(settled({}, tight), snapshot(requests, { limits: one, ...tight }))).toEqual([1])
  })

  test('age in prefilled tokens overtakes length', () => {
    const scheduler = settled({}, {})
    const old = waiting(1, 900, { prefilledAtArrival: 0 })
    const young = waiting(2, 16, { prefilledAtArrival: 20_000 })
    expect(ids(scheduler, snapshot([old, young], { prefilled: 20_000, limits: one }))).toEqual([1])
    expect(ids(scheduler, snapshot([old, { ...young, prefilledAtArrival: 100 }], { prefilled: 100, limits: one }))).toEqual([2])
  })

  test('priority before score, arrival and id between equals', () => {
    const scheduler = settled({}, {})
    expect(ids(scheduler, snapshot([waiting(1, 16), waiting(2, 900, { priority: 1 })], { limits: one }))).toEqual([2])
    expect(ids(scheduler, snapshot([waiting(7, 64, { arrivedAt: -1 }), waiting(3, 64)], { limits: one }))).toEqual([7])
    expect(ids(scheduler, snapshot([waiting(7, 64), waiting(3, 64)], { limits: one }))).toEqual([3])
  })

  test('decodes first, then what has begun, then new ones, in one budget', () => {
    const plan = new AgentSched({ spread: 0 }).plan(snapshot([running(1, 100, 400), running(2, 99, 100), waiting(3, 50)], { limits: { ...one, maxSequences: 4, maxBatchTokens: 320 } }))
    expect(plan.rows).toEqual([{ id: 2, tokens: 1 }, { id: 1, tokens: 300 }, { id: 3, tokens: 19 }])
  })

  test('prefill is spread over steps while others decode, and only then', () => {
    const limits = { ...one, maxSequences: 4, maxBatchTokens: 4096 }
    const long = running(1, 16, 8016)
    const scheduler = new AgentSched({ spread: 10, spreadFloor: 64 })
    expect(scheduler.plan(snapshot([long, running(2, 99, 100)], { limits })).rows).toEqual([{ id: 2, tokens: 1 }, { id: 1, tokens: 800 }])
    expect(scheduler.plan(snapshot([running(1, 16, 316), running(2, 99, 100)], { limits })).rows).toEqual([{ id: 2, tokens: 1 }, { id: 1, tokens: 64 }])
    expect(scheduler.plan(snapshot([long], { limits })).rows).toEqual([{ id: 1, tokens: 4096 }])
  })

  test('more decodes than rows take turns', () => {
    const scheduler = new AgentSched()
    const requests = Array.from({ length: 8 }, (_, i) => running(i, 31, 32))
    const seen = new Set<number>()
    for (let step = 0; step < 4; ++step)
      for (const id of ids(scheduler, snapshot(requests, { step, limits: { maxBatchTokens: 3, maxSequences: 8, blockSize: 16 } }))) seen.add(id)
    expect(seen.size).toBe(8)
  })
})

describe('a shared prefix', () => {
  const group = (request: ReturnType<typeof waiting>, number: number): typeof request => ({ ...request, probe: { ...request.probe!, group: number } })

  test('of those that lack the same block one starts, the others wait for it', () => {
    const plan = new AgentSched().plan(snapshot([group(waiting(1, 64), 5), group(waiting(2, 64), 5), group(waiting(3, 64), 6)]))
    expect(plan.rows.map((row) => row.id)).toEqual([1, 3])
    expect(plan.reasons.get(2)).toBe(reasons.shared)
  })

  test('they wait on while the leader computes, and go as soon as it is past', () => {
    const follower = (hit: number): ReturnType<typeof waiting> => {
      const request = waiting(2, 640, { hit })
      return { ...request, probe: { ...request.probe!, pinned: hit / 16, evictable: 0 } }
    }
    const limits = { ...one, maxSequences: 4, maxBatchTokens: 512 }
    expect(new AgentSched().plan(snapshot([running(1, 160, 400), follower(160)], { limits })).reasons.get(2)).toBe(reasons.shared)
    expect(ids(new AgentSched(), snapshot([running(1, 160, 400), follower(128)], { limits }))).toContain(2)
  })

  test('nobody waits for another near the bound, nor when it is switched off', () => {
    const pair = [group(waiting(1, 64), 5), group(waiting(2, 64), 5)]
    expect(ids(new AgentSched({ maxWait: 10 }), snapshot(pair, { now: 9 }))).toEqual([1, 2])
    expect(ids(new AgentSched({ share: false }), snapshot(pair))).toEqual([1, 2])
  })
})

describe('the bound on waiting', () => {
  /** A long request among short ones that keep the engine full. */
  function flood(seed: number): ToyRequest[] {
    const random = seeded(seed)
    const requests: ToyRequest[] = [{ id: 0, arrivedAt: 5, prompt: 1500, output: 5 }]
    let at = 0
    for (let id = 1; id < 700; ++id) requests.push({ id, arrivedAt: (at += random(8) / 40), prompt: 16 + random(48), output: 4 + random(12) })
    return requests
  }

  test('a long request starts within it among a flood of short ones', () => {
    for (let seed = 1; seed <= 3; ++seed) {
      const lives = runToy(new AgentSched({ maxWait: 20 }), flood(seed), { total: 100 })
      expect(lives.get(0)!.startedAt - 5).toBeLessThanOrEqual(20)
      for (const life of lives.values()) expect(life.endedAt).toBeLessThan(Infinity)
    }
  })

  test('it is the bound that does it', () => {
    const lives = runToy(new AgentSched({ maxWait: 1e6, c: 0 }), flood(1), { total: 100 })
    expect(lives.get(0)!.startedAt - 5).toBeGreaterThan(20)
  })

  test('holds for every request of a mixed load that the engine can serve', () => {
    for (let seed = 1; seed <= 5; ++seed) {
      const random = seeded(seed)
      const requests = Array.from({ length: 300 }, (_, id): ToyRequest => ({
        id, arrivedAt: id * 1.8 + random(10) / 10, prompt: random(6) === 0 ? 600 + random(800) : 16 + random(100), output: 2 + random(20),
        tenant: `t${random(2)}`, priority: random(3) === 0 ? 1 : 0,
      }))
      const lives = runToy(new AgentSched({ maxWait: 30 }), requests, { total: 120, maxSequences: 6 })
      for (const { id, arrivedAt } of requests) expect(lives.get(id)!.startedAt - arrivedAt).toBeLessThanOrEqual(30)
    }
  })

  test('a late request takes the place of younger ones, even of higher priority', () => {
    const old = waiting(1, 64, { arrivedAt: -100 })
    const young = [running(2, 63, 64, { priority: 5, arrivedAt: -1 }), running(3, 63, 64, { arrivedAt: -200 })]
    const plan = new AgentSched({ maxWait: 100 }).plan(snapshot([...young, old], { limits: { ...one, maxSequences: 2 } }))
    expect(plan.preempt).toEqual([2])
    expect(plan.rows.map((row) => row.id)).toEqual([3, 1])
  })

  test('two that cannot run together do not push out each other for ever', () => {
    const requests: ToyRequest[] = [
      { id: 1, arrivedAt: 0, prompt: 1000, output: 200 },
      { id: 2, arrivedAt: 1, prompt: 1000, output: 200, priority: 1 },
    ]
    const lives = runToy(new AgentSched({ maxWait: 10 }), requests, { total: 100, until: 1000 })
    for (const life of lives.values()) {
      expect(life.endedAt).toBeLessThan(200)
      expect(life.preempted).toBeLessThanOrEqual(1)
    }
  })
})

describe('preemption', () => {
  test('a higher priority takes the room of a lower one; an equal one waits', () => {
    const busy = running(1, 1599, 1600)
    const pool = { total: 100, free: 0, cached: 0, used: 100, hostTotal: 0, hostFree: 0 }
    const urgent = new AgentSched().plan(snapshot([busy, waiting(2, 64, { priority: 1 })], { pool }))
    expect(urgent.preempt).toEqual([1])
    expect(urgent.rows.map((row) => row.id)).toEqual([2])
    const equal = new AgentSched().plan(snapshot([busy, waiting(2, 64)], { pool }))
    expect(equal.preempt).toEqual([])
    expect(equal.reasons.get(2)).toBe(reasons.noRoom)
  })

  test('a running request without room is given it by the least important one', () => {
    const requests = [running(1, 159, 160), running(2, 159, 160), running(3, 159, 160, { priority: -1 })]
    const plan = new AgentSched().plan(snapshot(requests, { deferred: [1] }))
    expect(plan.preempt).toEqual([3])
  })

  test('the only one that runs keeps its blocks', () => {
    expect(new AgentSched().plan(snapshot([running(1, 159, 160)], { deferred: [1] })).preempt).toEqual([])
  })
})

describe('tenants', () => {
  test('one that floods gets no more than its share while another has requests', () => {
    const requests: ToyRequest[] = []
    for (let id = 0; id < 400; ++id) requests.push({ id, arrivedAt: 0, prompt: 64, output: 16, tenant: 'flood' })
    for (let id = 400; id < 440; ++id) requests.push({ id, arrivedAt: 0.5, prompt: 64, output: 16, tenant: 'other' })
    const end = (fairness: number): number => {
      const lives = runToy(new AgentSched({ fairness, pause: false }), requests, { total: 60, maxSequences: 8 })
      return Math.max(...requests.filter(({ tenant }) => tenant === 'other').map(({ id }) => lives.get(id)!.endedAt))
    }
    const alone = runToy(new AgentSched(), requests.slice(400), { total: 60, maxSequences: 8 })
    const bound = 2.5 * Math.max(...Array.from(alone.values(), (life) => life.endedAt))
    expect(end(8)).toBeLessThan(bound)
    expect(end(0)).toBeGreaterThan(bound)
  })
})

describe('sessions', () => {
  const tool = (id: number, tokens: number): SessionView => ({ id, tenant: '', tokens, since: 0, activity: { kind: 'tool', tool: 'search' } })
  const live = (id: number, tokens: number): SessionView => ({ id, tenant: '', tokens, since: 0, activity: { kind: 'running' } })

  test('those that do not fit together take turns; one that ends lets the next in', () => {
    const scheduler = new AgentSched()
    const requests = [1, 2, 3].map((id) => waiting(id, 6400, { session: id }))
    const first = scheduler.plan(snapshot(requests, { sessions: requests.map(({ session }) => live(session!, 6400)) }))
    expect(first.reasons.get(3)).toBe(reasons.paused)
    // The first two are done, and closed.
    const later = scheduler.plan(snapshot([{ ...requests[2]!, arrivedAt: 1 }, waiting(9, 1)], { now: 2, step: 50, sessions: [live(3, 6400)] }))
    expect(later.rows.map((row) => row.id)).toContain(3)
  })

  test('KV is kept while a tool runs', () => {
    const scheduler = new AgentSched()
    const kept = new Map<number, { retentionClass: number; expiresAt: number }>()
    const note = (state: Snapshot): void => {
      for (const retention of scheduler.plan(state).retain) kept.set(retention.session, retention)
    }
    note(snapshot([running(1, 3199, 3200, { session: 1 })], { sessions: [live(1, 3200)] }))
    note(snapshot([], { now: 1, step: 20, sessions: [tool(1, 3200)] }))
    expect(kept.get(1)!.retentionClass).toBe(3)
    expect(kept.get(1)!.expiresAt).toBeGreaterThan(1)
  })

  test('plans change retention only when there is something to say', () => {
    const scheduler = new AgentSched()
    const state = (step: number): Snapshot => snapshot([], { step, now: step / 100, sessions: [tool(1, 3200), tool(2, 1600)] })
    scheduler.plan(state(0))
    let messages = 0
    for (let step = 1; step < 400; ++step) messages += scheduler.plan(state(step)).retain.length
    expect(messages).toBeLessThan(40)
  })
})

test('the history of λ covers the whole run, in order, in bounded space', () => {
  const scheduler = new AgentSched()
  for (let step = 0; step < 20_000; ++step) scheduler.plan(snapshot([], { step, now: step }))
  const history = scheduler.history()
  expect(history.length).toBeLessThanOrEqual(4096)
  expect(history[0]!.now).toBe(0)
  expect(history.at(-1)!.now).toBeGreaterThan(19_900)
  for (let i = 1; i < history.length; ++i) expect(history[i]!.now).toBeGreaterThan(history[i - 1]!.now)
  expect(history[0]!.figures['lambda']).toBeCloseTo(1 / (1 + Math.exp(4)), 3)
})

test('options that there are not, or that cannot be, are refused by name', () => {
  const refused = (options: object, message: string): void => expect(() => new AgentSched(options)).toThrow(`AgentSched: ${message}`)
  refused({ fairnes: 1 }, 'unknown option fairnes: expected some of a, b, c,')
  refused({ toString: 1 }, 'unknown option toString')
  refused({ a: Number.NaN }, 'a: expected a number of at least 0, got NaN')
  refused({ maxWait: '60' }, 'maxWait: expected a number of at least 0, got "60"')
  refused({ pause: 1 }, 'pause: expected a boolean, got 1')
  refused({ sessions: { grace: -1 } }, 'sessions.grace: expected a number of at least 0, got -1')
  refused({ sessions: null }, 'sessions: expected an object, got null')
  refused({ price: { lambda: 1 } }, 'unknown option price.lambda')
  expect(() => longestPrefix({ maxAge: -1 })).toThrow('maxAge: expected a number of at least 0, got -1')
  expect(new AgentSched({ maxWait: Infinity, a: undefined as never }).options).toMatchObject({ maxWait: Infinity, a: 1 })
})
