import { describe, expect, test } from 'vitest'

import { KnownSessions, retentionClass } from '../../lib/policy/sessions.js'
import type { Costs, PausingOptions } from '../../lib/policy/sessions.js'
import type { RequestView, Retention, SessionActivity, SessionView, Snapshot } from '../../lib/policy/types.js'
import { running, snapshot, waiting } from './snapshots.js'

/** A millisecond per token; λ as given. */
const costs = (lambda: number): Costs => ({ prefill: (tokens) => tokens / 1000, queueing: 0, lambda, growth: 0, reserve: 16 })
const view = (id: number, tokens: number, activity: SessionActivity, since = 0, tenant = ''): SessionView => ({ id, tenant, tokens, activity, since })
const tool = (name = 'search'): SessionActivity => ({ kind: 'tool', tool: name })
const busy: SessionActivity = { kind: 'running' }

class Story {
  readonly sessions: KnownSessions
  readonly kept = new Map<number, Retention>()
  prefetched: number[] = []
  #step = 0

  constructor(options: Partial<PausingOptions> = {}) {
    this.sessions = new KnownSessions(options)
  }

  at(now: number, views: readonly SessionView[], requests: readonly RequestView[] = [], lambda = 0.5, more: Partial<Snapshot> = {}): void {
    const { retain, prefetch } = this.sessions.refresh(snapshot(requests, { now, step: this.#step++, sessions: views, ...more }), costs(lambda))
    for (const retention of retain) this.kept.set(retention.session, retention)
    this.prefetched = prefetch
  }

  /** Whether requests of the session may start: those of unknown ones may. */
  mayStart(id: number): boolean {
    const standing = this.sessions.standing(id)
    return standing === undefined || standing.active || standing.guest
  }

  /** A turn of session 1 that begins and ends at once, then a tool for so many seconds. */
  turn(now: number, seconds: number, name = 'search', tokens = 4000): number {
    this.at(now, [view(1, tokens, busy)], [running(1, tokens - 1, tokens, { session: 1, arrivedAt: now })])
    this.at(now + 0.01, [view(1, tokens, tool(name), now + 0.01)])
    return now + 0.01 + seconds
  }
}

describe('retention while a tool runs', () => {
  test('as long as the tool has been seen to take, not longer', () => {
    const story = new Story()
    let now = 0
    for (let i = 0; i < 80; ++i) now = story.turn(now, 3)
    const start = now
    story.turn(now, 0)
    const { retentionClass: held, expiresAt } = story.kept.get(1)!
    expect(held).toBe(retentionClass.active)
    expect(expiresAt - start).toBeGreaterThan(2.9)
    expect(expiresAt - start).toBeLessThan(3.5)
  })

  test('not at all for a tool that takes longer than the KV is worth', () => {
    const story = new Story({ keepPrice: 6 })
    let now = 0
    for (let i = 0; i < 80; ++i) now = story.turn(now, 500, 'build')
    story.turn(now, 0, 'build')
    expect(story.kept.get(1)!.retentionClass).toBeLessThan(retentionClass.active)
    expect(story.kept.get(1)!.expiresAt).toBeLessThanOrEqual(now + 1)
  })

  test('when memory costs nothing, for as long as anybody came back at all', () => {
    const story = new Story()
    let now = 0
    for (let i = 0; i < 80; ++i) now = story.turn(now, i % 2 === 0 ? 1 : 60)
    const start = now
    story.at(now, [view(1, 4000, busy)], [running(1, 3999, 4000, { session: 1, arrivedAt: now })], 0)
    story.at(now + 0.01, [view(1, 4000, tool(), now + 0.01)], [], 0)
    expect(story.kept.get(1)!.expiresAt - start).toBeGreaterThan(59)
  })

  test('said once, however often it is asked for', () => {
    const story = new Story()
    for (const activity of [{ kind: 'idle' }, { kind: 'elsewhere', tokens: 100 }, tool()] as const) {
      story.at(10, [view(1, 4000, busy)], [running(1, 3999, 4000, { session: 1, arrivedAt: 10 })])
      story.at(11, [view(1, 4000, activity, 11)])
      story.kept.clear()
      for (let i = 0; i < 20; ++i) story.at(11.1 + i / 1000, [view(1, 4000, activity, 11)])
      expect([...story.kept.values()], activity.kind).toEqual([])
    }
  })

  test('gone with the session', () => {
    const story = new Story()
    story.turn(0, 0)
    story.at(1, [])
    expect(story.sessions.active).toBe(0)
    expect(story.sessions.projected).toBe(0)
  })
})

describe('who takes part', () => {
  const three = [view(1, 7000, busy), view(2, 7000, busy), view(3, 7000, busy)]
  const requests = [1, 2, 3].map((id) => waiting(id, 7000, { session: id }))

  test('in order of arrival until the pool is full', () => {
    const story = new Story()
    story.at(0, three, requests)
    expect([1, 2, 3].map((id) => story.mayStart(id))).toEqual([true, true, false])
    expect(story.kept.get(3)!.retentionClass).toBe(retentionClass.doubtful)
  })

  test('a session keeps its place while a tool runs, and between its turns until its owner says what comes', () => {
    const story = new Story()
    story.at(0, three, requests)
    story.at(1, three, [running(1, 6999, 7000, { session: 1 }), requests[1]!, requests[2]!])
    // Its request is over, its owner has not said anything yet.
    story.at(1.1, three, [requests[1]!, requests[2]!])
    expect([1, 2, 3].map((id) => story.mayStart(id))).toEqual([true, true, false])
    story.at(1.2, [view(1, 7000, { kind: 'idle' }, 1.15), ...three.slice(1)], [requests[1]!, requests[2]!])
    expect(story.mayStart(3)).toBe(false)
    story.at(1.3, [view(1, 7000, tool(), 1.25), ...three.slice(1)], [requests[1]!, requests[2]!], 0.05)
    expect([1, 2, 3].map((id) => story.mayStart(id))).toEqual([true, true, false])
    // It is gone: the next one comes in.
    story.at(2, three.slice(1), [requests[1]!, requests[2]!])
    expect([2, 3].map((id) => story.mayStart(id))).toEqual([true, true])
  })

  test('a host tier makes room for all', () => {
    const story = new Story()
    story.at(0, three, requests, 0.5, { pool: { total: 1000, free: 1000, cached: 0, used: 0, hostTotal: 1000, hostFree: 1000 } })
    expect([1, 2, 3].map((id) => story.mayStart(id))).toEqual([true, true, true])
  })

  test('small ones always do', () => {
    const story = new Story()
    story.at(0, [...three, view(4, 200, busy)], [...requests, waiting(4, 200, { session: 4 })])
    expect(story.mayStart(4)).toBe(true)
  })

  test('tenants take turns, whatever number of sessions each has', () => {
    const story = new Story()
    const views = [1, 2, 3, 4].map((id) => view(id, 7000, busy, 0, id < 4 ? 'many' : 'one'))
    story.at(0, views, views.map(({ id, tenant }) => waiting(id, 7000, { session: id, tenant })))
    expect([1, 2, 3, 4].map((id) => story.mayStart(id))).toEqual([true, false, false, true])
  })
})

describe('what sessions share counts once', () => {
  const views = [1, 2, 3].map((id) => view(id, 7000, busy))
  const first = running(1, 6999, 7000, { session: 1 })

  test('forks of a session fit beside it', () => {
    const forks = (hit: number): boolean[] => {
      const story = new Story()
      story.at(0, views.slice(0, 1), [waiting(1, 7000, { session: 1, hit })])
      story.at(0.1, views, [first, waiting(2, 7000, { session: 2, hit }), waiting(3, 7000, { session: 3, hit })])
      return [2, 3].map((id) => story.mayStart(id))
    }
    expect(forks(6992)).toEqual([true, true])
    expect(forks(0)).toEqual([true, false])
  })

  test('of a beginning that all have, once a tenant; of a session that was there before, nothing', () => {
    const story = new Story({ turnTokens: 0 })
    story.at(0, views, [1, 2, 3].map((id) => waiting(id, 7000, { session: id, hit: 5600 })))
    expect(story.sessions.projected).toBe(3 * 438 - 2 * 350)
    // Started, and back: what is cached of it now is its own.
    story.at(1, views, [1, 2, 3].map((id) => running(id, 6999, 7000, { session: id })))
    story.at(2, views, [1, 2, 3].map((id) => waiting(id, 7000, { session: id, hit: 7000 - 8 })))
    expect(story.sessions.projected).toBe(3 * 438 - 2 * 350)
    const other = new Story({ turnTokens: 0 })
    const tenants = [view(1, 7000, busy, 0, 'a'), view(2, 7000, busy, 0, 'b')]
    other.at(0, tenants, tenants.map(({ id, tenant }) => waiting(id, 7000, { session: id, tenant, hit: 5600 })))
    expect(other.sessions.projected).toBe(2 * 438)
  })
})

describe('a guest', () => {
  const three = [1, 2, 3].map((id) => view(id, 7000, busy))
  const away = [view(1, 7000, tool(), 0.5), view(2, 7000, tool(), 0.5), view(3, 7000, busy)]
  const pool = (free: number, cached: number): Partial<Snapshot> => ({ pool: { total: 1000, free, cached, used: 1000 - free - cached, hostTotal: 0, hostFree: 0 } })
  /** Sessions 1 and 2 take part and are away, the third has so much cached. */
  const third = (hit: number, free: number, cached: number): boolean => {
    const story = new Story({ turnTokens: 16 })
    story.at(0, three, [running(1, 6999, 7000, { session: 1 }), running(2, 6999, 7000, { session: 2 }), waiting(3, 7000, { session: 3, hit })], 0)
    expect(story.mayStart(3)).toBe(false)
    // Something else runs, so that no place is given up.
    story.at(1, away, [running(9, 15, 16), waiting(3, 7000, { session: 3, hit })], 0, pool(free, cached))
    expect([1, 2].map((id) => story.mayStart(id))).toEqual([true, true])
    return story.mayStart(3)
  }

  test('runs its turn while its KV is there and nobody wants the room', () => {
    // 438 blocks each for those that are away, 439 for the third and its output; it shares none.
    expect(third(6992, 500, 438 + 438 + 437 - 499)).toBe(false)
    expect(third(6992, 500, 438 + 438 + 439 - 499)).toBe(true)
  })

  test('does not have its history computed again only to lose it', () => {
    expect(third(0, 1000, 400)).toBe(false)
  })

  test('takes nobody’s place: it waits again when its turn is over', () => {
    const story = new Story({ turnTokens: 16 })
    const room = pool(500, 816)
    story.at(0, three, [running(1, 6999, 7000, { session: 1 }), running(2, 6999, 7000, { session: 2 }), waiting(3, 7000, { session: 3, hit: 6992 })], 0)
    story.at(1, away, [running(9, 15, 16), waiting(3, 7000, { session: 3, hit: 6992 })], 0, room)
    story.at(2, away, [running(3, 6999, 7000, { session: 3 })], 0, room)
    expect(story.sessions.active).toBe(2)
    story.at(3, [...away.slice(0, 2), view(3, 7000, tool(), 2.5)], [running(9, 15, 16)], 0)
    expect([1, 2, 3].map((id) => story.mayStart(id))).toEqual([true, true, false])
    expect(story.kept.get(3)!.retentionClass).toBe(retentionClass.paused)
  })
})

test('how much a turn adds is learnt in a few turns, and assumed to be little in a small pool', () => {
  const projected = (turns: number): number => {
    const story = new Story({ turnTokens: 2048 })
    let tokens = 1600
    for (let turn = 0; turn < turns; ++turn) {
      story.at(2 * turn, [view(1, tokens, busy)], [running(1, tokens - 1, tokens, { session: 1, arrivedAt: 2 * turn })], 0)
      story.at(2 * turn + 1, [view(1, tokens, tool(), 2 * turn + 1)], [], 0)
      tokens += 32
    }
    return 16 * story.sessions.projected - (tokens - 32)
  }
  // A pool of 16,000 tokens: 250 a turn.
  expect(projected(1)).toBeGreaterThan(240)
  expect(projected(1)).toBeLessThan(270)
  expect(projected(12)).toBeLessThan(100)
  expect(projected(12)).toBeGreaterThanOrEqual(32)
})

test('KV comes back from the host tier before its tool does', () => {
  const story = new Story({ prefetchLead: 0.5 })
  const host = { pool: { total: 1000, free: 1000, cached: 0, used: 0, hostTotal: 1000, hostFree: 500 } }
  let now = 0
  for (let i = 0; i < 80; ++i) now = story.turn(now, 4)
  story.turn(now, 0)
  const since = now + 0.01
  story.at(since + 1, [view(1, 4000, tool(), since)], [], 0.01, host)
  expect(story.prefetched).toEqual([])
  story.at(since + 3.7, [view(1, 4000, tool(), since)], [], 0.01, host)
  expect(story.prefetched).toEqual([1])
})

test('a request announced on another engine counts with its tokens', () => {
  const story = new Story({ turnTokens: 16 })
  const elsewhere = (tokens: number): SessionView => view(1, 4000, { kind: 'elsewhere', tokens })
  story.at(0, [view(1, 4000, busy)], [running(1, 3999, 4000, { session: 1 })])
  story.at(0.1, [elsewhere(1600)], [], 0)
  const much = story.sessions.projected
  story.at(0.2, [elsewhere(16)], [], 0)
  expect(much - story.sessions.projected).toBe(99)
})

describe('who comes back first', () => {
  const room = { pool: { total: 1000, free: 1000, cached: 0, used: 0, hostTotal: 0, hostFree: 0 } }
  const part = (story: Story, ids: readonly number[]): number[] => ids.filter((id) => story.mayStart(id))

  test('of paused sessions the one with the least to compute again', () => {
    const story = new Story()
    const views = [1, 2, 3, 4].map((id) => view(id, 7000, busy))
    story.at(0, views, views.map(({ id }) => waiting(id, 7000, { session: id })), 0.5, room)
    expect(part(story, [1, 2, 3, 4])).toEqual([1, 2])
    // The first is gone; of the fourth more is still cached than of the third.
    const left = [running(2, 6999, 7000, { session: 2 }), waiting(3, 7000, { session: 3, hit: 1600 }), waiting(4, 7000, { session: 4, hit: 4800 })]
    story.at(1, views.slice(1), left, 0.5, room)
    expect(part(story, [2, 3, 4])).toEqual([2, 4])
  })

  test('before that, whatever belongs to the run that began first', () => {
    const story = new Story()
    const of = (id: number, run: string): SessionView => ({ ...view(id, 7000, busy), run })
    const views = [of(1, 'a'), of(2, 'b'), of(3, 'b'), of(4, 'c'), of(5, 'a')]
    story.at(0, views, views.map(({ id }) => waiting(id, 7000, { session: id, hit: id === 3 ? 6000 : 0 })), 0.5, room)
    expect(part(story, [1, 2, 3, 4, 5])).toEqual([1, 5])
  })

  test('runs of one name that belong to different tenants are different runs', () => {
    const story = new Story()
    const views = [view(1, 7000, busy, 0, 'x'), view(2, 7000, busy, 0, 'y')].map((one) => ({ ...one, run: 'a' }))
    story.at(0, views)
    story.at(1, views.slice(1))
    expect(story.sessions.standing(2)!.run!.order).toBe(1)
  })
})

describe('while nothing runs', () => {
  const views = [view(1, 7000, tool(), 0), view(2, 7000, tool(), 0), view(3, 7000, busy)]
  const three = [1, 2, 3].map((id) => view(id, 7000, busy))
  const paused = (): Story => {
    const story = new Story({ turnTokens: 16 })
    story.at(0, three, [running(1, 6999, 7000, { session: 1 }), running(2, 6999, 7000, { session: 2 }), waiting(3, 7000, { session: 3 })], 0)
    return story
  }

  test('a place is kept for as long as its KV takes to compute, no longer', () => {
    const story = paused()
    for (const now of [0.1, 3, 6.9]) {
      story.at(now, views, [waiting(3, 7000, { session: 3 })], 0)
      expect(story.mayStart(3)).toBe(false)
    }
    story.at(7.2, views, [waiting(3, 7000, { session: 3 })], 0)
    expect(story.mayStart(3)).toBe(true)
  })

  test('time in which somebody else runs does not count', () => {
    const story = paused()
    for (let now = 0.1; now < 9; now += 0.5) {
      const other = now > 4 && now < 5 ? [running(8, 15, 16)] : []
      story.at(now, views, [waiting(3, 7000, { session: 3 }), ...other], 0)
    }
    expect(story.mayStart(3)).toBe(false)
  })
})
