// Plans that are repeated without being asked for: when they leave as such, what interrupts them, and that nobody sees what was computed
// beyond an end.
import diagnostics from 'node:diagnostics_channel'

import { describe, expect, test, vi } from 'vitest'

import { firstCome } from 'agentinfer'
import type { Plan, Scheduler, Snapshot, StepStartMessage } from 'agentinfer'

import { StepLoop } from '../../dist/esm/engine/loop.js'
import { Sessions } from '../../dist/esm/engine/sessions.js'
import { Finish } from '../../dist/esm/native.js'
import { FakeNative, makeRequest } from './fake_native.js'
import type { Happening, Made } from './fake_native.js'

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** First come, first served, with a change to each plan. */
class Seen implements Scheduler {
  readonly name = 'seen'
  readonly wants = { probes: false, demand: true }
  readonly snapshots: Snapshot[] = []
  readonly #inner = firstCome()
  constructor(readonly change: (plan: Plan) => Plan = (plan) => plan) {}
  plan(snapshot: Snapshot): Plan {
    this.snapshots.push(structuredClone(snapshot))
    return this.change(this.#inner.plan(snapshot))
  }
}

class Bench {
  readonly native = new FakeNative()
  readonly sessions = new Sessions()
  readonly scheduler: Seen
  readonly loop: StepLoop
  constructor(change?: (plan: Plan) => Plan) {
    this.scheduler = new Seen(change)
    const limits = { maxBatchTokens: 16, maxSequences: 4, blockSize: 16 }
    this.loop = new StepLoop(this.native, this.sessions, { limits, blocks: 100, hostBlocks: 0, maxQueue: 10, scheduler: this.scheduler })
  }
  /** Requests with these stop texts that decode now, the first plan for that under way. */
  async decoding(...stops: (readonly string[])[]): Promise<Made[]> {
    const made = stops.map((stop, i) => makeRequest(i + 1, { stop, onRead: () => this.loop.read() }))
    for (const { request } of made) this.loop.add(request)
    await turn()
    this.answer()
    return made
  }
  answer(what: Happening = {}): void {
    this.loop.result(this.native.result(what))
  }
  get ahead(): number {
    return this.native.plans.at(-1)!.ahead ?? 0
  }
}

describe('a plan leaves as one that may be repeated', () => {
  test('when everybody decodes, and not while prompts are computed', async () => {
    const bench = new Bench()
    const { request } = makeRequest(1, { promptTokens: 20 })
    bench.loop.add(request)
    await turn()
    expect(bench.ahead).toBe(0)
    bench.answer()
    expect(bench.ahead).toBe(0)
    bench.answer()
    expect(bench.ahead).toBe(8)
    expect(bench.native.plans).toHaveLength(3)
  })

  test('not while somebody starts, nor when one gives way', async () => {
    const bench = new Bench()
    await bench.decoding([], [])
    expect(bench.ahead).toBe(8)
    bench.loop.add(makeRequest(3).request)
    bench.answer()
    expect(bench.ahead).toBe(0)
    bench.answer({ deferred: [1] })
    expect(bench.native.plans.at(-1)!.preempt).toEqual(Int32Array.of(3))
    expect(bench.ahead).toBe(0)
  })

  test('not for one alone that a text may end; in company it may', async () => {
    const alone = new Bench()
    await alone.decoding(['xyz'])
    expect(alone.ahead).toBe(0)
    const together = new Bench()
    await together.decoding(['xyz'], [])
    expect(together.ahead).toBe(8)
  })

  test('only if the scheduler says so', async () => {
    const bench = new Bench(({ ahead: _ahead, ...plan }) => plan)
    await bench.decoding([])
    expect(bench.ahead).toBe(0)
  })

  test.each([-1, 0.5, Number.NaN, 257])('%d is no number of steps', async (ahead) => {
    const bench = new Bench((plan) => ({ ...plan, ahead }))
    const { request, stream } = makeRequest(1)
    bench.loop.add(request)
    await expect(stream.response).rejects.toMatchObject({ code: 'ERR_SCHEDULER', message: expect.stringContaining('ahead: expected an integer from 0 to 256') as string })
  })
})

describe('results may be kept together', () => {
  const hold = (bench: Bench): number => bench.native.plans.at(-1)!.hold ?? 0

  test('where nobody reads token by token', async () => {
    const bench = new Bench()
    await bench.decoding([], [])
    expect(hold(bench)).toBeGreaterThan(0)
  })

  test('not for those that a text may end', async () => {
    const bench = new Bench()
    await bench.decoding(['xyz'], [])
    expect([bench.ahead, hold(bench)]).toEqual([8, 0])
  })

  test('not while a stream is read, from its first reader on', async () => {
    const bench = new Bench()
    const [, other] = await bench.decoding([], [])
    const next = other!.stream[Symbol.asyncIterator]().next()
    expect(bench.native.calls.at(-1)).toBe('interrupt')
    bench.answer()
    await expect(next).resolves.toMatchObject({ done: false })
    expect([bench.ahead, hold(bench)]).toEqual([8, 0])
    bench.answer({ ends: { 2: Finish.length } })
    bench.answer()
    expect(hold(bench)).toBeGreaterThan(0)
  })

  test('not while somebody hears of steps', async () => {
    const bench = new Bench()
    await bench.decoding([])
    const listener = (): void => undefined
    diagnostics.subscribe('agentinfer:step:end', listener)
    bench.answer()
    expect(hold(bench)).toBe(0)
    diagnostics.unsubscribe('agentinfer:step:end', listener)
    bench.answer()
    expect(hold(bench)).toBeGreaterThan(0)
  })

  test('the time that they were kept is no crossing', async () => {
    const clock = vi.spyOn(performance, 'now').mockReturnValue(1000)
    const bench = new Bench()
    await bench.decoding([])
    clock.mockReturnValue(1060)
    bench.answer({ more: true, native: 5, held: 50 })
    expect(bench.loop.stats().stepTimes.crossing.p99).toBe(5)
    clock.mockRestore()
  })
})

describe('while it is repeated', () => {
  test('results are delivered, nothing is planned; then it is', async () => {
    const bench = new Bench()
    const [one] = await bench.decoding([])
    const plans = bench.native.plans.length
    const asked = bench.scheduler.snapshots.length
    for (let i = 0; i < 8; ++i) bench.answer({ more: true })
    expect([bench.native.plans.length, bench.scheduler.snapshots.length]).toEqual([plans, asked])
    expect(one!.request.output).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9])
    bench.answer()
    expect(bench.native.plans).toHaveLength(plans + 1)
    const [before, after] = bench.scheduler.snapshots.slice(-2)
    expect(after!.step - before!.step).toBe(9)
    expect(after!.requests[0]).toMatchObject({ known: 11, computed: 10 })
  })

