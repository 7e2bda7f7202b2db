/** What simulated workloads draw beside what all draw: the same seed gives the same workload on every machine. */
import { Random as Uniform } from '../random.js'

export class Random extends Uniform {
  constructor(seed: number) {
    super(seed)
    for (let i = 0; i < 4; ++i) this.next() // neighbouring seeds begin alike
  }

  /** With this mean and coefficient of variation. */
  lognormal(mean: number, variation: number): number {
    const variance = Math.log(1 + variation * variation)
    return Math.exp(Math.log(mean) - variance / 2 + Math.sqrt(variance) * this.normal())
  }

  poisson(mean: number): number {
    let count = 0
    for (let sum = this.exponential(); sum < mean; sum += this.exponential()) ++count
    return count
  }
}
