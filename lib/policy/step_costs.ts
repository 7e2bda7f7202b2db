/** What steps cost, learnt from consecutive snapshots: no clock of its own. */
import type { Snapshot } from './types.js'

/** The part of what was learnt that a new step replaces. */
const rate = 0.03
/** Steps before what was learnt is used. */
const enough = 16

export class StepCosts {
  /** Seconds that a prompt token adds to a step: least squares over the last steps. */
  perToken = 1e-4
  /** Seconds a request waits for its start, smoothed. */
  queueing = 0
  #last: { readonly now: number; readonly step: number; readonly prefilled: number; ran: boolean } | undefined
  #seen = 0
  /** Weighted means: tokens, seconds, the tokens' squares, their products with the seconds. */
  #tokens = 0
  #seconds = 0
  #squares = 0
  #products = 0

  update({ now, step, prefilled }: Snapshot): void {
    const last = this.#last
    this.#last = { now, step, prefilled, ran: false }
    if (last?.ran !== true || now <= last.now) return
    const tokens = prefilled - last.prefilled
    const steps = step - last.step
    // Repeated steps only decode.
    if (steps > 1 && tokens > 0) return
    const seconds = (now - last.now) / steps
    this.#seen += 1
    const weight = Math.max(rate, 1 / this.#seen)
    this.#tokens += weight * (tokens - this.#tokens)
    this.#seconds += weight * (seconds - this.#seconds)
    this.#squares += weight * (tokens * tokens - this.#squares)
    this.#products += weight * (tokens * seconds - this.#products)
    const variance = this.#squares - this.#tokens * this.#tokens
    if (this.#seen < enough || variance < 1) return
    const slope = (this.#products - this.#tokens * this.#seconds) / variance
    // Noise may say anything: no dearer than if all the time went into prompts, and not for nothing.
    this.perToken = Math.max(0.05, Math.min(1, (slope * this.#tokens) / this.#seconds)) * (this.#seconds / this.#tokens)
  }

  /** The last snapshot's plan computes something. */
  planned(): void {
    if (this.#last !== undefined) this.#last.ran = true
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
