/**
 * When it pays to replace old observations by a distilled memory, and which. Pure functions of plain numbers.
 *
 * Replacing text in the middle of a context throws away the KV of everything behind it, so a shorter context may cost more than it
 * saves. The gate adds up both sides in seconds: what every later token and every held block would cost without the swap, against what
 * is recomputed, the distillation itself, and the turns that a poorer memory costs. The paper's rule (arXiv 2512.18337, section 4:
 * above 5000 tokens, once a search loop is complete, everything but the most recent) is here for comparison.
 */

/** A stretch of the context, in order: one message. Tokens as the active model counts them. */
export interface ContextPiece {
  readonly tokens: number
  /** An observation that is not among the recent ones and was not replaced before. */
  readonly compressible: boolean
}

/** Measured and configured costs. Seconds, tokens, blocks. */
export interface CompressCosts {
  /** Seconds to compute one prompt token. */
  readonly prefill: number
  /** Seconds that one cached token adds to the decoding of one token. */
  readonly attend: number
  /** Seconds per decoded token of the model that distils. */
  readonly distil: number
  /** How much longer background work takes, and takes from others, than on an idle engine; 1: idle. */
  readonly load: number
  /** Shadow price of KV memory: seconds of engine time that one block held for one second is worth. */
  readonly block: number
  readonly blockSize: number
  /** Seconds a turn takes, tools included; tokens a turn generates. */
  readonly turnSeconds: number
  readonly turnTokens: number
}

/** What the gate weighs, beside what is measured. */
export interface CompressOptions {
  /** Observations that always stay as they are, the latest ones. */
  readonly keepRecent: number
  /** Replaced tokens below this are not worth a distillation. */
  readonly minSaved: number
  /** Expected length of a memory: this share of what it replaces, within bounds (tokens). */
  readonly memoryShare: number
  readonly memoryMin: number
  readonly memoryMax: number
  /** Share of the remaining turns that a poorer memory adds (3..7 % in the paper's Table 8). */
  readonly extraTurns: number
  /** Saving over cost at which to swap; above 1: in doubt, do nothing. */
  readonly margin: number
}

export const defaultCompress: CompressOptions = {
  keepRecent: 2,
  minSaved: 512,
  memoryShare: 0.15,
  memoryMin: 64,
  memoryMax: 512,
  extraTurns: 0.05,
  margin: 1.2,
}

/** A swap: what it takes out, and both sides of its price. */
export interface SwapPlan {
  /** Pieces [from, to) lose their compressible ones; the memory comes at `to`. */
  readonly from: number
  readonly to: number
  /** Tokens before the first change: their KV is kept. */
  readonly kept: number
  readonly replaced: number
  readonly memory: number
  /** Tokens the context loses. */
  readonly saved: number
  /** Tokens of the new context that must be computed. */
  readonly recomputed: number
  /** Seconds. */
  readonly gain: number
  readonly cost: number
}

/** What a rule says of a context. */
export interface GateVerdict {
  readonly swap: boolean
  readonly reason: 'pays' | 'costs more than it saves' | 'nothing to replace' | 'too little to replace' | 'rule' | 'below the rule'
  /** The best plan there was, also when it does not pay. */
  readonly plan: SwapPlan | undefined
}

/** Tokens a memory of so many replaced tokens will have. */
export function memoryTokens(replaced: number, options: CompressOptions = defaultCompress): number {
  return Math.round(Math.min(options.memoryMax, Math.max(options.memoryMin, replaced * options.memoryShare)))
}

/** Both sides of a swap of [from, to). `remaining`: turns still to come. */
export function priceSwap(
  pieces: readonly ContextPiece[],
  from: number,
  to: number,
  remaining: number,
  costs: CompressCosts,
  options: CompressOptions = defaultCompress,
): SwapPlan {
  let [kept, replaced, total] = [0, 0, 0]
  pieces.forEach((piece, index) => {
    total += piece.tokens
    if (index < from) kept += piece.tokens
    else if (index < to && piece.compressible) replaced += piece.tokens
  })
  const memory = memoryTokens(replaced, options)
  const saved = replaced - memory
  const recomputed = total - kept - saved
  const decoding = remaining * costs.turnTokens * saved * costs.attend
  const holding = costs.block * (saved / costs.blockSize) * remaining * costs.turnSeconds
  const recompute = recomputed * costs.prefill * costs.load
  const distil = memory * costs.distil * costs.load
  return {
    from,
    to,
    kept,
    replaced,
    memory,
    saved,
    recomputed,
    gain: decoding + holding,
    cost: recompute + distil + options.extraTurns * remaining * costs.turnSeconds,
  }
}

/** The best place to begin, and whether the swap pays there. Ends at the last compressible piece: what is behind it stays. */
export function costGate(
  pieces: readonly ContextPiece[],
  remaining: number,
  costs: CompressCosts,
  options: CompressOptions = defaultCompress,
): GateVerdict {
  const to = pieces.findLastIndex((piece) => piece.compressible) + 1
  if (to === 0) return { swap: false, reason: 'nothing to replace', plan: undefined }
  let best: SwapPlan | undefined
  for (let from = to - 1; from >= 0; --from) {
    if (!pieces[from]!.compressible) continue
    const plan = priceSwap(pieces, from, to, remaining, costs, options)
    if (plan.saved < options.minSaved) continue
    if (best === undefined || plan.gain - options.margin * plan.cost > best.gain - options.margin * best.cost) best = plan
  }
  if (best === undefined) return { swap: false, reason: 'too little to replace', plan: undefined }
  const pays = best.gain > options.margin * best.cost
  return { swap: pays, reason: pays ? 'pays' : 'costs more than it saves', plan: best }
}

