/** The tokens of an agent, as the numbers of the blocks they fill. */
import type { Content } from './pool.js'
import type { Segment } from './workload.js'

/** Numbers for contents. One per world: equal keys mean equal tokens everywhere in it. */
export class Contents {
  #next = 0
  readonly #keyed = new Map<string, number>()

  fresh(): number {
    return this.#next++
  }

  /** The block that ends a chain of keyed text at the block with this index. */
  keyed(keys: string, index: number): number {
    const name = `${index}:${keys}`
    let content = this.#keyed.get(name)
    if (content === undefined) this.#keyed.set(name, (content = this.#next++))
    return content
  }
}

export class Context implements Content {
  readonly blocks: number[] = []
  tail: number
  length = 0
  readonly shared: number
  readonly #contents: Contents
  readonly #blockSize: number
  /** Keyed tokens at the start, and where each key begins. */
  readonly #head: readonly Segment[]
  readonly #headTokens: number

  constructor(contents: Contents, blockSize: number, head: readonly Segment[]) {
    this.#contents = contents
    this.#blockSize = blockSize
    this.#head = head
    this.#headTokens = head.reduce((sum, segment) => sum + segment.tokens, 0)
    this.shared = Math.floor(this.#headTokens / blockSize)
    this.tail = this.#content(0)
    this.grow(this.#headTokens)
  }

  grow(tokens: number): void {
    this.length += tokens
    while ((this.blocks.length + 1) * this.#blockSize <= this.length) {
      this.blocks.push(this.tail)
      this.tail = this.#content(this.blocks.length)
    }
  }

  #content(index: number): number {
    const end = (index + 1) * this.#blockSize
    if (end > this.#headTokens) return this.#contents.fresh()
    let keys = ''
    let at = 0
    for (const segment of this.#head) {
      if (at >= end) break
      keys += `${segment.key}/`
      at += segment.tokens
    }
    return this.#contents.keyed(keys, index)
  }
}
