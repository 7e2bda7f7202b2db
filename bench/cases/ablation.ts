/**
 * What each part of the agent acceleration is worth: several agents at once on one model, in a KV pool that is too small for all of them,
 * with everything on, and with each part off in turn. Turns write what a trace says (teacher forcing); the forward passes, the KV, the
 * drafts and the scheduling are real.
 */
import type { AgentOptions, EngineOptions } from 'agentinfer'

import { madeTrace, recordedTrace, roughTokens, runTrace } from '../agent_traces.js'
import type { Measured, Trace } from '../agent_traces.js'
import { amount, modelOptions, option } from '../options.js'
import { median } from '../report.js'
import type { Report } from '../report.js'
import { openTarget } from '../target.js'

export const description = 'agents with everything on, and with speculation, agent-sched, the observation filter or memory of history off in turn'
export const options = {
  ...modelOptions('20m', 'cpu'),
  rounds: option('2', 'measured'),
  agents: option('4', 'agents at once; fewer leave the KV no shorter than one context, and nothing to schedule'),
  turns: option('4', 'turns of each; a memory of history begins to pay with 20 or so'),
  latency: option('150', 'milliseconds a tool takes', 0),
  room: amount('0.6', 'KV for so much of what all agents hold at the end'),
  trace: option('', 'a saved run (RunRecord as JSON) in place of the built-in traces'),
} as const

type Values = Record<keyof typeof options, string>

interface Variant {
  readonly name: string
  readonly engine?: Partial<EngineOptions>
  readonly agent?: Partial<AgentOptions>
}

const history = { rule: 'gate', threshold: 2000, minSaved: 256, memoryMax: 160 } as const

const variants: readonly Variant[] = [
  { name: 'everything on', agent: { compress: { history } } },
  { name: 'without speculation', engine: { speculation: 'off' }, agent: { compress: { history } } },
  { name: 'without agent-sched (first come)', engine: { scheduler: 'fcfs' }, agent: { compress: { history } } },
  { name: 'without the observation filter', agent: { compress: { observations: false, history } } },
  { name: 'without memory of history', agent: { compress: { history: false } } },
  { name: 'everything off', engine: { speculation: 'off', scheduler: 'fcfs' }, agent: { compress: false } },
]

/** `name`: for whoever waits. */
async function one(report: Report, name: string, variant: Variant, traces: readonly Trace[], values: Values): Promise<{ seconds: number; runs: Measured[] }> {
  const sizes = traces.map(roughTokens)
  const maxContext = 2 * Math.max(...sizes) + 1024
  // A pool holds at least one full context.
  const kvTokens = Math.ceil(Math.max(Number(values.room) * sizes.reduce((sum, size) => sum + size, 0), maxContext))
  const engine = await openTarget(report, values, { maxContext, kvTokens, scheduler: 'agent-sched', ...variant.engine })
  const calls = traces.reduce((sum, { values: given }) => sum + given.length, 0)
  let called = 0
  const tool = (): Promise<unknown> => {
    report.progress(`${name}: tool call ${++called} of ${calls}`)
    return new Promise((resolve) => setTimeout(resolve, Number(values.latency)))
  }
  const start = performance.now()
  const runs = await Promise.all(traces.map((trace) => runTrace(trace, { small: engine }, tool, variant.agent ?? {})))
  const seconds = (performance.now() - start) / 1000
  await engine.close()
  return { seconds, runs }
}

export async function run(report: Report, values: Values): Promise<void> {
  const [rounds, agents, turns] = [Number(values.rounds), Number(values.agents), Number(values.turns)]
  const recorded = values.trace === '' ? undefined : recordedTrace(values.trace)
  const found = variants.map(() => ({ rates: [] as number[], runs: [] as Measured[] }))
  report.say(`${variants.length} variants in ${rounds === 1 ? '1 round' : `${rounds} rounds`}, each of ${agents} agents at once with ${recorded === undefined ? turns : recorded.turns.length} turns`)
  await one(report, 'warm-up', variants[0]!, [madeTrace(2, 1)], values)
  // The variants take turns, every other round backwards: what a machine loses or gains steadily is the same for all.
  for (let round = 0; round < rounds; ++round) {
    for (let at = 0; at < variants.length; ++at) {
      const index = round % 2 === 0 ? at : variants.length - 1 - at
      const variant = variants[index]!
      const traces = Array.from({ length: agents }, (_, agent) => recorded ?? madeTrace(turns, 9000 + 100 * round + agent, { page: 400 }))
      const name = `${variant.name}, round ${round + 1} of ${rounds}`
      const { seconds, runs } = await one(report, name, variant, traces, values)
      report.say(`${name}: ${seconds.toFixed(1)} s`)
      found[index]!.rates.push((60 * agents) / seconds)
      found[index]!.runs.push(...runs)
    }
  }
  const all = median(found[0]!.rates)
  for (const [index, { name }] of variants.entries()) {
    const { rates, runs } = found[index]!
    const mean = (of: (measured: Measured) => number): number => Math.round(runs.reduce((sum, measured) => sum + of(measured), 0) / runs.length)
    const counts = [`${mean((m) => m.computed)} prompt tokens computed`, `${mean((m) => m.cached)} found in the cache`, `${mean((m) => m.context)} in the context at the end`]
    const memories = runs.reduce((sum, { swaps }) => sum + swaps, 0)
    const note = `${(median(rates) / all).toFixed(2)}x of everything on; an agent: ${counts.join(', ')}; ${memories === 0 ? 'no' : memories} memories of history in all`
    report.addSamples({ name, unit: 'tasks/min', note }, rates)
  }
  const wander = Math.max(...found.map(({ rates }) => Math.max(...rates) / Math.min(...rates)))
  if (wander > 1.2)
    report.say(`One variant was ${wander.toFixed(1)} times as fast in one round as in another. Smaller differences between variants say nothing: more --rounds, or nothing else on the machine`)
}
