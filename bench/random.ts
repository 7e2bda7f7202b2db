/** Random numbers from a seed, for workloads that are the same in every run. */
export class Random {
  #state: number

  constructor(seed: number) {
    this.#state = (seed * 2654435761) >>> 0
  }

  /** [0, 1) */
  next(): number {
    // mulberry32
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }

  /** [low, high] */
  integer(low: number, high: number): number {
    return low + Math.floor(this.next() * (high - low + 1))
  }

  exponential(mean = 1): number {
    return -mean * Math.log(1 - this.next())
  }

  /** Standard normal. */
  normal(): number {
    return Math.sqrt(2 * this.exponential()) * Math.cos(2 * Math.PI * this.next())
  }

  /** Mean 1, variance 1/shape: 1 is exponential, less comes in bursts. (Marsaglia and Tsang, 2000.) */
  gamma(shape: number): number {
    if (shape < 1) return this.gamma(shape + 1) * ((shape + 1) / shape) * (1 - this.next()) ** (1 / shape)
    const d = shape - 1 / 3
    for (;;) {
      const x = this.normal()
      const v = (1 + x / Math.sqrt(9 * d)) ** 3
      if (v > 0 && Math.log(1 - this.next()) < x * x / 2 + d * (1 - v + Math.log(v))) return (d * v) / shape
    }
  }

  tokens(count: number, vocabulary: number): number[] {
    return Array.from({ length: count }, () => this.integer(10, vocabulary - 1))
  }
}
