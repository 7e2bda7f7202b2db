/** What a run is judged by. */
import type { CostModel } from './costs.js'
import type { RequestRecord } from './engine.js'
import type { Outcome, TaskRecord } from './world.js'

export interface Measures {
  /** Prompt tokens found cached over prompt tokens. */
  readonly hitRate: number
  /** Seconds from arrival to end, of requests. */
  readonly latency: { readonly mean: number; readonly p50: number; readonly p95: number; readonly p99: number }
  readonly firstToken: { readonly mean: number; readonly p95: number }
  /** Seconds, of research tasks if there are any. */
  readonly taskTime: { readonly mean: number; readonly p95: number }
  readonly tasksPerHour: number
  /** Seconds from arrival to start. */
  readonly longestWait: number
  readonly longestWaitBy: Readonly<Record<string, number>>
  /** Jain's index of the tenants' mean slowness (a request's latency over what it takes alone with everything cached); 1: all alike. */
  readonly fairness: number
  readonly recomputedTokens: number
  readonly prefilledTokens: number
  readonly preemptions: number
  /** Over busy time: sequences in a step, and the part of the pool they hold. */
  readonly meanRunning: number
  readonly meanUsed: number
  /** KV of all open sessions over the pools. */
  readonly demand: number
  readonly steps: number
  readonly planMicroseconds: number
  readonly seconds: number
}

export function measure(outcome: Outcome): Measures {
  const { requests, engines } = outcome
  const main = outcome.tasks.filter((task) => task.kind === 'research')
  const tasks = main.length > 0 ? main : outcome.tasks
  const prompt = sum(requests.map((request) => request.promptTokens))
  const latency = sorted(requests.map((request) => request.endedAt - request.arrivedAt))
  const firstToken = sorted(requests.map((request) => request.firstTokenAt - request.arrivedAt))
  const taskTime = sorted(tasks.map(duration))
  const by: Record<string, number> = {}
  for (const request of requests) by[request.kind] = Math.max(by[request.kind] ?? 0, request.startedAt - request.arrivedAt)
  const busy = sum(engines.map((engine) => engine.busySeconds))
  const plans = sum(engines.map((engine) => engine.plans))
  return {
    hitRate: sum(requests.map((request) => request.cachedTokens)) / prompt,
    latency: { mean: mean(latency), p50: at(latency, 0.5), p95: at(latency, 0.95), p99: at(latency, 0.99) },
    firstToken: { mean: mean(firstToken), p95: at(firstToken, 0.95) },
    taskTime: { mean: mean(taskTime), p95: at(taskTime, 0.95) },
    tasksPerHour: (3600 * tasks.length) / Math.max(...tasks.map((task) => task.endedAt)),
    longestWait: Math.max(...Object.values(by)),
    longestWaitBy: by,
    fairness: jain(requests, engines[0]!.spec.costs),
    recomputedTokens: sum(engines.map((engine) => engine.recomputed)),
    prefilledTokens: sum(engines.map((engine) => engine.prefilled)),
    meanRunning: sum(engines.map((engine) => engine.runningSeconds)) / busy,
    meanUsed: sum(engines.map((engine) => engine.usedBlockSeconds / engine.pool.total)) / busy,
    demand: mean(engines.map((engine) => engine.openBlocks / engine.looks / engine.pool.total)),
    preemptions: sum(engines.map((engine) => engine.preemptions)),
    steps: sum(engines.map((engine) => engine.steps)),
    planMicroseconds: (1e6 * sum(engines.map((engine) => engine.planningSeconds))) / plans,
    seconds: outcome.seconds,
  }
}

function duration(task: TaskRecord): number {
  return task.endedAt - task.startedAt
}

function jain(requests: readonly RequestRecord[], costs: CostModel): number {
  const byTenant = new Map<string, number[]>()
  for (const { tenant, promptTokens, newTokens, outputTokens, arrivedAt, endedAt } of requests) {
    const decode = costs.step([{ query: 1, context: promptTokens + outputTokens / 2 }])
    const alone = costs.step([{ query: newTokens, context: promptTokens, logits: 1 }]) + (outputTokens - 1) * decode
    let slowness = byTenant.get(tenant)
    if (slowness === undefined) byTenant.set(tenant, (slowness = []))
    slowness.push((endedAt - arrivedAt) / alone)
  }
  const means = Array.from(byTenant.values(), mean)
  return sum(means) ** 2 / (means.length * sum(means.map((value) => value * value)))
}

export function mean(values: ArrayLike<number>): number {
  return values.length === 0 ? 0 : sum(values) / values.length
}

function sum(values: ArrayLike<number>): number {
  let total = 0
  for (let i = 0; i < values.length; ++i) total += values[i]!
  return total
}

function sorted(values: readonly number[]): Float64Array {
  return Float64Array.from(values).toSorted()
}

function at(ascending: Float64Array, q: number): number {
  return ascending.length === 0 ? 0 : ascending[Math.min(ascending.length - 1, Math.floor(q * ascending.length))]!
}
