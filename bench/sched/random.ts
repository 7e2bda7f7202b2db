/** Seeded randomness: the same seed gives the same workload on every machine. */

export class Random {
  #state: number

  constructor(seed: number) {
    this.#state = (seed * 2654435761) >>> 0
    for (let i = 0; i < 4; ++i) this.uniform()
  }

  /** In [0, 1), 32 bits (mulberry32). */
  uniform(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let t = this.#state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }

  integer(low: number, high: number): number {
    return low + Math.floor(this.uniform() * (high - low + 1))
  }

  exponential(mean: number): number {
    return -mean * Math.log(1 - this.uniform())
  }

  /** With this mean and coefficient of variation. */
  lognormal(mean: number, variation: number): number {
    const variance = Math.log(1 + variation * variation)
    const normal = Math.sqrt(-2 * Math.log(1 - this.uniform())) * Math.cos(2 * Math.PI * this.uniform())
    return Math.exp(Math.log(mean) - variance / 2 + Math.sqrt(variance) * normal)
  }

  poisson(mean: number): number {
    let count = 0
    for (let sum = this.exponential(1); sum < mean; sum += this.exponential(1)) ++count
    return count
  }
}
