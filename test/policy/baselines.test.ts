import { describe, expect, test } from 'vitest'

import { firstCome, longestPrefix, responseRatio, schedulerNames, shortestPrompt, shortestUncached } from 'agentinfer'
import type { Plan, ProbeView, RequestView, Scheduler, Snapshot } from 'agentinfer'

import { ServerModel } from './server_model.js'

const blockSize = 16

function request(id: number, fields: Partial<RequestView> = {}): RequestView {
  const promptTokens = fields.promptTokens ?? 100
  return {
    id, promptTokens, session: undefined, tenant: '', priority: 0, known: promptTokens, computed: 0, remaining: 50, started: false,
    arrivedAt: id, prefilledAtArrival: 0, deadline: undefined, probe: undefined, ...fields,
  }
}

const hits = (hitTokens: number, promptTokens = 100): ProbeView => {
  const evictable = Math.floor(hitTokens / blockSize)
  return { hitTokens, pinned: 0, evictable, host: 0, need: Math.ceil(promptTokens / blockSize) - evictable, group: 1 }
}
const decode = (id: number, fields: Partial<RequestView> = {}): RequestView =>
  request(id, { started: true, known: 110, computed: 109, ...fields })

function snapshot(requests: RequestView[], fields: Partial<Snapshot> = {}): Snapshot {
  return {
    now: 0, step: 0, requests, sessions: [], demand: { pinned: 0, evictable: 0, host: 0, fresh: 0 }, prefilled: 0, deferred: [],
    pool: { total: 1000, free: 1000, cached: 0, used: 0, hostTotal: 0, hostFree: 0 },
    limits: { maxBatchTokens: 512, maxSequences: 8, blockSize },
    ...fields,
  }
}
const ids = (plan: Plan): number[] => plan.rows.map((row) => row.id)
const limits = (maxBatchTokens: number, maxSequences = 8) => ({ limits: { maxBatchTokens, maxSequences, blockSize } })
const pool = (free: number, total = 100) => ({ pool: { total, free, cached: 0, used: total - free, hostTotal: 0, hostFree: 0 } })

describe('who goes first', () => {
  const waiting = [
    request(1, { promptTokens: 300, probe: hits(288, 300) }),
    request(2, { promptTokens: 40, probe: hits(0, 40) }),
    request(3, { promptTokens: 200, probe: hits(16, 200) }),
  ]
  const cases: [string, Scheduler, number[]][] = [
    ['fcfs: by arrival', firstCome(), [1, 2, 3]],
    ['sjf: the fewest tokens', shortestPrompt(), [2, 3, 1]],
    ['lpm: the most cached tokens', longestPrefix(), [1, 3, 2]],
    ['shortest-uncached: the fewest tokens to compute', shortestUncached(), [1, 2, 3]],
  ]
  test.each(cases)('%s', (_name, scheduler, expected) => {
    expect(ids(scheduler.plan(snapshot(waiting)))).toEqual(expected)
  })

  test('hrrn: age counts for more where there is less to do', () => {
    const age = (prefilledAtArrival: number) => ({ prefilledAtArrival })
    const plan = responseRatio().plan(
      snapshot([request(1, { promptTokens: 400, ...age(0) }), request(2, { promptTokens: 100, ...age(600) })], { prefilled: 1000 }),
    )
    expect(ids(plan)).toEqual([2, 1]) // 400/100 before 1000/400
  })

  test('priority goes before everything, equals by arrival', () => {
    for (const scheduler of [firstCome(), shortestPrompt(), longestPrefix(), shortestUncached(), responseRatio()]) {
      const plan = scheduler.plan(snapshot([request(1), request(2), request(3, { priority: 1, promptTokens: 400 })]))
      expect(ids(plan)[0]).toBe(3)
      expect(plan.rows.find((row) => row.id === 2) === undefined || ids(plan).indexOf(1) < ids(plan).indexOf(2)).toBe(true)
    }
  })

  test('once maxAge tokens were computed for others, a request goes before all younger ones', () => {
    const old = request(1, { promptTokens: 500, prefilledAtArrival: 0 })
    const young = request(2, { promptTokens: 10, prefilledAtArrival: 900 })
    expect(ids(shortestUncached({ maxAge: 2000 }).plan(snapshot([old, young], { prefilled: 1000 })))[0]).toBe(2)
    expect(ids(shortestUncached({ maxAge: 1000 }).plan(snapshot([old, young], { prefilled: 1000 })))[0]).toBe(1)
  })
})

