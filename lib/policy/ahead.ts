/** When a plan holds for steps to come, so that the engine need not ask for each. */
import type { Plan, RequestView } from './types.js'

/**
 * Steps that a plan is repeated at most. Asking once in nine steps leaves a ninth of what asking costs; and what changes with time alone
 * (prices, waits near their bound, retention) is still looked at several times a second, as a step takes some tens of milliseconds.
 */
const most = 8

/**
 * For `Plan.ahead`: `most` where all that run decode and nobody else starts, gives way or is brought back. Then the plan of the next
 * step is the same, until somebody ends or comes. `running`: the requests that hold KV.
 */
export function stepsAhead(running: readonly RequestView[], { rows, preempt, prefetch = [] }: Pick<Plan, 'rows' | 'preempt' | 'prefetch'>): number {
  if (rows.length !== running.length || preempt.length + prefetch.length > 0) return 0
  for (const { known, computed } of running) if (known - computed !== 1) return 0
  return most
}
