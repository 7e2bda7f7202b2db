/**
 * Tokens computed for each tenant, so that fairness is between tenants, whatever number of requests each sends. A tenant that was away comes
 * back level with the least served one at best: what it did not use is not saved up for it, what it overused is not forgotten.
 */
export class Tenants {
  readonly #served = new Map<string, number>()
  #live: ReadonlySet<string> = new Set()
  #least = 0

  /** `live`: tenants that have requests now. */
  update(live: ReadonlySet<string>): void {
    for (const tenant of live)
      if (!this.#live.has(tenant)) this.#served.set(tenant, Math.max(this.#served.get(tenant) ?? 0, this.#least))
    if (live.size > 0) {
      this.#least = Infinity
      for (const tenant of live) this.#least = Math.min(this.#least, this.#served.get(tenant)!)
    }
    for (const [tenant, served] of this.#served) if (served <= this.#least && !live.has(tenant)) this.#served.delete(tenant)
    this.#live = live
  }

  charge(tenant: string, tokens: number): void {
    this.#served.set(tenant, (this.#served.get(tenant) ?? this.#least) + tokens)
  }

  /** Tokens beyond the least served tenant with requests. >= 0 */
  excess(tenant: string): number {
    return Math.max(0, (this.#served.get(tenant) ?? this.#least) - this.#least)
  }
}
