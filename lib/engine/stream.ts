import type { GenerationResponse } from './request.js'

/** What became known since the last delta. Deltas that are not fetched in time are joined, so a slow reader costs nothing. */
export interface Delta {
  text: string
  tokens: number[]
  /** With `sampling.logprobs`: one for each token. */
  logprobs?: TokenLogprob[]
}

export interface TokenLogprob {
  token: number
  logprob: number
  /** The n highest, best first. */
  top: { token: number; logprob: number }[]
}

/**
 * One generation: iterate for deltas, await `response` for the whole. Leaving the loop early aborts the generation; `response` then
 * resolves with what there was and finishReason `'abort'`. An error, or an abort by signal, rejects both.
 */
export class GenerationStream implements AsyncIterable<Delta> {
  readonly response: Promise<GenerationResponse>
  readonly #onAbandon: () => void
  #pending: Delta | undefined
  #ended = false
  #error: unknown
  #wake: (() => void) | undefined
  #resolve!: (response: GenerationResponse) => void
  #reject!: (error: unknown) => void

  /** @internal */
  constructor(onAbandon: () => void) {
    this.#onAbandon = onAbandon
    this.response = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    // Whoever only iterates meets the error there; it must not count as unhandled as well.
    this.response.catch(() => undefined)
  }

  /** @internal */
  push(delta: Delta): void {
    if (this.#pending === undefined) {
      this.#pending = delta
    } else {
      this.#pending.text += delta.text
      for (const token of delta.tokens) this.#pending.tokens.push(token)
      if (delta.logprobs !== undefined) (this.#pending.logprobs ??= []).push(...delta.logprobs)
    }
    this.#wake?.()
  }

  /** @internal Ends the generation as leaving the loop early does. */
  abandon(): void {
    if (!this.#ended) this.#onAbandon()
  }

  /** @internal */
  end(response: GenerationResponse): void {
    this.#ended = true
    this.#resolve(response)
    this.#wake?.()
  }

  /** @internal */
  fail(error: unknown): void {
    this.#ended = true
    this.#error = error
    this.#reject(error)
    this.#wake?.()
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Delta, void, undefined> {
    try {
      for (;;) {
        if (this.#pending !== undefined) {
          const delta = this.#pending
          this.#pending = undefined
          yield delta
        } else if (this.#error !== undefined) {
          throw this.#error
        } else if (this.#ended) {
          return
        } else {
          await new Promise<void>((resolve) => (this.#wake = resolve))
          this.#wake = undefined
        }
      }
    } finally {
      if (!this.#ended) this.#onAbandon()
    }
  }
}
