/**
 * First come, first served, with continuous batching: running decodes always go first, one token each; what is left of the step's token
 * budget goes to prefill chunks, in order of priority and arrival. So a long prompt never stalls the others' decoding.
 * Pure: a snapshot in, a plan out.
 */

/** A request as the policy sees it. Tokens: 0 <= computed < known. */
export interface PlanRequest {
  readonly id: number
  /** Tokens whose KV is computed. */
  readonly computed: number
  /** Prompt and output tokens so far. */
  readonly known: number
  /** Holds KV blocks (it has run before and was not preempted since). */
  readonly started: boolean
  /** Higher goes first. */
  readonly priority: number
}

export interface PlanLimits {
  /** Rows of a step. */
  readonly maxBatchTokens: number
  readonly maxSequences: number
}

export interface PlannedRow {
  readonly id: number
  readonly tokens: number
}

/** `requests` in order of arrival. Each id is planned at most once; the rows' tokens sum to at most maxBatchTokens. */
export function planFirstCome(requests: readonly PlanRequest[], limits: PlanLimits): PlannedRow[] {
  const rows: PlannedRow[] = []
  let budget = limits.maxBatchTokens
  const plan = (request: PlanRequest): void => {
    if (budget === 0 || rows.length === limits.maxSequences) return
    const tokens = Math.min(budget, request.known - request.computed)
    rows.push({ id: request.id, tokens })
    budget -= tokens
  }
  const decoding = (request: PlanRequest): boolean => request.started && request.known - request.computed === 1
  const rest = requests.filter((request) => !decoding(request))
  // Array.sort is stable: equals stay in order of arrival.
  rest.sort((a, b) => Number(b.started) - Number(a.started) || b.priority - a.priority)
  for (const request of requests) if (decoding(request)) plan(request)
  for (const request of rest) plan(request)
  return rows
}

/**
 * Who gives its blocks back when a running request found no room: the one that came last and matters least, but not the only one that
 * runs. Undefined: nobody can.
 */
export function preemptionVictim(running: readonly PlanRequest[]): PlanRequest | undefined {
  if (running.length < 2) return undefined
  return running.reduce((victim, request) => (request.priority <= victim.priority ? request : victim))
}
