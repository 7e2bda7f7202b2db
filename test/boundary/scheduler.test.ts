// Schedulers in the step loop: by name, one's own, and those that say nonsense.
import { afterEach, describe, expect, test } from 'vitest'

import { AgentInferError, Engine, firstCome, schedulerNames } from 'agentinfer'
import type { EngineOptions, GenerationStream, Plan, Scheduler, Snapshot } from 'agentinfer'

import { checkpoint } from '../fixtures/paths.js'

const open: Engine[] = []
async function engine(options: Partial<EngineOptions> = {}): Promise<Engine> {
  const made = await Engine.open({ model: checkpoint('pangu'), kvDtype: 'f32', maxContext: 128, kvTokens: 512, blockSize: 16, ...options })
  open.push(made)
  return made
}
afterEach(async () => {
  await Promise.all(open.splice(0).map((one) => one.close()))
})

const ask = (seed: number, promptTokens = 10 + seed, maxTokens = 12) => ({
  tokens: Array.from({ length: promptTokens }, (_, i) => 5 + ((i * seed * 31) % 4000)),
  maxTokens,
  ignoreEos: true,
  sampling: { seed, temperature: 0.9 },
})
const code = (stream: GenerationStream): Promise<string> =>
  stream.response.then(
    () => 'done',
    (error: unknown) => (error instanceof AgentInferError ? error.code : String(error)),
  )

/** First come, first served, with a change made to each plan; says what it saw. */
class Changed implements Scheduler {
  readonly name = 'changed'
  readonly wants = { probes: true, demand: true }
  readonly snapshots: Snapshot[] = []
  readonly #inner = firstCome()
  readonly #change: (plan: Plan, snapshot: Snapshot) => Plan
  constructor(change: (plan: Plan, snapshot: Snapshot) => Plan = (plan) => plan) {
    this.#change = change
  }
  plan(snapshot: Snapshot): Plan {
    this.snapshots.push(structuredClone(snapshot))
    return this.#change(this.#inner.plan(snapshot), snapshot)
  }
}

describe('by name', () => {
  test.each(schedulerNames)('%s: twenty requests in a pool of four contexts give what each gives alone', async (scheduler) => {
    const one = await engine({ scheduler, maxBatchTokens: 32, maxSequences: 6 })
    const alone: number[][] = []
    for (let seed = 1; seed <= 20; ++seed) alone.push((await one.generate({ ...ask(seed, 10 + 4 * seed), tenant: 'alone' }).response).tokens)
    const together = await Promise.all(Array.from({ length: 20 }, (_, i) => one.generate(ask(i + 1, 10 + 4 * (i + 1))).response))
    expect(together.map(({ tokens }) => tokens)).toEqual(alone)
    const { running, waiting, pool, sched, requests, tokens } = one.stats()
    expect({ running, waiting, used: pool.used, finished: requests.finished }).toEqual({ running: 0, waiting: 0, used: 0, finished: 40 })
    expect(sched.scheduler).toBe(scheduler)
    expect(tokens.generated).toBe(40 * 12)
  })

  test('an unknown name is refused with those there are', async () => {
    await expect(engine({ scheduler: 'fastest' as never })).rejects.toThrow(/scheduler: expected one of .*'fcfs'/)
    await expect(engine({ scheduler: { name: 'no plan' } as never })).rejects.toMatchObject({ code: 'ERR_INVALID_ARGUMENT' })
  })
})

