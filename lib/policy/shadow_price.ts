/**
 * λ, the shadow price of KV memory: near 0 while what waits fits beside what is cached, near λmax when it does not.
 * AgentSched, algorithm 3 of arXiv 2512.18337, with its defects mended: H and D are unions of distinct blocks (the paper adds
 * up shared prefixes once per request), blocks that running requests hold are in neither, room for decoding is set aside, z is clamped,
 * and λ follows its target smoothly. (The paper's k_P, k_I and gap* are declared there and never used; they are not here.)
 */
import { completed } from './completed.js'
import type { DemandView, PoolView } from './types.js'

/** How the shadow price of KV memory follows what waits. */
export interface ShadowPriceOptions {
  /** λmax: the price when memory is hopelessly short; above 0. Default: 1. */
  readonly lambdaMax: number
  /** k: how sharply the price rises around D = U. With 4: 0.02, 0.5, 0.98 of λmax at z = 0, 1, 2. Default: 4. */
  readonly k: number
  /** ε: blocks added to U, so that z is defined without any; above 0. Default: 1. */
  readonly epsilon: number
  /** z is at most this; 1 or more. Default: 4. */
  readonly zMax: number
  /** β: the part of λ that stays after `period` seconds; what is left of a step in the target after n periods is β^n. In [0, 1). Default: 0.8. */
  readonly beta: number
  /** Seconds of β. Default: 0.5. */
  readonly period: number
}

export const shadowPriceDefaults: ShadowPriceOptions = { lambdaMax: 1, k: 4, epsilon: 1, zMax: 4, beta: 0.8, period: 0.5 }

/** Blocks, but for z and the two prices. */
export interface PriceView {
  /** Smoothed; in [0, lambdaMax]. */
  readonly lambda: number
  /** What λ moves to. */
  readonly target: number
  readonly z: number
  /** D: distinct new device blocks that the waiting requests need, those that come from the host tier included. */
  readonly demand: number
  /** U: blocks that can be taken without giving up any that a waiting request would reuse. */
  readonly usable: number
  /** H: distinct cached blocks, held by nobody, that waiting requests would reuse. */
  readonly hits: number
}

/** Monotone: more demand or fewer blocks never make it cheaper. `reserve`: blocks set aside for decoding. */
export function priceTarget(
  pool: Pick<PoolView, 'free' | 'cached'>,
  demand: DemandView,
  reserve: number,
  options: ShadowPriceOptions,
): Omit<PriceView, 'lambda'> {
  const hits = demand.evictable
  const usable = Math.max(0, pool.free + pool.cached - hits - reserve)
  const wanted = demand.fresh + demand.host
  const z = Math.min(options.zMax, wanted / (usable + options.epsilon))
  return { target: options.lambdaMax / (1 + Math.exp(-options.k * (z - 1))), z, demand: wanted, usable, hits }
}

export class ShadowPrice {
  readonly options: ShadowPriceOptions
  #lambda: number
  #at: number | undefined

  constructor(options: Partial<ShadowPriceOptions> = {}) {
    this.options = completed(options, shadowPriceDefaults, 'AgentSched', 'price.')
    // Where nothing waits.
    this.#lambda = this.options.lambdaMax / (1 + Math.exp(this.options.k))
  }

  get lambda(): number {
    return this.#lambda
  }

  /** `now` must not run backwards; how often it is called does not matter to where λ goes. */
  update(now: number, pool: Pick<PoolView, 'free' | 'cached'>, demand: DemandView, reserve: number): PriceView {
    const { beta, period } = this.options
    const view = priceTarget(pool, demand, reserve, this.options)
    const kept = this.#at === undefined ? 1 : beta ** (Math.max(0, now - this.#at) / period)
    this.#at = now
    this.#lambda = kept * this.#lambda + (1 - kept) * view.target
    return { lambda: this.#lambda, ...view }
  }
}
