/** Compression of what agents have read, by no rule, the paper's and ours, on traces. */
import type { AgentCompressOptions, Engine } from 'agentinfer'

import { roughTokens, runTrace } from './agent_traces.js'
import type { Engines, Measured, Trace } from './agent_traces.js'
import { median } from './report.js'
import type { Report } from './report.js'

export interface Setting {
  /** A fresh engine: nothing is cached when a measurement begins. */
  readonly open: (which: 'small' | 'model', kvTokens: number) => Promise<Engine>
  readonly rounds: number
  /** Of tools, milliseconds. */
  readonly latency: number
  /** Which rule or part is measured first. */
  readonly seed: number
}

export type Room = 'plenty' | 'scarce'

/** Engines with room for all that the agents will hold, and more for what replaces it; or for one and a fifth of the longest. */
export async function openFor(traces: readonly Trace[], { open }: Setting, room: Room = 'plenty'): Promise<Engines & { close(): Promise<void> }> {
  const sizes = traces.map(roughTokens)
  const plenty = 2 * sizes.reduce((sum, size) => sum + size, 0)
  const scarce = Math.max(0.5 * (plenty / 2), 1.2 * Math.max(...sizes))
  const large = await open('model', Math.ceil(room === 'plenty' ? plenty : scarce) + 2048)
  const small = await open('small', Math.ceil(plenty) + 2048)
  return {
    large,
    small,
    close: async () => {
      await large.close()
      await small.close()
    },
  }
}

/** The rules take the options' defaults, but that runs are known to have as many turns as they have. */
const rules = { off: false, paper: 'paper', ours: 'gate' } as const

type Kind = keyof typeof rules

interface Found {
  readonly seconds: number[]
  readonly runs: Measured[]
}

/** Several agents at once. The large model writes, the small one distils, as in the paper. */
export async function compression(
  report: Report,
  name: string,
  traces: (round: number) => readonly Trace[],
  { rooms, ...setting }: Setting & { readonly rooms: readonly Room[] },
): Promise<void> {
  const kinds = Object.keys(rules) as Kind[]
  for (const room of rooms) {
    const found = new Map<Kind, Found>(kinds.map((kind) => [kind, { seconds: [], runs: [] }]))
    // Each round begins with another rule.
    for (let round = 0; round < setting.rounds; ++round) {
      const all = traces(round)
      for (let at = 0; at < kinds.length; ++at) {
        const kind = kinds[(setting.seed + round + at) % kinds.length]!
        report.progress(`compression ${kind}, ${name}, KV ${room}, round ${round + 1}`)
        const { seconds, runs } = await measure(all, kind, setting, room)
        found.get(kind)!.seconds.push(seconds)
        found.get(kind)!.runs.push(...runs)
      }
    }
    addCompression(report, `${name}, KV ${room}`, found)
  }
}

async function measure(traces: readonly Trace[], kind: Kind, setting: Setting, room: Room): Promise<{ seconds: number; runs: Measured[] }> {
  const engines = await openFor(traces, setting, room)
  const rule = rules[kind]
  const usualTurns = Math.max(...traces.map(({ turns }) => turns.length))
  const compress: AgentCompressOptions = { observations: false, history: rule === false ? false : { rule, usualTurns } }
  const limits = { turns: usualTurns + 5 }
  try {
    const started = performance.now()
    const runs = await Promise.all(traces.map((trace) => runTrace(trace, engines, setting.latency, { compress, collab: { route: 'large' }, limits })))
    return { seconds: (performance.now() - started) / 1000, runs }
  } finally {
    await engines.close()
  }
}

function addCompression(report: Report, setting: string, found: ReadonlyMap<Kind, Found>): void {
  const off = found.get('off')!
  for (const [kind, { seconds, runs }] of found) {
    // Of the same round: the machine was as it was then.
    const ratios = seconds.map((one, round) => off.seconds[round]! / one)
    const target = kind === 'ours' ? { target: median(off.seconds), better: 'lower' as const } : {}
    report.addSamples({ name: `compression ${kind}, ${setting}`, unit: 's', note: `${times(ratios)} of off; ${perRun(runs)}`, ...target }, seconds)
  }
}

/** A ratio with its spread. */
export function times(ratios: readonly number[]): string {
  return `${median(ratios).toFixed(2)}x (${Math.min(...ratios).toFixed(2)} to ${Math.max(...ratios).toFixed(2)})`
}

export function perRun(runs: readonly Measured[]): string {
  const mean = (of: (one: Measured) => number): number => runs.reduce((sum, one) => sum + of(one), 0) / runs.length
  const whole = (of: (one: Measured) => number): string => Math.round(mean(of)).toLocaleString('en')
  return (
    `per run: ${whole(({ turns }) => turns)} turns, ${whole(({ context }) => context)} tokens at the end, ` +
    `${whole(({ computed }) => computed)} computed, ${whole(({ generated }) => generated)} generated, ${mean(({ swaps }) => swaps).toFixed(1)} swaps`
  )
}
