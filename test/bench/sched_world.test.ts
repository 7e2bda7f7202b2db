// The simulator: time, work and agents add up, for every policy.
import { describe, expect, test } from 'vitest'

import { measured } from '../../bench/sched/costs.js'
import { measure } from '../../bench/sched/measure.js'
import { contestants } from '../../bench/sched/policies.js'
import type { Contestant } from '../../bench/sched/policies.js'
import { estimate, ratio, turns as turnsOf } from '../../bench/sched/statistics.js'
import { flood, merge, research, smallAgents } from '../../bench/sched/workload.js'
import type { AgentScript, Task, Trace } from '../../bench/sched/workload.js'
import { World } from '../../bench/sched/world.js'
import type { Outcome } from '../../bench/sched/world.js'

const spec = { blocks: 400, blockSize: 16, hostBlocks: 0, maxBatchTokens: 256, maxSequences: 16, costs: measured({ step: 0.01, row: 0.0005 }) }
const small = (seed: number): Trace => merge('mix', smallAgents(seed, { agents: 12, places: 6, tenants: 2 }), flood(seed, { rate: 2, seconds: 10, prompt: 100, output: 8 }))

function simulate(who: Contestant, trace: Trace, blocks = 96): Outcome {
  return new World(trace, {
    engines: 1, spec: { ...spec, blocks, hostBlocks: who.host === true ? 300 : 0 }, scheduler: who.scheduler, oracle: who.oracle === true, check: true,
  }).run()
}

describe.each(Object.entries(contestants))('%s', (_, who: Contestant) => {
  test('every task ends, every request gets its tokens, no block is lost', () => {
    const trace = small(1)
    const outcome = simulate(who, trace)
    expect(outcome.tasks.length).toBe(trace.tasks.length)
    expect(outcome.requests.length).toBe(trace.tasks.reduce((sum, { root }) => sum + root.turns.length, 0))
    for (const { arrivedAt, startedAt, firstTokenAt, endedAt, cachedTokens, promptTokens } of outcome.requests) {
      expect(startedAt).toBeGreaterThanOrEqual(arrivedAt)
      expect(firstTokenAt).toBeGreaterThan(startedAt)
      expect(endedAt).toBeGreaterThanOrEqual(firstTokenAt)
      expect(cachedTokens).toBeLessThan(promptTokens)
    }
    for (const engine of outcome.engines) expect(engine.busySeconds).toBeLessThanOrEqual(outcome.seconds + 1e-6)
  })

  test('the same seed gives the same run', () => {
    const [a, b] = [simulate(who, small(2)), simulate(who, small(2))]
    expect(a.requests).toEqual(b.requests)
  })
})

describe('time', () => {
  const alone = (turns: AgentScript['turns']): Task => ({ kind: 'one', tenant: '', priority: 0, at: 0, session: true, root: { role: 'one', head: [], turns } })

  test('of one agent is its prefill, its decodes and its tools', () => {
    const turns = [{ append: 200, output: 10, tool: { name: 'search', seconds: 3 } }, { append: 50, output: 5 }]
    const { tasks, requests } = simulate(contestants.fcfs, { name: 'one', seed: 0, places: 0, tasks: [alone(turns)] }, 400)
    const first = 0.01 + 200 * 0.0005 + 9 * (0.01 + 0.0005)
    // The last token of a turn is computed with the next one.
    const second = 0.01 + 51 * 0.0005 + 4 * (0.01 + 0.0005)
    expect(tasks[0]!.endedAt).toBeCloseTo(first + 3 + second, 6)
    expect(requests[1]!.cachedTokens).toBe(209)
  })

  test('a parent goes on when its last child is done', () => {
    const child = (seconds: number): AgentScript => ({ role: 'child', head: [], turns: [{ append: 16, output: 1, tool: { name: 'wait', seconds } }, { append: 16, output: 1 }] })
    const turns = [{ append: 16, output: 1, tool: { name: 'children', seconds: 0 }, spawn: [child(1), child(7)] }, { append: 16, output: 1 }]
    const { requests, tasks } = simulate(contestants.fcfs, { name: 'tree', seed: 0, places: 0, tasks: [alone(turns)] }, 400)
    expect(requests.length).toBe(6)
    expect(tasks[0]!.endedAt).toBeGreaterThan(7)
    expect(tasks[0]!.endedAt).toBeLessThan(7.5)
  })
})