  test('an end by length or token is one, and the next plan does without it', async () => {
    const bench = new Bench()
    const [one] = await bench.decoding([], [])
    bench.answer({ more: true })
    bench.answer({ ends: { 1: Finish.length } })
    expect((await one!.stream.response).tokens).toEqual([1, 2, 3])
    expect(Array.from(bench.native.plans.at(-1)!.rows)).toEqual([2, 1, 0])
  })

  test('what was looked up stays what it was', async () => {
    const bench = new Bench()
    bench.loop.add(makeRequest(9, { promptTokens: 4 }).request)
    await bench.decoding([])
    bench.answer({ demand: [1, 2, 3, 4], more: true })
    bench.answer({ more: true })
    bench.answer()
    expect(bench.scheduler.snapshots.at(-1)!.demand).toEqual({ pinned: 1, evictable: 2, host: 3, fresh: 4 })
  })

  test('stats count each step; crossing is the pause between two of them', async () => {
    const bench = new Bench()
    await bench.decoding([])
    const { steps } = bench.loop.stats()
    bench.answer({ more: true })
    for (let i = 0; i < 7; ++i) bench.answer({ more: true, gap: 0.25, native: 3 })
    const stats = bench.loop.stats()
    expect(stats.steps).toBe(steps + 8)
    expect(stats.stepTimes.crossing.p50).toBe(0.25)
    expect(stats.stepTimes.native.p50).toBe(3)
  })

  test('channels hear of each step, and which ones were repeated', async () => {
    const bench = new Bench()
    const heard: string[] = []
    const start = (message: unknown): void => {
      const { step, rows, tokens, repeated, running } = message as StepStartMessage
      heard.push(`start ${step}: ${rows} ${tokens} ${repeated} ${running}`)
    }
    const end = (message: unknown): void => void heard.push(`end ${(message as StepStartMessage).step}`)
    await bench.decoding([], [])
    diagnostics.subscribe('agentinfer:step:start', start)
    diagnostics.subscribe('agentinfer:step:end', end)
    bench.answer({ more: true })
    bench.answer({ more: true })
    bench.answer()
    diagnostics.unsubscribe('agentinfer:step:start', start)
    diagnostics.unsubscribe('agentinfer:step:end', end)
    expect(heard).toEqual(['end 1', 'start 2: 2 2 true 2', 'end 2', 'start 3: 2 2 true 2', 'end 3', 'start 4: 2 2 false 2'])
  })
})

