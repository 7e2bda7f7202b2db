import { terms } from './terms.js'

/** Okapi BM25 over a few texts: how well each answers a query. k1 = 1.2, b = 0.75; idf as log(1 + (N - n + 0.5) / (n + 0.5)), never negative. */
export class Bm25 {
  readonly #counts: readonly ReadonlyMap<string, number>[]
  readonly #lengths: readonly number[]
  readonly #containing = new Map<string, number>()
  readonly #meanLength: number

  constructor(texts: readonly string[]) {
    const words = texts.map((text) => terms(text))
    this.#lengths = words.map((list) => list.length)
    this.#meanLength = Math.max(1, this.#lengths.reduce((sum, length) => sum + length, 0) / Math.max(1, texts.length))
    this.#counts = words.map((list) => {
      const counts = new Map<string, number>()
      for (const word of list) counts.set(word, (counts.get(word) ?? 0) + 1)
      for (const word of counts.keys()) this.#containing.set(word, (this.#containing.get(word) ?? 0) + 1)
      return counts
    })
  }

  /** A score per text, 0 where no term occurs. `weights`: the query's terms with their importance. */
  scores(weights: ReadonlyMap<string, number>): number[] {
    const total = this.#counts.length
    return this.#counts.map((counts, index) => {
      let score = 0
      for (const [term, weight] of weights) {
        const count = counts.get(term)
        if (count === undefined) continue
        const containing = this.#containing.get(term)!
        const idf = Math.log(1 + (total - containing + 0.5) / (containing + 0.5))
        score += (weight * idf * count * 2.2) / (count + 1.2 * (0.25 + (0.75 * this.#lengths[index]!) / this.#meanLength))
      }
      return score
    })
  }
}