/** The swap of everything that can be replaced; undefined: nothing can. */
export function priceAll(
  pieces: readonly ContextPiece[],
  remaining: number,
  costs: CompressCosts,
  options: CompressOptions = defaultCompress,
): SwapPlan | undefined {
  const from = pieces.findIndex((piece) => piece.compressible)
  const to = pieces.findLastIndex((piece) => piece.compressible) + 1
  return from < 0 ? undefined : priceSwap(pieces, from, to, remaining, costs, options)
}

/** The paper's trigger: more than `threshold` tokens and a completed search loop; replaces every compressible piece. */
export function paperGate(
  pieces: readonly ContextPiece[],
  loopCompleted: boolean,
  remaining: number,
  costs: CompressCosts,
  options: CompressOptions = defaultCompress,
  threshold = 5000,
): GateVerdict {
  const plan = priceAll(pieces, remaining, costs, options)
  if (plan === undefined) return { swap: false, reason: 'nothing to replace', plan }
  const total = pieces.reduce((sum, piece) => sum + piece.tokens, 0)
  const swap = total > threshold && loopCompleted && plan.saved > 0
  return { swap, reason: swap ? 'rule' : 'below the rule', plan }
}

/** Turns still to come, without knowing: what is usual less what is done, but never less than half of what is done, within the limit. */
export function expectedTurns(done: number, usual: number, limit: number): number {
  return Math.max(0, Math.min(limit - done, Math.max(usual - done, done / 2, 1)))
}

/** One generation as it was measured. */
export interface TurnMeasure {
  readonly computedTokens: number
  readonly prefillSeconds: number
  readonly contextTokens: number
  readonly decodedTokens: number
  readonly decodeSeconds: number
}

/**
 * Seconds per prefilled token, per decoded token, and per cached token and decoded token, from the generations seen. Old ones fade
 * (factor 0.9 each). The slope is that of a weighted regression of decode time on context length, less two standard errors: what others
 * do on the engine makes decode times vary too, and a slope that may be none is no reason to throw KV away. 0 until contexts differ.
 */
export class CostMeter {
  #prefill = { seconds: 0, tokens: 0 }
  #n = 0
  #x = 0
  #y = 0
  #xx = 0
  #xy = 0
  #yy = 0
  #ww = 0
  #turns = { seconds: 0, tokens: 0, count: 0 }

  add(measure: TurnMeasure): void {
    const fade = 0.9
    if (measure.computedTokens > 0) {
      this.#prefill.seconds = this.#prefill.seconds * fade + measure.prefillSeconds
      this.#prefill.tokens = this.#prefill.tokens * fade + measure.computedTokens
    }
    if (measure.decodedTokens < 2) return
    const weight = measure.decodedTokens
    const [x, y] = [measure.contextTokens, measure.decodeSeconds / measure.decodedTokens]
    this.#n = this.#n * fade + weight
    this.#x = this.#x * fade + weight * x
    this.#y = this.#y * fade + weight * y
    this.#xx = this.#xx * fade + weight * x * x
    this.#xy = this.#xy * fade + weight * x * y
    this.#yy = this.#yy * fade + weight * y * y
    this.#ww = this.#ww * fade * fade + weight * weight
  }

  /** A whole turn: generation and tools. */
  addTurn(seconds: number, tokens: number): void {
    this.#turns.seconds += seconds
    this.#turns.tokens += tokens
    ++this.#turns.count
  }

  get prefill(): number {
    return this.#prefill.tokens === 0 ? 0 : this.#prefill.seconds / this.#prefill.tokens
  }

  get decode(): number {
    return this.#n === 0 ? 0 : this.#y / this.#n
  }

  get attend(): number {
    const spread = this.#xx - (this.#x * this.#x) / this.#n
    if (this.#n === 0 || spread <= 1e-9 * this.#xx) return 0
    const together = this.#xy - (this.#x * this.#y) / this.#n
    const slope = together / spread
    const measures = (this.#n * this.#n) / this.#ww
    if (measures < 3) return 0
    // What rounding leaves is no scatter.
    const scatter = Math.max(0, this.#yy - (this.#y * this.#y) / this.#n - slope * together - 1e-12 * this.#yy)
    return Math.max(0, slope - 2 * Math.sqrt(scatter / spread / (measures - 2)))
  }

  get turnSeconds(): number {
    return this.#turns.count === 0 ? 0 : this.#turns.seconds / this.#turns.count
  }

  get turnTokens(): number {
    return this.#turns.count === 0 ? 0 : this.#turns.tokens / this.#turns.count
  }
}

/**
 * λ, 0..1: what the engine's scheduler says, or from how much of the KV pool the open sessions would fill together, whichever is more:
 * next to nothing below half of it, one half at 80 %.
 */
export function memoryPressure(pool: {
  readonly blocks: number
  readonly blockSize: number
  readonly sessionTokens: number
  readonly lambda?: number | undefined
}): number {
  const { blocks, blockSize, sessionTokens, lambda = 0 } = pool
  const filled = blocks <= 0 ? 0 : sessionTokens / (blocks * blockSize)
  return Math.min(1, Math.max(lambda, 1 / (1 + Math.exp(-15 * (filled - 0.8)))))
}
