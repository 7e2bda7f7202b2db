/** A scheduler may be anybody's: what it says is checked before it is done. */
import { AgentInferError } from '../errors.js'
import type { Plan, Snapshot } from '../policy/types.js'

/** So many results may queue up for an event loop that is held up. */
const maxAhead = 256

/** What the check must know beside the snapshot. */
export interface Known {
  /** The request, if it is in the snapshot. */
  request(id: number): { readonly known: number; readonly computed: number; readonly started: boolean } | undefined
  session(id: number): boolean
}

/** @throws {AgentInferError} `ERR_SCHEDULER` naming the rule that is broken, by whom and with what. */
export function checkPlan(plan: Plan, name: string, limits: Snapshot['limits'], known: Known): void {
  const broken = (rule: string): never => {
    throw new AgentInferError('ERR_SCHEDULER', `scheduler '${name}': ${rule}`)
  }
  if (typeof plan !== 'object' || plan === null || !Array.isArray(plan.rows) || !Array.isArray(plan.preempt) || !Array.isArray(plan.retain))
    broken('expected a plan { rows, preempt, retain, reasons }')
  if (!(plan.reasons instanceof Map)) broken('reasons: expected a Map')
  const { ahead = 0 } = plan
  if (!Number.isInteger(ahead) || ahead < 0 || ahead > maxAhead) broken(`ahead: expected an integer from 0 to ${maxAhead}, got ${ahead}`)
  const taken = new Set<number>()
  let tokens = 0
  for (const row of plan.rows) {
    const request = known.request(row.id)
    if (request === undefined) return broken(`rows: request ${row.id} is not in the snapshot`)
    const missing = request.known - request.computed
    if (!Number.isInteger(row.tokens) || row.tokens < 1 || row.tokens > missing)
      broken(`rows: request ${row.id} has ${missing} tokens to compute, expected 1 to ${missing}, got ${row.tokens}`)
    if (taken.size === taken.add(row.id).size) broken(`rows: request ${row.id} is planned twice`)
    tokens += row.tokens
  }
  if (tokens > limits.maxBatchTokens) broken(`rows: at most ${limits.maxBatchTokens} tokens in a step, got ${tokens}`)
  if (taken.size > limits.maxSequences) broken(`rows: at most ${limits.maxSequences} sequences in a step, got ${taken.size}`)
  for (const id of plan.preempt) {
    const request = known.request(id)
    if (request === undefined) return broken(`preempt: request ${id} is not in the snapshot`)
    if (!request.started) broken(`preempt: request ${id} holds no blocks`)
    if (taken.size === taken.add(id).size) broken(`preempt: request ${id} is also planned, or named twice`)
  }
  for (const session of plan.prefetch ?? []) if (!known.session(session)) broken(`prefetch: session ${session} is not open`)
  for (const { session, retentionClass, expiresAt } of plan.retain) {
    if (!known.session(session)) broken(`retain: session ${session} is not open`)
    if (!Number.isInteger(retentionClass) || retentionClass < 0 || retentionClass > 3)
      broken(`retain: session ${session}: expected a class from 0 to 3, got ${retentionClass}`)
    if (typeof expiresAt !== 'number' || Number.isNaN(expiresAt))
      broken(`retain: session ${session}: expected a time in seconds, got ${expiresAt}`)
  }
}
