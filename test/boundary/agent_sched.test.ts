// AgentSched on the real CPU engine with a small pool, and the simulator on the trace of that very run.
import { describe, expect, test } from 'vitest'

import { AgentSched, firstCome } from 'agentinfer'
import type { Scheduler } from 'agentinfer'

import { realRun } from '../../bench/sched/real.js'
import type { RealRun } from '../../bench/sched/real.js'
import { smallAgents } from '../../bench/sched/workload.js'
import type { Trace } from '../../bench/sched/workload.js'
import { checkpoint } from '../fixtures/paths.js'

/**
 * By how many points the simulator's hit rate may differ from the engine's. Who returns before whom depends on a few milliseconds here. First
 * come loses whole histories by it, one after another; agent-sched does not.
 */
const margins = { 'first come': 15, 'agent-sched': 10 }
const workload = { agents: 16, places: 8, seed: 3 }
const run = (scheduler: () => Scheduler, kvTokens: number): Promise<RealRun> =>
  realRun({ model: checkpoint('pangu'), vocabSize: 4000, scheduler, kvTokens, ...workload })

describe('hit rates of engine and simulator', () => {
  test('agree to a point where everything fits; the trace has the turns, tokens and tools of the run', async () => {
    const { hitRate, simulatedHitRate, trace } = await run(() => new AgentSched(), 16_384)
    expect(hitRate).toBeGreaterThan(80)
    expect(Math.abs(hitRate - simulatedHitRate)).toBeLessThan(1)
    const given = smallAgents(workload.seed, workload)
    const shape = ({ tasks }: Trace): string[] =>
      tasks.map(({ root }) => root.turns.map(({ append, output }) => `${append}+${output}`).join(', ')).toSorted()
    expect(shape(trace)).toEqual(shape(given))
    const tools = ({ tasks }: Trace): string[] => tasks.flatMap(({ root }) => root.turns.flatMap(({ tool }) => tool?.name ?? []))
    const searches = (of: Trace): number => tools(of).filter((name) => name === 'search').length
    // A tool that is over before the next plan is not seen.
    expect(Math.abs(searches(trace) - searches(given))).toBeLessThanOrEqual(0.2 * searches(given))
  })

  test.each([
    ['first come', firstCome],
    ['agent-sched', () => new AgentSched()],
  ] as const)('agree within the margin where it does not: %s', async (name, scheduler) => {
    const { hitRate, simulatedHitRate } = await run(scheduler, 2048)
    expect(Math.abs(hitRate - simulatedHitRate)).toBeLessThan(margins[name])
  })
})
