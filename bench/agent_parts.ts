/** What each part of the agent layer gains: by itself, and among the others. */
import type { AgentCollabOptions, AgentCompressOptions } from 'agentinfer'

import { openFor, perRun, times } from './agent_compression.js'
import type { Setting } from './agent_compression.js'
import { runTrace } from './agent_traces.js'
import type { Measured, Trace } from './agent_traces.js'
import { median } from './report.js'
import type { Report } from './report.js'

interface Variant {
  readonly name: string
  readonly routing: boolean
  readonly filter: boolean
  readonly compression: boolean
  readonly warm: boolean
}

const off = { routing: false, filter: false, compression: false, warm: false }
const on = { routing: true, filter: true, compression: true, warm: true }

/** Warm KV is for changes of model, so it comes with routing only. */
const variants: readonly Variant[] = [
  { name: 'everything off (the large model alone)', ...off },
  { name: 'routing alone', ...off, routing: true },
  { name: 'routing with warm KV', ...off, routing: true, warm: true },
  { name: 'filter alone', ...off, filter: true },
  { name: 'compression alone', ...off, compression: true },
  { name: 'everything on', ...on },
  { name: 'without routing', ...on, routing: false, warm: false },
  { name: 'without warm KV', ...on, warm: false },
  { name: 'without the filter', ...on, filter: false },
  { name: 'without compression', ...on, compression: false },
]

/**
 * The large model plans the first two turns, and writes two of every eight behind them. A model of random weights cannot judge its steps:
 * with a rule of its own verdicts, chance would decide how many turns the large model has.
 */
const sometimes: NonNullable<AgentCollabOptions['route']> = (steps) => (steps.length % 8 < 2 ? 'large' : 'small')

/** On traces whose searches have a third of results to the point. */
export async function eachPart(report: Report, traces: (round: number) => readonly Trace[], setting: Setting): Promise<void> {
  const found = variants.map(() => ({ seconds: [] as number[], runs: [] as Measured[] }))
  for (let round = 0; round < setting.rounds; ++round) {
    const all = traces(round)
    for (let at = 0; at < variants.length; ++at) {
      const index = (at + setting.seed + round) % variants.length
      const variant = variants[index]!
      report.progress(`${variant.name}, round ${round + 1}`)
      const { seconds, runs } = await measure(variant, all, setting)
      found[index]!.seconds.push(seconds)
      found[index]!.runs.push(...runs)
    }
  }
  const [none, whole] = [0, variants.findIndex(({ name }) => name === 'everything on')]
  for (const [index, { name }] of variants.entries()) {
    const { seconds, runs } = found[index]!
    const over = (other: number): string => times(seconds.map((one, round) => found[other]!.seconds[round]! / one))
    const compared = index <= whole ? `${over(none)} of everything off` : `${over(whole)} of everything on`
    const target = index > none && index <= whole ? { target: median(found[none]!.seconds), better: 'lower' as const } : {}
    const large = runs.reduce((sum, { largeTurns }) => sum + largeTurns, 0) / runs.length
    report.addSamples({ name, unit: 's', note: `${compared}; ${perRun(runs)}, ${large.toFixed(0)} turns by large`, ...target }, seconds)
  }
}

async function measure(variant: Variant, traces: readonly Trace[], setting: Setting): Promise<{ seconds: number; runs: Measured[] }> {
  const engines = await openFor(traces, setting)
  const { routing, warm, filter, compression } = variant
  const usualTurns = Math.max(...traces.map(({ turns }) => turns.length))
  const collab: AgentCollabOptions = { route: routing ? sometimes : 'large', warmFrom: warm ? 0 : false }
  const compress: AgentCompressOptions = { ...(!filter && { observations: false }), history: compression ? { usualTurns } : false }
  const limits = { turns: usualTurns + 5 }
  try {
    const started = performance.now()
    const runs = await Promise.all(traces.map((trace) => runTrace(trace, engines, setting.latency, { collab, compress, limits })))
    return { seconds: (performance.now() - started) / 1000, runs }
  } finally {
    await engines.close()
  }
}
