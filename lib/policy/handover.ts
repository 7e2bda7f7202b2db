/**
 * Whether a model that takes over should read old observations at all. What it has not read yet is not in its KV: to leave it out throws
 * nothing away, costs no distillation, and saves what a cold model pays most for, the computation of all that text before its first
 * token. What it costs is that the model knows less: it sees every thought and act and the latest observations, and can recall the rest. That
 * is priced as a poorer memory is, by `extraTurns`: 5 % of the remaining turns unless told otherwise, here whatever the share of what is left
 * out, as nothing is written of it. So with little to leave out, or many turns to come, the model reads all.
 */
import { defaultCompress } from './compress.js'
import type { CompressCosts, CompressOptions, ContextPiece } from './compress.js'

/** What the gate weighed. Seconds; tokens as another model counts them. */
export interface HandoverVerdict {
  readonly omit: boolean
  /** Tokens that would not be read. */
  readonly saved: number
  readonly gain: number
  readonly cost: number
}

/**
 * `unread`: the pieces that the model has not read. Leaves out all that are compressible, or none. `remaining`: turns still to come;
 * `costs`: of the model that takes over, where nothing runs in the background.
 */
export function handoverGate(
  unread: readonly ContextPiece[],
  remaining: number,
  costs: CompressCosts,
  options: CompressOptions = defaultCompress,
): HandoverVerdict {
  const omitted = unread.reduce((sum, { tokens, compressible }) => sum + (compressible ? tokens : 0), 0)
  const saved = omitted - options.memoryMin
  const perTurn = costs.turnTokens * costs.attend + (costs.block / costs.blockSize) * costs.turnSeconds
  const gain = saved * (costs.prefill + remaining * perTurn)
  const cost = options.extraTurns * remaining * costs.turnSeconds
  return { omit: saved > 0 && gain > options.margin * cost, saved, gain, cost }
}
