import type { GenerationResponse } from './request.js'

/** What became known since the last delta. Deltas that are not fetched in time are joined, so a slow reader costs nothing. */
export interface Delta {
  /** Text, whole characters. */
  text: string
  /** Ids; text may come later than they do. */
  tokens: number[]
  /** With `sampling.logprobs`: one for each token. */
  logprobs?: TokenLogprob[]
}

/** A token that was chosen, and how likely the model itself found it: natural logarithms, before sampling options. */
export interface TokenLogprob {
  /** The id; not in `top`: the one that was chosen. */
  token: number
  /** The logarithm of its probability. */
  logprob: number
  /** The n highest, best first. */
  top: Pick<TokenLogprob, 'token' | 'logprob'>[]
}

interface Reader {
  resolve: (result: IteratorResult<Delta, void>) => void
  reject: (error: unknown) => void
}

/**
 * One generation: iterate for deltas, await `response` for the whole. Leaving the loop early aborts the generation; `response` then
 * resolves with what there was and finishReason `'abort'`. An error, or an abort by signal, rejects both.
 */
export class GenerationStream implements AsyncIterable<Delta> {
  /** The whole, when it has ended; need not be awaited. */
  readonly response: Promise<GenerationResponse>
  readonly #onAbandon: () => void
  readonly #onRead: () => void
  #isRead = false
  #pending: Delta | undefined
  #ended = false
  #failure: { error: unknown } | undefined
  /** Calls of next() that wait, in order; none while something is pending. */
  readonly #readers: Reader[] = []
  #resolve!: (response: GenerationResponse) => void
  #reject!: (error: unknown) => void

  /** @internal */
  constructor(onAbandon: () => void, onRead: () => void) {
    this.#onAbandon = onAbandon
    this.#onRead = onRead
    this.response = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    // Whoever only iterates meets the error there; it must not count as unhandled as well.
    this.response.catch(() => undefined)
  }

  /** @internal */
  push(delta: Delta): void {
    const reader = this.#readers.shift()
    if (reader !== undefined) return reader.resolve({ done: false, value: delta })
    if (this.#pending === undefined) {
      this.#pending = delta
      return
    }
    this.#pending.text += delta.text
    for (const token of delta.tokens) this.#pending.tokens.push(token)
    if (delta.logprobs !== undefined) (this.#pending.logprobs ??= []).push(...delta.logprobs)
  }

  /** @internal Somebody has asked for a delta, and will for others. `onRead` was told. */
  get isRead(): boolean {
    return this.#isRead
  }

  /** @internal Ends the generation as leaving the loop early does. */
  abandon(): void {
    if (!this.#ended) this.#onAbandon()
  }

  /** @internal */
  end(response: GenerationResponse): void {
    this.#ended = true
    this.#resolve(response)
    this.#dismiss()
  }

  /** @internal */
  fail(error: unknown): void {
    this.#ended = true
    this.#reject(error)
    const reader = this.#readers.shift()
    if (reader === undefined) this.#failure = { error }
    else reader.reject(error)
    this.#dismiss()
  }

  /** Written out, not as an async generator: that would take three times the promises for each token. */
  [Symbol.asyncIterator](): AsyncIterator<Delta, void, undefined> {
    return {
      next: () => this.#next(),
      return: () => {
        this.abandon()
        this.#pending = this.#failure = undefined
        return Promise.resolve({ done: true, value: undefined })
      },
    }
  }

  #next(): Promise<IteratorResult<Delta, void>> {
    if (!this.#isRead) {
      this.#isRead = true
      if (!this.#ended) this.#onRead()
    }
    const value = this.#pending
    if (value !== undefined) {
      this.#pending = undefined
      return Promise.resolve({ done: false, value })
    }
    const failure = this.#failure
    if (failure !== undefined) {
      this.#failure = undefined // told once
      return Promise.reject(failure.error)
    }
    if (this.#ended) return Promise.resolve({ done: true, value: undefined })
    return new Promise((resolve, reject) => this.#readers.push({ resolve, reject }))
  }

  #dismiss(): void {
    for (const reader of this.#readers.splice(0)) reader.resolve({ done: true, value: undefined })
  }
}
