/**
 * Tokens computed for each tenant, so that fairness is between tenants, whatever number of requests each sends. A tenant that was away comes
 * back level with the least served one at best: what it did not use is not saved up for it, what it overused is not forgotten as long as there
 * are not too many tenants: then those that overused least are forgiven.
 */
export class Tenants {
  readonly #most: number
  readonly #served = new Map<string, number>()
  #live: ReadonlySet<string> = new Set()
  #least = 0

  /** `most`: tenants that are remembered at most, but for those that have requests. */
  constructor(most = 16_384) {
    this.#most = most
  }

  /** `live`: tenants that have requests now. */
  update(live: ReadonlySet<string>): void {
    for (const tenant of live)
      if (!this.#live.has(tenant)) this.#served.set(tenant, Math.max(this.#served.get(tenant) ?? 0, this.#least))
    if (live.size > 0) {
      this.#least = Infinity
      for (const tenant of live) this.#least = Math.min(this.#least, this.#served.get(tenant)!)
    }
    this.#live = live
    if (this.#served.size > live.size + this.#most) this.#forget()
  }

  charge(tenant: string, tokens: number): void {
    this.#served.set(tenant, (this.#served.get(tenant) ?? this.#least) + tokens)
  }

  /** Tokens beyond the least served tenant with requests. >= 0 */
  excess(tenant: string): number {
    return Math.max(0, (this.#served.get(tenant) ?? this.#least) - this.#least)
  }

  /** Half of those without requests, so that it is seldom: first those that are not known from newcomers. */
  #forget(): void {
    const away = [...this.#served].filter(([tenant]) => !this.#live.has(tenant)).toSorted(([, a], [, b]) => a - b)
    const known = away.findIndex(([, served]) => served > this.#least)
    const forgotten = Math.max(known === -1 ? away.length : known, Math.ceil(away.length / 2))
    for (const [tenant] of away.slice(0, forgotten)) this.#served.delete(tenant)
  }

  /** For tests. @internal */
  get size(): number {
    return this.#served.size
  }
}