describe('the budget of a step', () => {
  test('every decode gets its token before any prompt, which gets the rest as a chunk', () => {
    const plan = firstCome().plan(snapshot([request(1, { promptTokens: 900 }), decode(2), decode(3)], limits(64)))
    expect(plan.rows).toEqual([{ id: 2, tokens: 1 }, { id: 3, tokens: 1 }, { id: 1, tokens: 62 }])
  })

  test('a prompt that was begun goes on before another starts', () => {
    const begun = request(2, { promptTokens: 900, started: true, computed: 100 })
    expect(firstCome().plan(snapshot([request(1), begun], limits(64))).rows).toEqual([{ id: 2, tokens: 64 }])
  })

  test('more decodes than a step has rows for take turns', () => {
    const requests = Array.from({ length: 10 }, (_, i) => decode(i))
    const seen = new Set<number>()
    for (let step = 0; step < 3; ++step) {
      const plan = firstCome().plan(snapshot(requests, { step, ...limits(4, 4) }))
      expect(plan.rows).toHaveLength(4)
      for (const id of ids(plan)) seen.add(id)
    }
    expect(seen.size).toBe(10)
  })

  test('no more sequences than a step may have; who waits for it is told', () => {
    const plan = firstCome().plan(snapshot([decode(1), decode(2), request(3)], limits(64, 2)))
    expect(ids(plan)).toEqual([1, 2])
    expect(plan.reasons.get(3)).toBe('no-slot')
  })
})

describe('room', () => {
  test('a request starts when its blocks fit beside those that run, and nobody passes it', () => {
    const requests = [decode(1), request(2, { promptTokens: 320 }), request(3, { promptTokens: 16 })]
    const none = firstCome().plan(snapshot(requests, pool(12)))
    expect(ids(none)).toEqual([1])
    expect([none.reasons.get(2), none.reasons.get(3)]).toEqual(['no-room', 'behind'])
    expect(ids(firstCome().plan(snapshot(requests, pool(30))))).toEqual([1, 2, 3])
  })

  test('what is cached needs no room twice', () => {
    const shared = { ...hits(320, 330), pinned: 20, evictable: 0, need: 1 }
    expect(ids(firstCome().plan(snapshot([decode(1), request(2, { promptTokens: 330, probe: shared })], pool(4))))).toEqual([1, 2])
  })

  test('alone, a request always starts', () => {
    expect(ids(firstCome().plan(snapshot([request(1, { promptTokens: 500 })], pool(1))))).toEqual([1])
  })

  test('when a running one found no room, the last of the least important gives way, and nobody starts', () => {
    const requests = [decode(1, { priority: 1 }), decode(2), decode(3), request(4)]
    const plan = firstCome().plan(snapshot(requests, { ...pool(0), deferred: [1] }))
    expect(plan.preempt).toEqual([3])
    expect(ids(plan)).toEqual([1, 2])
    expect(plan.reasons.get(4)).toBe('no-room')
  })

  test('the only one that runs never gives way', () => {
    expect(firstCome().plan(snapshot([decode(1)], { ...pool(0), deferred: [1] })).preempt).toEqual([])
  })

  test('a request of higher priority takes the place of one of lower, and only of a lower one', () => {
    const full = [decode(1), decode(2)]
    const plan = firstCome().plan(snapshot([...full, request(3, { priority: 2 })], limits(64, 2)))
    expect(plan.preempt).toEqual([2])
    expect(ids(plan)).toEqual([1])
    expect(firstCome().plan(snapshot([...full, request(3)], limits(64, 2))).preempt).toEqual([])
  })
})

describe('random loads on a model of the engine', () => {
  const makers: Record<string, () => Scheduler> = {
    fcfs: firstCome, sjf: shortestPrompt, lpm: () => longestPrefix({ maxAge: 600 }),
    'shortest-uncached': () => shortestUncached({ maxAge: 600 }), hrrn: () => responseRatio({ maxAge: 600 }),
  }
  test('these are all baselines there are', () => {
    for (const name of Object.keys(makers)) expect(schedulerNames).toContain(name)
  })

  test.each(Object.keys(makers))('%s: plans keep the rules, everybody ends, nothing depends on anything but the snapshots', (name) => {
    for (let seed = 1; seed <= 40; ++seed) {
      const [model, twin] = [new ServerModel(makers[name]!(), seed), new ServerModel(makers[name]!(), seed)]
      model.run(4000)
      expect(model.unfinished, `seed ${seed}`).toEqual([])
      twin.run(4000)
      expect(twin.log).toEqual(model.log)
    }
  })

  test.each(Object.keys(makers).filter((name) => name !== 'sjf'))('%s: a long prompt ends under a flood of short ones', (name) => {
    for (let seed = 1; seed <= 5; ++seed) {
      const model = new ServerModel(makers[name]!(), seed, { flood: true })
      const long = model.submit(300, 8)
      for (let step = 0; step < 3000 && !model.finished(long); ++step) model.step()
      expect(model.finished(long), `seed ${seed}`).toBe(true)
      expect(model.unfinished.length).toBeGreaterThan(0) // the flood went on
    }
  })

  test('sjf: the same flood starves it', () => {
    const model = new ServerModel(shortestPrompt(), 1, { flood: true })
    const long = model.submit(300, 8)
    for (let step = 0; step < 3000; ++step) model.step()
    expect(model.finished(long)).toBe(false)
  })
})