describe("one's own", () => {
  test('sees requests, sessions, pool, hits and demand, and its figures and reasons are told', async () => {
    const scheduler = new Changed((plan, { requests }) => ({ ...plan, figures: { lambda: requests.length } }))
    const one = await engine({ scheduler, maxSequences: 1 })
    using session = one.session({ tenant: 'a' })
    await session.append({ tokens: ask(3, 40).tokens })
    await session.generate({ maxTokens: 3, ignoreEos: true, priority: 2, deadline: 60 }).response
    session.activity({ kind: 'tool', tool: 'search' })
    await one.generate({ tokens: [9], maxTokens: 1 }).response
    const streams = [one.generate(ask(1)), one.generate(ask(2, 50)), session.generate({ maxTokens: 3, ignoreEos: true })]
    while (one.stats().running === 0) await new Promise((resolve) => setTimeout(resolve, 1))
    expect(one.stats().sched.reasons['no-slot']).toBeGreaterThan(0)
    await Promise.all(streams.map(({ response }) => response))
    expect(one.stats().sched.figures['lambda']).toBe(0)
    const first = scheduler.snapshots.find(({ requests }) => requests[0]?.session === session.id)!.requests[0]!
    expect(first).toMatchObject({ tenant: 'a', priority: 2, promptTokens: 40, known: 40, computed: 0, remaining: 3, started: false })
    expect(first.deadline).toBeGreaterThan(first.arrivedAt + 50)
    const seen = scheduler.snapshots.flatMap(({ requests }) => requests).find(({ id, probe }) => id > first.id && (probe?.hitTokens ?? 0) > 0)
    expect(seen?.session).toBe(session.id) // its history is found again
    expect(scheduler.snapshots.some(({ sessions }) => sessions[0]?.activity.kind === 'tool')).toBe(true)
    expect(scheduler.snapshots.some(({ demand }) => demand.fresh > 0)).toBe(true)
    expect(scheduler.snapshots.at(-1)!.pool.total).toBe(one.stats().pool.total)
    expect(scheduler.snapshots.at(-1)!.prefilled).toBeGreaterThanOrEqual(100)
  })

  test('that never preempts cannot stop the engine', async () => {
    const greedy: Scheduler = {
      name: 'greedy',
      plan: ({ requests, limits }) => {
        const rows = requests.slice(0, limits.maxSequences).map(({ id, known, computed }) => ({ id, tokens: Math.min(8, known - computed) }))
        return { rows, preempt: [], retain: [], reasons: new Map() }
      },
    }
    const one = await engine({ scheduler: greedy, kvTokens: 128, maxSequences: 8 })
    const responses = await Promise.all(Array.from({ length: 8 }, (_, i) => one.generate(ask(i + 1, 40, 40)).response))
    const other = await engine()
    for (const [i, { tokens }] of responses.entries()) expect(tokens).toEqual((await other.generate(ask(i + 1, 40, 40)).response).tokens)
    expect(one.stats().preemptions).toBeGreaterThan(0)
    expect(responses.reduce((sum, { preemptions }) => sum + preemptions, 0)).toBe(one.stats().preemptions)
  })

  test('that has news with every plan is not asked again and again while nothing is wanted', async () => {
    let expiresAt = 1e9
    const scheduler = new Changed((plan, { sessions }) => ({
      ...plan,
      retain: sessions.map(({ id }) => ({ session: id, retentionClass: 1, expiresAt: ++expiresAt })),
    }))
    const one = await engine({ scheduler })
    using session = one.session()
    await session.append({ tokens: ask(3, 40).tokens })
    await session.generate({ maxTokens: 2, ignoreEos: true }).response
    session.activity({ kind: 'tool', tool: 'search' })
    const before = scheduler.snapshots.length
    await new Promise((resolve) => setTimeout(resolve, 100))
    expect(scheduler.snapshots.length - before).toBeLessThan(10)
    session.activity({ kind: 'idle' })
    await new Promise((resolve) => setTimeout(resolve, 20))
    expect(scheduler.snapshots.at(-1)!.sessions[0]!.activity.kind).toBe('idle')
  })

  test('that keeps everybody waiting for a while is asked again', async () => {
    let asked = 0
    const scheduler = new Changed((plan) => (++asked < 5 ? { ...plan, rows: [], reasons: new Map([[1, 'not yet']]) } : plan))
    const one = await engine({ scheduler })
    expect((await one.generate(ask(1)).response).tokens).toHaveLength(12)
  })

  const nonsense: [string, (plan: Plan, snapshot: Snapshot) => unknown, RegExp][] = [
    ['a request it was not shown', (plan) => ({ ...plan, rows: [{ id: 999, tokens: 1 }] }), /request 999 is not in the snapshot/],
    ['a request twice', (plan) => ({ ...plan, rows: [...plan.rows, ...plan.rows] }), /planned twice/],
    ['no tokens', (plan) => ({ ...plan, rows: plan.rows.map((row) => ({ ...row, tokens: 0 })) }), /expected 1 to \d+, got 0/],
    ['more tokens than there are', (plan) => ({ ...plan, rows: plan.rows.map((row) => ({ ...row, tokens: 500 })) }), /got 500/],
    ['half a token', (plan) => ({ ...plan, rows: plan.rows.map((row) => ({ ...row, tokens: 0.5 })) }), /got 0\.5/],
    ['to preempt what does not run', (plan, { requests }) => ({ ...plan, rows: [], preempt: requests.map(({ id }) => id) }), /holds no blocks/],
    ['a session that is not open', (plan) => ({ ...plan, retain: [{ session: 5, retentionClass: 1, expiresAt: 0 }] }), /session 5 is not open/],
    ['to prefetch a session that is not open', (plan) => ({ ...plan, prefetch: [5] }), /session 5 is not open/],
    ['nothing', () => undefined, /expected a plan/],
    ['no reasons', (plan) => ({ ...plan, reasons: {} }), /expected a Map/],
    ['an exception', () => { throw new Error('on purpose') }, /threw: on purpose/],
  ]
  test.each(nonsense)('%s fails the requests with ERR_SCHEDULER, and the engine goes on', async (_name, change, message) => {
    let broken = true
    const one = await engine({ scheduler: new Changed((plan, snapshot) => (broken && snapshot.requests.length > 0 ? (change(plan, snapshot) as Plan) : plan)) })
    const failing = [one.generate(ask(1)), one.generate(ask(2))]
    expect(await Promise.all(failing.map(code))).toEqual(['ERR_SCHEDULER', 'ERR_SCHEDULER'])
    await expect(failing[0]!.response).rejects.toThrow(message)
    broken = false
    expect((await one.generate(ask(1)).response).tokens).toHaveLength(12)
    expect(one.health()).toMatchObject({ healthy: true, queued: 0, stalledMs: 0 })
    expect(one.stats()).toMatchObject({ running: 0, waiting: 0, requests: { finished: 1, failed: 2 } })
    expect(one.stats().pool.used).toBe(0)
  })
})