describe('it is interrupted', () => {
  const changes: [string, (bench: Bench, made: Made[]) => void, string[]][] = [
    ['by a newcomer', ({ loop }) => loop.add(makeRequest(7).request), ['add 7', 'interrupt']],
    ['when one leaves', ({ loop }) => loop.remove(1, 'aborted'), ['remove 1', 'interrupt']],
    ['by retention', ({ loop }) => loop.retain(5, 1, 10), ['interrupt']],
    [
      'by a session that does something else',
      ({ sessions }) => {
        for (const kind of ['running', 'idle'] as const) sessions.update({ id: 5, tenant: '', tokens: 1, activity: { kind }, since: 0 })
      },
      ['interrupt'],
    ],
  ]
  test.each(changes)('%s, once, and the next result is followed by a plan', async (_what, change, calls) => {
    const bench = new Bench()
    const made = await bench.decoding([], [])
    bench.answer({ more: true })
    bench.native.calls.length = 0
    const plans = bench.native.plans.length
    change(bench, made)
    await turn()
    expect(bench.native.calls).toEqual(calls)
    expect(bench.native.plans).toHaveLength(plans) // one is under way
    change(bench, [])
    expect(bench.native.calls.filter((call) => call === 'interrupt')).toHaveLength(1)
    bench.answer()
    expect(bench.native.plans).toHaveLength(plans + 1)
  })

  test('not where it would end by itself', async () => {
    const bench = new Bench()
    bench.loop.add(makeRequest(1, { promptTokens: 20 }).request)
    await turn()
    bench.loop.add(makeRequest(2).request)
    bench.loop.retain(5, 1, 10)
    expect(bench.native.calls).toEqual(['add 1', 'add 2'])
  })
})

describe('what was computed beyond an end', () => {
  test('by text: it is taken out at once, and later tokens are nobody’s', async () => {
    const bench = new Bench()
    const [stops, other] = await bench.decoding(['de'], [])
    bench.answer({ more: true })
    bench.answer({ more: true })
    bench.answer({ more: true }) // 'bcde'
    expect(bench.native.calls).toContain('remove 1')
    const generated = bench.loop.stats().tokens.generated
    bench.answer()
    const response = await stops!.stream.response
    expect(response).toMatchObject({ text: 'bc', tokens: [1, 2, 3, 4], finishReason: 'stop', usage: { completionTokens: 4 } })
    expect(stops!.request.output).toEqual([1, 2, 3, 4])
    expect(other!.request.output).toEqual([1, 2, 3, 4, 5])
    expect(bench.loop.stats().tokens.generated).toBe(generated + 1)
    expect(bench.loop.stats().requests.finished).toBe(1)
    expect(Array.from(bench.native.plans.at(-1)!.rows)).toEqual([2, 1, 0])
  })

  test('by leaving: likewise, however many results wait', async () => {
    const bench = new Bench()
    const [leaves] = await bench.decoding([], [])
    const waiting = [bench.native.result({ more: true }), bench.native.result({ more: true }), bench.native.result()]
    bench.loop.result(waiting[0]!)
    bench.loop.remove(1, 'aborted')
    leaves!.request.finish('abort', performance.now())
    for (const result of waiting.slice(1)) bench.loop.result(result)
    expect(await leaves!.stream.response).toMatchObject({ tokens: [1, 2], finishReason: 'abort' })
    expect(bench.loop.stats().requests).toMatchObject({ aborted: 1, finished: 0 })
  })

  test('a failed device fails those that run, and later results hurt nobody', async () => {
    const bench = new Bench()
    const [one] = await bench.decoding([])
    bench.answer({ more: true })
    bench.loop.result({ ...bench.native.result(), unhealthy: 'lost' })
    await expect(one!.stream.response).rejects.toMatchObject({ code: 'ERR_DEVICE' })
    expect(bench.loop.health()).toMatchObject({ healthy: false, queued: 0 })
  })

  test('after close nothing is planned, whatever still arrives', async () => {
    const bench = new Bench()
    await bench.decoding([], [])
    const plans = bench.native.plans.length
    bench.answer({ more: true })
    bench.loop.close(new Error('closed'))
    bench.answer({ more: true })
    bench.answer()
    expect(bench.native.plans).toHaveLength(plans)
  })
})
