/** What steps cost, learnt from consecutive snapshots: no clock of its own. */
import type { Snapshot } from './types.js'

export class StepCosts {
  /** Seconds per prompt token in steps that are mostly prefill. */
  perToken = 1e-4
  /** Seconds a request waits for its start, smoothed. */
  queueing = 0
  #now: number | undefined
  #prefilled = 0

  update({ now, prefilled, limits }: Snapshot): void {
    const tokens = prefilled - this.#prefilled
    const seconds = now - (this.#now ?? now)
    this.#now = now
    this.#prefilled = prefilled
    if (seconds > 0 && tokens >= limits.maxBatchTokens / 2) this.perToken += 0.05 * (seconds / tokens - this.perToken)
  }

  /** A request started after so many seconds. */
  started(waited: number): void {
    this.queueing += 0.02 * (waited - this.queueing)
  }

  /** Seconds. */
  prefill(tokens: number): number {
    return this.perToken * tokens
  }
}