describe('priority, deadlines, retention', () => {
  test('a request of higher priority overtakes, takes the place of a running one, and changes no tokens', async () => {
    const one = await engine({ maxSequences: 1, scheduler: 'fcfs' })
    const alone = await engine()
    const order: string[] = []
    const note = (name: string, stream: GenerationStream) => stream.response.then((response) => (order.push(name), response))
    const running = one.generate(ask(1, 10, 100))
    const low = note('low', running)
    const waits = note('waits', one.generate(ask(3)))
    await running[Symbol.asyncIterator]().next()
    const high = note('high', one.generate({ ...ask(2), priority: 1 }))
    const [a, b] = await Promise.all([low, high, waits])
    expect(order).toEqual(['high', 'low', 'waits'])
    expect(a.preemptions).toBe(1)
    expect(a.tokens).toEqual((await alone.generate(ask(1, 10, 100)).response).tokens)
    expect(b.tokens).toEqual((await alone.generate(ask(2)).response).tokens)
  })

  test('a deadline ends a request that waits and one that runs, with ERR_DEADLINE, and frees its blocks', async () => {
    const one = await engine({ maxSequences: 1 })
    const ends = await Promise.all([0.05, 0.05].map((deadline, i) => code(one.generate({ ...ask(i + 1, 10, 110), deadline: deadline / 10 }))))
    expect(ends).toEqual(['ERR_DEADLINE', 'ERR_DEADLINE'])
    expect((await one.generate({ ...ask(3), deadline: 60 }).response).tokens).toHaveLength(12)
    expect(one.stats()).toMatchObject({ running: 0, waiting: 0, requests: { failed: 2, finished: 1 } })
    expect(one.stats().pool.used).toBe(0)
  })

  test('a retained session keeps its KV while others are evicted; one that is not loses it; both say why', async () => {
    for (const retained of [true, false]) {
      const one = await engine({ kvTokens: 256, scheduler: 'fcfs' })
      using session = one.session()
      await session.append({ tokens: ask(5, 100).tokens })
      await session.prefill()
      if (retained) session.retain({ ttl: 60 })
      for (let seed = 10; seed < 14; ++seed) await one.generate(ask(seed, 100, 4)).response
      const { usage, cacheMiss } = await session.generate({ maxTokens: 2, ignoreEos: true }).response
      if (retained) expect(usage.cachedTokens).toBe(99)
      else expect(usage.cachedTokens).toBeLessThan(99)
      expect(cacheMiss?.cause).toBe(retained ? 'none' : 'evicted')
    }
  })

  test('a retained session goes to the host tier and comes back; prefetch brings it back beforehand', async () => {
    let prefetch: number[] = []
    const scheduler = new Changed((plan) => ({ ...plan, prefetch: prefetch.splice(0) }))
    const one = await engine({ kvTokens: 128, hostKvBytes: 2 ** 20, scheduler })
    using session = one.session()
    await session.append({ tokens: ask(5, 100).tokens })
    await session.prefill()
    session.retain({ ttl: 60 })
    const evictAll = async (): Promise<void> => {
      const big = one.generate(ask(20, 120, 7))
      await big.response
    }
    await evictAll()
    const { host } = one.stats()
    expect(host.free).toBeLessThan(host.total)
    const back = await session.generate({ maxTokens: 2, ignoreEos: true, append: false }).response
    expect(back.usage.cachedTokens).toBeGreaterThan(90)
    await evictAll()
    const away = one.stats().host.free
    prefetch = [session.id]
    await one.generate({ tokens: [7], maxTokens: 1, ignoreEos: true }).response
    expect(one.stats().host.free).toBeGreaterThanOrEqual(away)
  })
})

