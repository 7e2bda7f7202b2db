/** What the gate of compress.ts reckons with: what generations cost, as measured, and what holding KV costs others. Pure but for the meter. */

/** What the costs of a model depend on: these fields of `ModelInfo`. */
export interface ModelSize {
  /** Decoder layers. */
  readonly layers: number
  /** Elements of a token's state between layers. */
  readonly hiddenSize: number
  /** Query heads of a layer. */
  readonly heads: number
  /** Heads of keys and values of a layer. */
  readonly kvHeads: number
  /** Elements of one head. */
  readonly headDim: number
  /** Elements within the MLP. */
  readonly intermediateSize: number
}

/** What one model costs of another: for its weights, and for each token of a context. 1 where a size is not known. */
export function relativeCosts(one?: ModelSize, other?: ModelSize): { readonly weights: number; readonly attention: number } {
  if (one === undefined || other === undefined) return { weights: 1, attention: 1 }
  const weights = ({ layers, hiddenSize, heads, kvHeads, headDim, intermediateSize }: ModelSize): number =>
    layers * hiddenSize * (2 * (heads + kvHeads) * headDim + 3 * intermediateSize)
  const attention = ({ layers, heads, headDim }: ModelSize): number => layers * heads * headDim
  return { weights: weights(one) / weights(other), attention: attention(one) / attention(other) }
}

/** One generation as it was measured. */
export interface TurnMeasure {
  /** Prompt tokens, and those of them that were computed for it. */
  readonly contextTokens: number
  readonly computedTokens: number
  readonly prefillSeconds: number
  readonly decodedTokens: number
  readonly decodeSeconds: number
  /** Of the prompt: what the same session had before, where it did. */
  readonly knownTokens?: number | undefined
  /** On KV memory, 0..1, see `memoryPressure`. */
  readonly pressure?: number | undefined
}

/** The share of KV that is assumed to be lost where memory is short, as if so many turns had shown it. */
const assumed = { loss: 0.1, turns: 2 }

/** What was measured fades by these factors with each further measure: slopes need contexts of many lengths. */
const fade = 0.9
const slopeFade = 0.97

/**
 * What generations cost by the length of their context, from those seen; old ones fade. The slopes are those of weighted regressions,
 * shrunk where they are uncertain: what others do on the engine makes times vary too, and a slope that may be none is no reason to throw
 * KV away. 0 until contexts differ.
 */
export class CostMeter {
  readonly #prefill = new Line()
  readonly #decode = new Line()
  #appended = { tokens: 0, weight: 0 }
  #lost = { shares: 0, weight: 0 }

  add({ contextTokens, computedTokens, prefillSeconds, decodedTokens, decodeSeconds, knownTokens, pressure = 0 }: TurnMeasure): void {
    // The middle of what was computed stands for all of it: attention grows evenly.
    if (computedTokens > 0) this.#prefill.add(contextTokens - computedTokens / 2, prefillSeconds / computedTokens, computedTokens)
    if (decodedTokens >= 2) this.#decode.add(contextTokens, decodeSeconds / decodedTokens, decodedTokens)
    if (knownTokens === undefined) return
    const cached = contextTokens - computedTokens
    this.#appended = {
      tokens: this.#appended.tokens * fade + Math.max(0, contextTokens - knownTokens),
      weight: this.#appended.weight * fade + 1,
    }
    // What was not lost while there was room for all says nothing.
    this.#lost = {
      shares: this.#lost.shares * fade + (pressure * Math.max(0, knownTokens - cached)) / Math.max(1, knownTokens),
      weight: this.#lost.weight * fade + pressure,
    }
  }

  /** Seconds per prompt token at the beginning of a context, and per token before it. */
  get prefill(): number {
    return this.#prefill.start
  }

  get prefillAttend(): number {
    return this.#prefill.slope
  }

  /** Seconds per decoded token without a context, and per token of the context. */
  get decode(): number {
    return this.#decode.start
  }

  get attend(): number {
    return this.#decode.slope
  }

  /** Tokens that a turn's prompt has behind what the session had before. */
  get appended(): number {
    return this.#appended.weight === 0 ? 0 : this.#appended.tokens / this.#appended.weight
  }

  /** Of what a session had before: the share whose KV is gone when it is wanted, where memory is short, 0..1. */
  get loss(): number {
    const { shares, weight } = this.#lost
    return (shares + assumed.loss * assumed.turns) / (weight + assumed.turns)
  }

  /** Whether anything was decoded. */
  get measured(): boolean {
    return this.#decode.known
  }
}

/** A weighted regression whose measures fade. */
class Line {
  #n = 0
  #x = 0
  #y = 0
  #xx = 0
  #xy = 0
  #yy = 0
  #ww = 0

  add(x: number, y: number, weight: number): void {
    this.#n = this.#n * slopeFade + weight
    this.#x = this.#x * slopeFade + weight * x
    this.#y = this.#y * slopeFade + weight * y
    this.#xx = this.#xx * slopeFade + weight * x * x
    this.#xy = this.#xy * slopeFade + weight * x * y
    this.#yy = this.#yy * slopeFade + weight * y * y
    this.#ww = this.#ww * slopeFade * slopeFade + weight * weight
  }

  get known(): boolean {
    return this.#n > 0
  }

  /** At x = 0, by the slope below through the means; never negative. */
  get start(): number {
    return this.#n === 0 ? 0 : Math.max(0, (this.#y - this.slope * this.#x) / this.#n)
  }

  /** Shrunk by how uncertain it is: to nothing below 1.4 standard errors, to one half at two; never negative. */
  get slope(): number {
    const spread = this.#xx - (this.#x * this.#x) / this.#n
    if (this.#n === 0 || spread <= 1e-9 * this.#xx) return 0
    const together = this.#xy - (this.#x * this.#y) / this.#n
    const slope = together / spread
    const measures = (this.#n * this.#n) / this.#ww
    if (measures < 3) return 0
    // What rounding leaves is no scatter.
    const scatter = Math.max(0, this.#yy - (this.#y * this.#y) / this.#n - slope * together - 1e-12 * this.#yy)
    return slope <= 0 ? 0 : Math.max(0, slope - (2 * scatter) / spread / (measures - 2) / slope)
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
