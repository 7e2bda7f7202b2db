import type { NativeDetokenizer, NativeSampling, StepResult } from '../native.js'
import { Finish } from '../native.js'
import type { GenerationStream, TokenLogprob } from './stream.js'
import type { StopText } from './stop_text.js'

export type FinishReason = 'stop' | 'length' | 'abort'

export interface Usage {
  promptTokens: number
  /** Of the prompt: tokens whose KV was found in the cache. */
  cachedTokens: number
  completionTokens: number
}

/** Milliseconds. */
export interface Timings {
  queued: number
  prefill: number
  decode: number
  total: number
}

export interface GenerationResponse {
  text: string
  tokens: number[]
  finishReason: FinishReason
  usage: Usage
  timings: Timings
}

export interface RequestInit {
  id: number
  tokens: Int32Array
  maxTokens: number
  sampling: NativeSampling
  priority: number
  tenant: string
  /** Of the tenant: see `tenantSalt`. */
  salt: number
  /** Whose KV it is; undefined: nobody's. */
  session: number | undefined
  stream: GenerationStream
  detokenizer: NativeDetokenizer
  stopText: StopText
  createdAt: number
  /** Called once, when it has ended for whatever reason, before its stream is told. */
  onEnd?: (request: Request) => void
}

/** Tokens of one outcome, with their log probabilities where asked for. */
export interface Emission {
  tokens: Int32Array
  finish: number
  logprobs: TokenLogprob[] | undefined
}

/** One generation while it waits and runs: what the loop must know of it, and how its tokens become text. */
export class Request {
  readonly id: number
  readonly priority: number
  readonly init: RequestInit
  /** Tokens whose KV is computed, and tokens known in all. */
  computed = 0
  known: number
  started = false
  ended = false

  readonly #tokens: number[] = []
  readonly #createdAt: number
  #text = ''
  #endToken: number | undefined
  #cachedTokens = 0
  #startedAt = 0
  #firstTokenAt = 0

  constructor(init: RequestInit) {
    this.init = init
    this.id = init.id
    this.priority = init.priority
    this.known = init.tokens.length
    this.#createdAt = init.createdAt
  }

  start(now: number): void {
    if (this.#startedAt === 0) this.#startedAt = now
    this.started = true
  }

  /** Of the prompt, when it started. */
  get cachedTokens(): number {
    return this.#cachedTokens
  }
  set cachedTokens(tokens: number) {
    this.#cachedTokens = tokens
  }

  /** What was generated, the end token included. */
  get output(): readonly number[] {
    return this.#endToken === undefined ? this.#tokens : [...this.#tokens, this.#endToken]
  }

  /** The id that ended it; undefined when it ended otherwise. */
  get endToken(): number | undefined {
    return this.#endToken
  }

  /** Delivers tokens. Returns true when a stop string ended the output, so that native code must be told. */
  emit(emission: Emission, now: number): boolean {
    if (this.#firstTokenAt === 0 && emission.tokens.length > 0) this.#firstTokenAt = now
    this.known += emission.tokens.length
    // A stop id ends the output and is not part of it.
    const shown = emission.finish === Finish.stop ? emission.tokens.subarray(0, -1) : emission.tokens
    if (emission.finish === Finish.stop) this.#endToken = emission.tokens.at(-1)
    for (const token of shown) this.#tokens.push(token)
    let { text, stopped } = this.init.stopText.push(this.init.detokenizer.push(shown))
    if (!stopped && emission.finish !== Finish.none) {
      const rest = this.init.stopText.push(this.init.detokenizer.flush())
      text += rest.text
      stopped = rest.stopped
      if (!stopped) text += this.init.stopText.flush()
    }
    this.#text += text
    if (text !== '' || shown.length > 0) {
      const logprobs = emission.logprobs?.slice(0, shown.length)
      this.init.stream.push({ text, tokens: Array.from(shown), ...(logprobs === undefined ? {} : { logprobs }) })
    }
    if (stopped) this.finish('stop', now)
    else if (emission.finish === Finish.stop) this.finish('stop', now)
    else if (emission.finish === Finish.length) this.finish('length', now)
    return stopped && emission.finish === Finish.none
  }

  finish(finishReason: FinishReason, now: number): void {
    if (this.ended) return
    this.ended = true
    this.init.onEnd?.(this)
    const started = this.#startedAt === 0 ? now : this.#startedAt
    const firstToken = this.#firstTokenAt === 0 ? now : this.#firstTokenAt
    this.init.stream.end({
      text: this.#text,
      tokens: this.#tokens,
      finishReason,
      usage: {
        promptTokens: this.init.tokens.length,
        cachedTokens: this.#cachedTokens,
        completionTokens: this.#tokens.length,
      },
      timings: {
        queued: started - this.#createdAt,
        prefill: firstToken - started,
        decode: now - firstToken,
        total: now - this.#createdAt,
      },
    })
  }

  fail(error: unknown): void {
    if (this.ended) return
    this.ended = true
    this.init.onEnd?.(this)
    this.init.stream.fail(error)
  }
}

/** The log probabilities of tokens [begin, begin + count) of a result; undefined where none were asked for. */
export function readLogprobs(result: StepResult, begin: number, count: number, top: number): TokenLogprob[] {
  const { logprobs, topCounts, topIds, topLogprobs } = result
  if (logprobs === undefined || topCounts === undefined || topIds === undefined || topLogprobs === undefined) return []
  let at = 0
  for (let i = 0; i < begin; ++i) at += topCounts[i]!
  return Array.from({ length: count }, (_, i) => {
    const entries = Array.from({ length: Math.min(top, topCounts[begin + i]!) }, (_unused, j) => ({
      token: topIds[at + j]!,
      logprob: topLogprobs[at + j]!,
    }))
    at += topCounts[begin + i]!
    return { token: result.tokens[begin + i]!, logprob: logprobs[begin + i]!, top: entries }
  })
}
