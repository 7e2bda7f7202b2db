/** Schedulers by name, for `Engine.open({ scheduler })`. Each call makes a new one: a scheduler may keep state. */
import { firstCome, longestPrefix, responseRatio, shortestPrompt, shortestUncached } from './baselines.js'
import { AgentSched } from './schedule.js'
import type { Scheduler } from './types.js'

export const schedulers = {
  'agent-sched': () => new AgentSched(),
  fcfs: () => firstCome(),
  sjf: () => shortestPrompt(),
  lpm: () => longestPrefix(),
  'shortest-uncached': () => shortestUncached(),
  hrrn: () => responseRatio(),
} as const satisfies Record<string, () => Scheduler>

/** A scheduler by name; `agent-sched` is the default. */
export type SchedulerName = keyof typeof schedulers
/** The schedulers that there are by name. */
export const schedulerNames = Object.keys(schedulers) as [SchedulerName, ...SchedulerName[]]
export const defaultScheduler: SchedulerName = 'agent-sched'

/** @throws what a scheduler's own constructor throws. */
export function makeScheduler(scheduler: SchedulerName | Scheduler): Scheduler {
  return typeof scheduler === 'string' ? schedulers[scheduler]() : scheduler
}