describe('why the cache missed', () => {
  const text = (prompt: string, options = {}) => ({ prompt, maxTokens: 2, ignoreEos: true, sampling: { temperature: 0 }, ...options })
  const words = 'the quick brown fox jumps over the lazy dog and runs away from the hunters '

  test('never seen, cut off, another tenant, another template', async () => {
    const one = await engine({ maxContext: 256, kvTokens: 2048 })
    const first = await one.generate(text(words)).response
    expect(first.cacheMiss).toMatchObject({ cause: 'never-seen', index: 0 })
    const second = await one.generate(text(words)).response
    expect(second.cacheMiss).toMatchObject({ cause: 'none', index: second.usage.promptTokens - 1 })

    const other = await one.generate(text(words.replace('lazy', 'sleepy'))).response
    expect(other.cacheMiss!.cause).toMatch(/never-seen|partial/)
    const ids = Array.from(await one.tokenize(words.replace('lazy', 'sleepy')))
    const same = Array.from(await one.tokenize(words))
    const differs = ids.findIndex((id, i) => id !== same[i]) + 1 // the BOS
    expect(other.cacheMiss!.index).toBe(differs)
    expect(other.cacheMiss!.token).toBe(ids[differs - 1])
    expect(other.cacheMiss!.indexed).toBe(same[differs - 1])
    expect(other.cacheMiss!.indexedText).not.toBe(other.cacheMiss!.text)

    const tenant = await one.generate(text(words, { tenant: 'b' })).response
    expect(tenant.cacheMiss).toMatchObject({ cause: 'salt', index: 0 })

    const messages = [{ role: 'user', content: words }]
    const chat = { messages, maxTokens: 2, ignoreEos: true }
    await one.generate(chat).response
    const changed = await one.generate({ ...chat, chatTemplate: 'X {% for m in messages %}{{ m.content }}{% endfor %}' }).response
    expect(changed.cacheMiss!.cause).toBe('template')
  })
})

describe('streams', () => {
  test('whoever does not read holds nobody up, and finds all in one delta', async () => {
    const one = await engine()
    const unread = one.generate(ask(1, 10, 60))
    const read = one.generate(ask(2, 10, 60))
    let deltas = 0
    for await (const { tokens } of read) deltas += tokens.length
    expect(deltas).toBe(60)
    const { tokens } = await unread.response
    const late = []
    for await (const delta of unread) late.push(delta)
    expect(late).toHaveLength(1)
    expect(late[0]!.tokens).toEqual(tokens)
    expect(tokens).toHaveLength(60)
  })

  test('next() may be called ahead; return ends what waits', async () => {
    const one = await engine()
    const stream = one.generate(ask(1, 10, 5))
    const iterator = stream[Symbol.asyncIterator]()
    const ahead = await Promise.all(Array.from({ length: 8 }, () => iterator.next()))
    expect(ahead.map(({ done }) => done === true)).toEqual([false, false, false, false, false, true, true, true])
    const other = one.generate(ask(2, 10, 100))
    const second = other[Symbol.asyncIterator]()
    await second.next()
    const waiting = [second.next(), second.next()]
    await second.return!()
    await Promise.all(waiting)
    expect((await other.response).finishReason).toBe('abort')
    expect(await second.next()).toEqual({ done: true, value: undefined })
  })

  test('one signal may stop a hundred requests, without a warning', async () => {
    const one = await engine({ maxSequences: 4 })
    const warnings: Error[] = []
    const warn = (warning: Error): void => void warnings.push(warning)
    process.on('warning', warn)
    const controller = new AbortController()
    const streams = Array.from({ length: 100 }, (_, i) => one.generate({ ...ask(i + 1, 10, 100), signal: controller.signal }))
    const ends = Promise.all(streams.map(code))
    await streams[0]![Symbol.asyncIterator]().next()
    controller.abort(new Error('enough'))
    expect(new Set(await ends)).toEqual(new Set(['Error: enough']))
    await new Promise((resolve) => setImmediate(resolve))
    process.off('warning', warn)
    expect(warnings).toEqual([])
    await one.generate(ask(1)).response
    expect(one.stats()).toMatchObject({ running: 0, requests: { aborted: 100, finished: 1 } })
  })
})
