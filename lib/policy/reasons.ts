/**
 * Why requests wait, by id. Many wait in every step and few ever ask why, so that whole groups are noted as lists, and entered when the first
 * one asks.
 */
export class Reasons extends Map<number, string> {
  #lists: { readonly ids: Iterable<number>; readonly reason: string }[] = []

  /** The list is read later: it must not change. */
  setAll(ids: Iterable<number>, reason: string): void {
    this.#lists.push({ ids, reason })
  }

  override get size(): number {
    this.#enter()
    return super.size
  }

  override get(id: number): string | undefined {
    this.#enter()
    return super.get(id)
  }

  override has(id: number): boolean {
    this.#enter()
    return super.has(id)
  }

  override forEach(visit: (reason: string, id: number, map: Map<number, string>) => void): void {
    this.#enter()
    super.forEach(visit)
  }

  override keys(): MapIterator<number> {
    this.#enter()
    return super.keys()
  }

  override values(): MapIterator<string> {
    this.#enter()
    return super.values()
  }

  override entries(): MapIterator<[number, string]> {
    this.#enter()
    return super.entries()
  }

  override [Symbol.iterator](): MapIterator<[number, string]> {
    return this.entries()
  }

  #enter(): void {
    const lists = this.#lists
    this.#lists = []
    for (const { ids, reason } of lists) for (const id of ids) this.set(id, reason)
  }
}