describe('what must hold between runs', () => {
  const hit = (who: Contestant, seed: number, blocks?: number): number => measure(simulate(who, smallAgents(seed, { agents: 16, places: 8 }), blocks)).hitRate

  test('without eviction every token that was there before is found', () => {
    const trace = smallAgents(3, { agents: 10, places: 5 })
    const { requests } = simulate(contestants.fcfs, trace, 4000)
    for (const { promptTokens, newTokens, cachedTokens } of requests.filter((request) => request.promptTokens > request.newTokens))
      expect(cachedTokens).toBe(promptTokens - newTokens - 1)
  })

  test('no policy finds more than one without eviction, Belady finds more than the oldest first', () => {
    let [oldest, belady, ours, all] = [0, 0, 0, 0]
    for (let seed = 1; seed <= 3; ++seed) {
      oldest += hit(contestants.fcfs, seed)
      belady += hit(contestants.belady, seed)
      ours += hit(contestants.ours, seed)
      all += hit(contestants.fcfs, seed, 4000)
    }
    expect(belady).toBeGreaterThan(oldest)
    expect(ours).toBeGreaterThan(oldest)
    expect(all).toBeGreaterThanOrEqual(Math.max(belady, ours))
  })

  test('several engines share the tasks, all agents of a task on one', () => {
    const trace = research(1, { tasks: 4, places: 4, scale: 0.05 })
    const { engines, tasks } = new World(trace, { engines: 2, spec: { ...spec, blocks: 2000 }, scheduler: contestants.ours.scheduler }).run()
    expect(tasks.length).toBe(4)
    for (const engine of engines) expect(engine.steps).toBeGreaterThan(10)
  })
})

test('under pressure λ turns round a few times a minute, though the queue comes and goes', () => {
  for (let seed = 1; seed <= 2; ++seed) {
    const trace = research(seed, { tasks: 6, places: 6, scale: 0.2 })
    const { engines, seconds } = new World(trace, { engines: 1, spec: { ...spec, blocks: 1600, costs: measured({ step: 0.01, row: 0.0001 }) }, scheduler: contestants.ours.scheduler }).run()
    const lambda = engines[0]!.scheduler.history!().map(({ figures }) => figures['lambda']!)
    expect(Math.max(...lambda)).toBeGreaterThan(0.3)
    expect(turnsOf(lambda, 0.2) / (seconds / 60)).toBeLessThan(6)
  }
})

test('research sessions have the published numbers of calls', () => {
  const counts = new Map<string, number>()
  const trace = research(7, { tasks: 200, places: 1 })
  const walk = (script: AgentScript): void => {
    for (const { tool, spawn = [] } of script.turns) {
      if (tool !== undefined) counts.set(tool.name, (counts.get(tool.name) ?? 0) + 1)
      spawn.forEach(walk)
    }
  }
  for (const { root } of trace.tasks) walk(root)
  expect(Math.abs(counts.get('batch_web_search')! / 200 - 19.6)).toBeLessThan(1)
  expect(Math.abs(counts.get('url_crawler')! / 200 - 6.9)).toBeLessThan(0.7)
  expect(Math.abs(counts.get('document_qa')! / 200 - 6.5)).toBeLessThan(0.7)
})

test('intervals are Student’s', () => {
  const { mean, half } = estimate([1, 2, 3, 4, 5])
  expect(mean).toBe(3)
  expect(half).toBeCloseTo(2.776 * Math.sqrt(2.5 / 5), 6)
  expect(ratio([2, 4], [1, 2])).toEqual({ mean: 2, half: 0 })
})
