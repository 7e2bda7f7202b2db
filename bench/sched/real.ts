/** The same agents on a real engine and, from the trace recorded there and the step times measured there, in the simulator. */
import { Engine } from 'agentinfer'
import type { Scheduler } from 'agentinfer'

import { measured } from './costs.js'
import { drive } from './drive.js'
import type { Driven } from './drive.js'
import { measure } from './measure.js'
import { Recorder } from './record.js'
import { smallAgents, smallHead } from './workload.js'
import type { Trace } from './workload.js'
import { World } from './world.js'

export interface RealOptions {
  readonly model: string
  readonly vocabSize: number
  readonly scheduler: () => Scheduler
  /** Of the pool; each of the agents wants up to about 500 tokens. */
  readonly kvTokens: number
  readonly agents: number
  readonly places: number
  readonly seed: number
  readonly threads?: number
}

export interface RealRun {
  readonly real: Driven
  /** Percent of prompt tokens that were cached. */
  readonly hitRate: number
  readonly simulatedHitRate: number
  readonly trace: Trace
}

const limits = { blockSize: 16, maxBatchTokens: 128, maxSequences: 16 }

export async function realRun({ model, vocabSize, scheduler, kvTokens, agents, places, seed, threads = 1 }: RealOptions): Promise<RealRun> {
  const recorder = new Recorder(scheduler(), { head: () => smallHead })
  const engine = await Engine.open({ model, kvDtype: 'f32', maxContext: 1024, kvTokens, threads, scheduler: recorder, ...limits })
  try {
    const real = await drive(engine, smallAgents(seed, { agents, places }), { tokens: { first: 10, end: vocabSize } })
    const trace = recorder.trace('recorded')
    const spec = { blocks: engine.stats().pool.total, hostBlocks: 0, costs: measured(recorder.costs()), ...limits }
    const { hitRate } = measure(new World(trace, { engines: 1, spec, scheduler }).run())
    return { real, hitRate: (100 * real.cachedTokens) / real.promptTokens, simulatedHitRate: 100 * hitRate, trace }
  } finally {
    await engine.close()
  }
}
