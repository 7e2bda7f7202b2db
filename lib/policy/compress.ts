/**
 * When it pays to replace old observations by a distilled memory, and which. Pure functions of plain numbers.
 *
 * Replacing text in the middle of a context throws away the KV of everything behind it, so a shorter context may cost more than it
 * saves. The gate adds up both sides in seconds. With the swap: fewer tokens to attend to, for every token that later turns read or
 * write, and fewer blocks held. Against it: what is computed anew, the distillation, the steps taken meanwhile, which are computed
 * twice, and the turns that a poorer memory costs. A swap that pays waits until what has gathered has cost as much as the swap will:
 * that is when many small swaps are as dear as few large ones (the lot size of inventory theory). The paper's rule (arXiv 2512.18337,
 * section 4: above 5000 tokens, once a search loop is complete, everything but the most recent) is here for comparison.
 */

/** A stretch of the context, in order: one message. Tokens as the active model counts them. */
export interface ContextPiece {
  /** What it has of the context. */
  readonly tokens: number
  /** An observation that is not among the recent ones and was not replaced before. */
  readonly compressible: boolean
  /** Tokens that a memory has of it whatever is worth remembering: its id and the call it came from. Default 0. */
  readonly stays?: number
}

/** Measured and configured costs. Seconds, tokens, blocks. */
export interface CompressCosts {
  /** Seconds to compute one prompt token at the beginning of a context. */
  readonly prefill: number
  /** Seconds that each token before it adds to that. */
  readonly prefillAttend: number
  /** Seconds that one cached token adds to the decoding of one token. */
  readonly attend: number
  /** Seconds per decoded token of the model that distils, without a context. */
  readonly distil: number
  /** Seconds that each token of its context adds to that. */
  readonly distilAttend: number
  /** Seconds in which the model that distils reads what it has not read yet. */
  readonly distilRead: number
  /** How much longer background work takes, and takes from others, than on an idle engine; 1: idle. */
  readonly load: number
  /** Shadow price of KV memory: seconds of engine time that one block held for one second is worth. */
  readonly block: number
  /** Tokens in a block. */
  readonly blockSize: number
  /** Seconds a turn takes, tools included; 0: none has been done. */
  readonly turnSeconds: number
  /** Tokens that a turn generates. */
  readonly turnTokens: number
  /** Tokens that a turn's prompt has behind what was there before. */
  readonly turnPrompt: number
}

/** What the gate weighs, beside what is measured. */
export interface CompressOptions {
  /** Observations that always stay as they are, the latest ones. Default: 2. */
  readonly keepRecent: number
  /** Replaced tokens below this are not worth a distillation. Default: 512. */
  readonly minSaved: number
  /** Expected length of a memory: this share of what it replaces, within the bounds below. Default: 0.15. */
  readonly memoryShare: number
  /** Tokens of a memory at least, as it is expected. Default: 64. */
  readonly memoryMin: number
  /** Tokens of a memory at most. Default: 512. */
  readonly memoryMax: number
  /**
   * Share of the remaining turns that a poorer memory of the whole context adds. Of models of which nothing is known, the
   * middle of the 3..7 % of the paper's Table 8 is taken. Whoever has measured it for theirs says so: models whose thinking
   * repeats the facts they need lose less (0.01 for those of bench/research-world, by their turns with and without). Default: 0.05.
   */
  readonly extraTurns: number
  /** Saving over cost at which to swap; above 1: in doubt, do nothing. Default: 1.2. */
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
  /** The first piece that may change: those of [from, to) that are compressible go. */
  readonly from: number
  /** The first piece behind; the memory comes before it. */
  readonly to: number
  /** Tokens before the first change: their KV is kept. */
  readonly kept: number
  /** Tokens that go. */
  readonly replaced: number
  /** Tokens of the memory, as expected, the ids and calls of what it replaces among them. */
  readonly memory: number
  /** Tokens the context loses. */
  readonly saved: number
  /** Tokens of the new context that must be computed, those of the steps taken meanwhile not among them. */
  readonly recomputed: number
  /** Turns until the new context is ready. */
  readonly meanwhile: number
  /** Seconds that the replaceable tokens have cost since they could have been replaced. */
  readonly waited: number
  /** Seconds that it saves in the turns still to come, as expected. */
  readonly gain: number
  /** Seconds that it takes, as expected: what is computed, written and computed twice, and what a poorer memory costs. */
  readonly cost: number
}

/** What a rule says of a context. */
export interface GateVerdict {
  /** Whether to do it now. */
  readonly swap: boolean
  /** Why, or why not. */
  readonly reason: 'pays' | 'pays later' | 'costs more than it saves' | 'nothing to replace' | 'too little to replace' | 'rule' | 'below the rule'
  /** The best plan there was, also when it does not pay. */
  readonly plan: SwapPlan | undefined
}

/** Tokens that are written of so many replaced tokens. */
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
  let [kept, replaced, stays, total, tokenTurns] = [0, 0, 0, 0, 0]
  pieces.forEach(({ tokens, compressible, stays: stay = 0 }, index) => {
    total += tokens
    if (index < from) kept += tokens
    else if (index < to && compressible) {
      replaced += tokens
      stays += stay
      tokenTurns += replaced
    }
  })
  const written = memoryTokens(replaced, options)
  const memory = written + stays
  const saved = replaced - memory
  const recomputed = total - kept - saved
  const { turnSeconds, turnTokens, turnPrompt, load } = costs
  const distil = (costs.distilRead + written * (costs.distil + costs.distilAttend * total)) * load
  const recompute = prefillCost(kept, recomputed, costs) * load
  const meanwhile = turnSeconds <= 0 ? 1 : Math.max(1, Math.min(remaining, Math.ceil((distil + recompute) / turnSeconds)))
  const twice = prefillCost(kept + recomputed, meanwhile * (turnPrompt + turnTokens), costs) * load
  // What one token less is worth in one turn.
  const tokenTurn = turnTokens * costs.attend + turnPrompt * costs.prefillAttend + (costs.block / costs.blockSize) * turnSeconds
  const extra = total === 0 ? 0 : options.extraTurns * (replaced / total) * remaining * turnSeconds
  return {
    from,
    to,
    kept,
    replaced,
    memory,
    saved,
    recomputed,
    meanwhile,
    waited: replaced === 0 ? 0 : tokenTurn * tokenTurns * (saved / replaced),
    gain: tokenTurn * saved * Math.max(0, remaining - meanwhile),
    cost: distil + recompute + twice + extra,
  }
}

/** Seconds to compute `tokens` tokens behind `before` others. */
function prefillCost(before: number, tokens: number, { prefill, prefillAttend }: CompressCosts): number {
  return tokens * (prefill + prefillAttend * (before + tokens / 2))
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
  if (best.gain <= options.margin * best.cost) return { swap: false, reason: 'costs more than it saves', plan: best }
  const due = best.waited >= best.cost
  return { swap: due, reason: due ? 'pays' : 'pays later', plan: best }
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
