// AgentSched on the real CPU engine with a small pool, and the simulator on the trace of that very run.
import { describe, expect, test } from 'vitest'

import { AgentSched, Engine, firstCome } from 'agentinfer'
import type { Scheduler } from 'agentinfer'

import { measured } from '../../bench/sched/costs.js'
import { drive } from '../../bench/sched/drive.js'
import type { Driven } from '../../bench/sched/drive.js'
import { measure } from '../../bench/sched/measure.js'
import { Recorder } from '../../bench/sched/record.js'
import { smallAgents, smallHead } from '../../bench/sched/workload.js'
import type { Trace } from '../../bench/sched/workload.js'
import { World } from '../../bench/sched/world.js'
import { checkpoint } from '../fixtures/paths.js'

/**
 * By how many points the simulator's hit rate may differ from the engine's. Who returns before whom depends on a few milliseconds here, and
 * one miss more of these few agents is another half point.
 */
const margin = 15
const limits = { blockSize: 16, maxBatchTokens: 128, maxSequences: 16 }

interface Both {
  readonly real: Driven
  readonly trace: Trace
  readonly replayed: number
  readonly blocks: number
}

async function both(make: () => Scheduler, kvTokens: number): Promise<Both> {
  const recorder = new Recorder(make(), { head: () => smallHead })
  const engine = await Engine.open({ model: checkpoint('pangu'), kvDtype: 'f32', maxContext: 1024, kvTokens, threads: 1, scheduler: recorder, ...limits })
  try {
    const real = await drive(engine, smallAgents(3, { agents: 16, places: 8 }), { tokens: { first: 10, end: 4000 } })
    const blocks = engine.stats().pool.total
    const trace = recorder.trace('recorded')
    const spec = { blocks, hostBlocks: 0, costs: measured(recorder.costs()), ...limits }
    return { real, trace, blocks, replayed: measure(new World(trace, { engines: 1, spec, scheduler: make }).run()).hitRate }
  } finally {
    await engine.close()
  }
}

const points = ({ promptTokens, cachedTokens }: Driven): number => (100 * cachedTokens) / promptTokens

describe('hit rates of engine and simulator', () => {
  test('agree to a point where everything fits', async () => {
    const { real, replayed } = await both(() => new AgentSched(), 16_384)
    expect(points(real)).toBeGreaterThan(80)
    expect(Math.abs(points(real) - 100 * replayed)).toBeLessThan(1)
  })

  test.each([
    ['first come', firstCome],
    ['agent-sched', () => new AgentSched()],
  ])('agree within the margin where it does not: %s', async (_, make) => {
    const { real, replayed } = await both(make, 2048)
    expect(Math.abs(points(real) - 100 * replayed)).toBeLessThan(margin)
  })

  test('a recorded trace has the turns and tokens of the run, and the tools', async () => {
    const { trace, real } = await both(firstCome, 16_384)
    const given = smallAgents(3, { agents: 16, places: 8 })
    const shape = ({ tasks }: Trace): string[] =>
      tasks.map(({ root }) => root.turns.map(({ append, output }) => `${append}+${output}`).join(', ')).toSorted()
    expect(shape(trace)).toEqual(shape(given))
    const tools = ({ tasks }: Trace): string[] => tasks.flatMap(({ root }) => root.turns.flatMap(({ tool }) => tool?.name ?? []))
    const searches = (of: Trace): number => tools(of).filter((name) => name === 'search').length
    // A tool that is over before the next plan is not seen.
    expect(Math.abs(searches(trace) - searches(given))).toBeLessThanOrEqual(0.2 * searches(given))
    expect(real.promptTokens).toBeGreaterThan(10_000)
  })
})
