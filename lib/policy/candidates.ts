/** The waiting queue of one plan, best first. Few of many are taken in a step, so they are kept in a heap and not sorted. */
import type { RequestView } from './types.js'

export interface Candidate {
  readonly request: RequestView
  /** Its wait nears the bound: it goes before all that are not urgent, whatever their priority. */
  readonly urgent: boolean
  /** Higher goes first. */
  readonly score: number
}

/** A total order: urgent ones, then by priority (urgent ones alike), score, arrival, id. */
export function before(x: Candidate, y: Candidate): boolean {
  if (x.urgent !== y.urgent) return x.urgent
  if (!x.urgent && x.request.priority !== y.request.priority) return x.request.priority > y.request.priority
  if (x.score !== y.score) return x.score > y.score
  if (x.request.arrivedAt !== y.request.arrivedAt) return x.request.arrivedAt < y.request.arrivedAt
  return x.request.id < y.request.id
}

export class Candidates {
  readonly #items: Candidate[]

  /** Takes the array over. */
  constructor(items: Candidate[]) {
    this.#items = items
    for (let i = (items.length >> 1) - 1; i >= 0; --i) this.#down(i)
  }

  pop(): Candidate | undefined {
    const top = this.#items[0]
    const last = this.#items.pop()
    if (last !== undefined && this.#items.length > 0) {
      this.#items[0] = last
      this.#down(0)
    }
    return top
  }

  /** Those not taken, in no order. */
  *restIds(): Generator<number> {
    for (const { request } of this.#items) yield request.id
  }

  #down(at: number): void {
    const items = this.#items
    const item = items[at]!
    let hole = at
    for (;;) {
      let child = 2 * hole + 1
      if (child >= items.length) break
      if (child + 1 < items.length && before(items[child + 1]!, items[child]!)) child += 1
      if (!before(items[child]!, item)) break
      items[hole] = items[child]!
      hole = child
    }
    items[hole] = item
  }
}
