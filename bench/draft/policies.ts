/**
 * Drafting as others do it, to be compared with the engine's own: each reads a session's tokens as they come and proposes what may
 * follow. What they know beside the session is what `Library` holds, which all sessions of a policy share.
 */

/** Of one session. */
export interface DraftPolicy {
  /** Tokens that were read or said. */
  read(tokens: readonly number[]): void
  /** At most 15. */
  draft(): number[]
}

const most = 15

/**
 * Prompt lookup (n-grams): the latest place in the session where the last n tokens were before, for the longest n of 5 to 2, gives the
 * next 10 tokens. Constants of the common implementations; the latest place, which suits agents better than the first.
 */
export class PromptLookup implements DraftPolicy {
  readonly #text: number[] = []
  readonly #places = new Map<string, number>()
  static readonly #longest = 5
  static readonly #shortest = 2
  static readonly #count = 10

  read(tokens: readonly number[]): void {
    for (const token of tokens) {
      // Grams are entered when their next token is known.
      for (const key of this.#keys()) this.#places.set(key, this.#text.length)
      this.#text.push(token)
    }
  }

  draft(): number[] {
    for (const key of this.#keys()) {
      const place = this.#places.get(key)
      if (place !== undefined) return this.#text.slice(place, place + PromptLookup.#count)
    }
    return []
  }

  /** Of the last tokens, longest first. */
  *#keys(): Generator<string> {
    for (let n = Math.min(PromptLookup.#longest, this.#text.length); n >= PromptLookup.#shortest; --n)
      yield this.#text.slice(this.#text.length - n).join()
  }
}

/** Counts of all token sequences up to a depth: a suffix tree without path compression. */
export class SuffixCounts {
  static readonly depth = 24
  readonly #children = new Map<number, number>()
  readonly #count: number[] = [0]
  readonly #likeliest: number[] = [-1]
  readonly #token: number[] = [-1]

  child(node: number, token: number): number | undefined {
    return this.#children.get(node * 2 ** 20 + token)
  }

  /** `along[i]`: the node of the last i tokens. Adds `token` behind each and returns the new list. */
  add(along: readonly number[], token: number): number[] {
    const next = [0]
    for (const node of along.slice(0, SuffixCounts.depth)) {
      let child = this.child(node, token)
      if (child === undefined) {
        child = this.#count.length
        this.#children.set(node * 2 ** 20 + token, child)
        this.#count.push(0)
        this.#likeliest.push(-1)
        this.#token.push(token)
      }
      const count = ++this.#count[child]!
      const likeliest = this.#likeliest[node]!
      if (likeliest < 0 || count >= this.#count[likeliest]!) this.#likeliest[node] = child
      next.push(child)
    }
    return next
  }

  /** The nodes of the last tokens with `token` behind them, where they are known. */
  follow(along: readonly (number | undefined)[], token: number): (number | undefined)[] {
    return [0, ...along.slice(0, SuffixCounts.depth).map((node) => (node === undefined ? undefined : this.child(node, token)))]
  }

  /** SuffixDecoding's greedy path: the likeliest child while the path's probability is at least `least`. */
  path(from: number, limit: number, least: number): { tokens: number[]; score: number } {
    const tokens: number[] = []
    let probability = 1
    let score = 0
    let node = from
    while (tokens.length < limit) {
      const child = this.#likeliest[node]!
      if (child < 0) break
      probability *= Math.min(1, this.#count[child]! / this.#count[node]!)
      if (probability < least) break
      score += probability
      tokens.push(this.#token[child]!)
      node = child
    }
    return { tokens, score }
  }
}

/**
 * SuffixDecoding (arXiv 2411.04975, defaults of its public implementation): for every suffix of the session that is known, the
 * likeliest path with at most factor * match tokens; the highest sum of path probabilities wins, of the session's own tree and of one
 * tree of all answers so far. No cost model.
 */
export class SuffixTree implements DraftPolicy {
  static readonly #factor = 1
  static readonly #leastProbability = 0.1
  readonly #own = new SuffixCounts()
  readonly #answers: SuffixCounts
  #along: number[] = [0]
  #shared: (number | undefined)[] = [0]

  constructor(answers: SuffixCounts) {
    this.#answers = answers
  }

  read(tokens: readonly number[]): void {
    for (const token of tokens) {
      this.#along = this.#own.add(this.#along, token)
      this.#shared = this.#answers.follow(this.#shared, token)
    }
  }

  draft(): number[] {
    const own = this.#best(this.#own, this.#along)
    const shared = this.#best(this.#answers, this.#shared)
    return own.score >= shared.score ? own.tokens : shared.tokens
  }

  #best(counts: SuffixCounts, along: readonly (number | undefined)[]): { tokens: number[]; score: number } {
    let best = { tokens: [] as number[], score: 0 }
    for (let length = 1; length < along.length; ++length) {
      const node = along[length]
      if (node === undefined) break
      const path = counts.path(node, Math.min(most, Math.floor(SuffixTree.#factor * length)), SuffixTree.#leastProbability)
      if (path.score >= best.score) best = path
    }
    return best
  }
}

/** A suffix automaton that knows the first place of every substring, as SAM-Decoding's does (arXiv 2411.10666). */
class FirstPlaceAutomaton {
  readonly #next = new Map<number, number>()
  readonly #edges: number[][] = [[]]
  readonly #link: number[] = [-1]
  readonly #length: number[] = [0]
  readonly #firstEnd: number[] = [-1]
  readonly #text: number[] = []
  #last = 0

  #to(state: number, token: number): number | undefined {
    return this.#next.get(state * 2 ** 20 + token)
  }

  #connect(state: number, token: number, target: number): void {
    if (this.#to(state, token) === undefined) this.#edges[state]!.push(token)
    this.#next.set(state * 2 ** 20 + token, target)
  }

  #make(length: number, link: number, firstEnd: number): number {
    this.#edges.push([])
    this.#link.push(link)
    this.#length.push(length)
    this.#firstEnd.push(firstEnd)
    return this.#length.length - 1
  }

  append(token: number): void {
    this.#text.push(token)
    const state = this.#make(this.#length[this.#last]! + 1, 0, this.#text.length)
    let from = this.#last
    while (from >= 0 && this.#to(from, token) === undefined) {
      this.#connect(from, token, state)
      from = this.#link[from]!
    }
    if (from >= 0) this.#link[state] = this.#parent(from, token)
    this.#last = state
  }

  #parent(from: number, token: number): number {
    const target = this.#to(from, token)!
    if (this.#length[from]! + 1 === this.#length[target]) return target
    const clone = this.#make(this.#length[from]! + 1, this.#link[target]!, this.#firstEnd[target]!)
    for (const edge of this.#edges[target]!) this.#connect(clone, edge, this.#to(target, edge)!)
    for (let at = from; at >= 0 && this.#to(at, token) === target; at = this.#link[at]!) this.#connect(at, token, clone)
    this.#link[target] = clone
    return clone
  }

  /** What followed the first place of the longest suffix that occurred before. */
  continuation(count: number): number[] {
    const prior = this.#link[this.#last]!
    if (prior <= 0) return []
    const end = this.#firstEnd[prior]!
    return this.#text.slice(end, end + count)
  }
}

/**
 * AgentSAM as the paper describes it (arXiv 2512.18337): texts of the run's and similar sessions merged into one automaton with the
 * session's own, always 3 tokens. Built anew when a session's turn begins (its time does not count here).
 */
export class MergedThree implements DraftPolicy {
  readonly #merged = new FirstPlaceAutomaton()

  constructor(texts: readonly (readonly number[])[]) {
    texts.forEach((text, i) => {
      for (const token of text) this.#merged.append(token)
      this.#merged.append(2 ** 20 - 1 - i)
    })
  }

  read(tokens: readonly number[]): void {
    for (const token of tokens) this.#merged.append(token)
  }

  draft(): number[] {
    return this.#merged.continuation(3)
  }
}
