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

  /** Mean 1. */
  exponential(): number {
    return -Math.log(1 - this.next())
  }

  tokens(count: number, vocabulary: number): number[] {
    return Array.from({ length: count }, () => this.integer(10, vocabulary - 1))
  }
}
