/** The contestants, by name. */
import { AgentSched } from 'agentinfer'
import type { Scheduler } from 'agentinfer'

import { fcfs, hrrn, lpm, printed, RuleScheduler, shortestUncached, shortRequestFirst, sjf } from './rules.js'
import type { Rule } from './rules.js'

export interface Contestant {
  readonly label: string
  readonly scheduler: () => Scheduler
  /** Evicted KV goes to the host tier. */
  readonly host?: boolean
  /** Eviction knows when each session comes back. */
  readonly oracle?: boolean
  /** The pool never fills: a bound on every policy's hit rate. */
  readonly unlimited?: boolean
  /** Not something one could run: no baseline. */
  readonly bound?: boolean
}

const rule = (given: Rule, label: string): Contestant => ({ label, scheduler: () => new RuleScheduler(given) })
const hosted = (given: Rule, label: string): Contestant => ({ label, scheduler: () => new RuleScheduler(given, true), host: true })

export const contestants = {
  fcfs: rule(fcfs, 'first come'),
  sjf: rule(sjf, 'shortest job'),
  lpm: rule(lpm, 'longest prefix'),
  'shortest-uncached': rule(shortestUncached, 'shortest uncached'),
  hrrn: rule(hrrn, 'response ratio'),
  srf: rule(shortRequestFirst, 'short requests first'),
  paper: rule(printed, 'AgentSched as printed'),
  ours: { label: 'agent-sched', scheduler: () => new AgentSched() },
  'fcfs+host': hosted(fcfs, 'first come, host tier'),
  'lpm+host': hosted(lpm, 'longest prefix, host tier'),
  'ours+host': { label: 'agent-sched, host tier', scheduler: () => new AgentSched(), host: true },
  belady: { label: 'first come, Belady', scheduler: () => new RuleScheduler(fcfs), oracle: true, bound: true },
  'lpm-belady': { label: 'longest prefix, Belady', scheduler: () => new RuleScheduler(lpm), oracle: true, bound: true },
  'ours-unlimited': { label: 'agent-sched, no eviction', scheduler: () => new AgentSched(), unlimited: true, bound: true },
  unlimited: { label: 'no eviction', scheduler: () => new RuleScheduler(fcfs), unlimited: true, bound: true },
} as const satisfies Record<string, Contestant>

export type ContestantName = keyof typeof contestants

/** Rules without a host tier, which is what ours is compared with. */
export const baselines: readonly ContestantName[] = ['fcfs', 'sjf', 'lpm', 'shortest-uncached', 'hrrn', 'srf', 'paper']
