/** Token ids that only grow. A copy shares the ids until one of the two grows. */
export class TokenList {
  #ids: Int32Array
  #length: number
  /** Whether nobody else may see writes behind `#length`. */
  #own: boolean

  constructor(ids: Int32Array = new Int32Array(0), length = ids.length, own = false) {
    this.#ids = ids
    this.#length = length
    this.#own = own
  }

  get length(): number {
    return this.#length
  }

  /** The ids as they are now; valid until the next push. Not to be written. */
  view(): Int32Array {
    return this.#ids.subarray(0, this.#length)
  }

  /** A new array of these ids and `more`. */
  with(more: Int32Array): Int32Array {
    const all = new Int32Array(this.#length + more.length)
    all.set(this.view())
    all.set(more, this.#length)
    return all
  }

  push(more: Int32Array | readonly number[]): void {
    if (more.length === 0) return
    const length = this.#length + more.length
    if (!this.#own || length > this.#ids.length) {
      const grown = new Int32Array(Math.max(64, length + (length >> 1)))
      grown.set(this.view())
      this.#ids = grown
      this.#own = true
    }
    this.#ids.set(more, this.#length)
    this.#length = length
  }

  /** The first `length` of them. */
  copy(length = this.#length): TokenList {
    this.#own = false
    return new TokenList(this.#ids, length)
  }
}
