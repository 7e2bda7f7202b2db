import type { NativeDetokenizer, NativeSampling, NativeTokenizer, SequenceSpec, StepResult } from '../native.js'
import { Finish } from '../native.js'
import { publish } from '../diagnostics.js'
import type { RequestMessage } from '../diagnostics.js'
import type { ProbeView, RequestView } from '../policy/types.js'
import { cacheMiss } from './miss.js'
import type { CacheMiss, MissFields } from './miss.js'
import { SpeculationFigures } from './speculation.js'
import type { RequestDrafting, SpeculationUsage } from './speculation.js'
import type { StopText } from './stop_text.js'
import type { GenerationStream, TokenLogprob } from './stream.js'

/** `stop`: an end token, a stop id or a stop text; `length`: `maxTokens`; `abort`: its reader has left. */
export type FinishReason = 'stop' | 'length' | 'abort'

/** Tokens. */
export interface Usage {
  /** Of the prompt, found or computed. */
  promptTokens: number
  /** Of the prompt: tokens whose KV was found in the cache. */
  cachedTokens: number
  /** Generated, without the token that ended it. */
  completionTokens: number
}

/** Milliseconds. */
export interface Timings {
  /** From the call to the beginning of the first step it took part in. */
  queued: number
  /** From there to the first token. */
  prefill: number
  /** From the first token to the end. */
  decode: number
  /** From the call to the end: the sum of the others. */
  total: number
}

/** A finished generation. */
export interface GenerationResponse {
  /** Up to a stop text, without it. */
  text: string
  /** Without the token that ended it; those of a stop text are here. */
  tokens: number[]
  /** Why it ended. */
  finishReason: FinishReason
  /** Its tokens. */
  usage: Usage
  /** Its milliseconds. */
  timings: Timings
  /** What drafts did for it; the output is the same without them. */
  speculation: SpeculationUsage
  /** How often its KV had to give way to others' and was computed again. */
  preemptions: number
  /** Where its prompt left the cache, and why; undefined when it never started. */
  cacheMiss: CacheMiss | undefined
}

export interface RequestInit {
  id: number
  /** `engine` of the messages about it. */
  engine: string
  tokens: Int32Array
  maxTokens: number
  sampling: NativeSampling
  priority: number
  tenant: string
  /** Of the tenant. */
  salt: number
  /** Whose KV it is; undefined: nobody's. */
  session: number | undefined
  /** Its chat was last rendered with another template. */
  templateChanged: boolean
  /** Undefined: nothing is drafted for it. */
  drafting: RequestDrafting | undefined
  /** Counts what its drafts do, beside the request itself. */
  speculation: SpeculationFigures
  stream: GenerationStream
  tokenizer: Pick<NativeTokenizer, 'piece'>
  /** Ids below have text; others say nothing. */
  pieces: number
  detokenizer: NativeDetokenizer
  stopText: StopText
  createdAt: number
  /** Seconds on the engine's clock. */
  deadline: number | undefined
  /** Called once, when it has ended for whatever reason, before its stream is told. */
  onEnd?: (request: Request) => void
}

/** Tokens of one outcome, with their log probabilities where asked for. */
export interface Emission {
  /** Of the whole step; this outcome's are those from `begin` to before `end`. A view of them is made when they are delivered, beside the next step. */
  tokens: Int32Array
  begin: number
  end: number
  finish: number
  logprobs: TokenLogprob[] | undefined
}

/** What schedulers see of a request; the loop keeps it up to date. */
export class LiveView implements RequestView {
  readonly id: number
  readonly session: number | undefined
  readonly tenant: string
  readonly priority: number
  readonly promptTokens: number
  known: number
  computed = 0
  remaining: number
  started = false
  arrivedAt = 0
  prefilledAtArrival = 0
  readonly deadline: number | undefined
  probe: ProbeView | undefined

  constructor(init: RequestInit) {
    this.id = init.id
    this.session = init.session
    this.tenant = init.tenant
    this.priority = init.priority
    this.promptTokens = init.tokens.length
    this.known = init.tokens.length
    this.remaining = init.maxTokens
    this.deadline = init.deadline
    this.probe = undefined
  }
}

/** One generation while it waits and runs: what the loop must know of it, and how its tokens become text. */
export class Request {
  readonly id: number
  readonly init: RequestInit
  readonly view: LiveView
  /** No step may run for it any more. */
  over = false
  /** Its stream has been told. */
  ended: 'no' | FinishReason | 'failed' = 'no'
  /** Of the prompt, when it first started; undefined: it has not. */
  cached: number | undefined
  preemptions = 0
  miss: MissFields | undefined
  readonly speculation: SpeculationFigures

  readonly #tokens: number[] = []
  #text = ''
  #endToken: number | undefined
  #startedAt = 0
  #firstTokenAt = 0

  constructor(init: RequestInit) {
    this.init = init
    this.id = init.id
    this.view = new LiveView(init)
    this.speculation = new SpeculationFigures(init.speculation)
  }

  /** What native code is told. */
  spec(): SequenceSpec {
    const { id, tokens, maxTokens, sampling, salt, session, drafting } = this.init
    return {
      id,
      tokens,
      maxTokens,
      sampling,
      salt,
      ...(session !== undefined && { session }),
      ...(drafting !== undefined && { speculation: drafting.speculation }),
    }
  }

  /** What every message about it begins with. */
  message(): RequestMessage {
    const { engine, session, tenant } = this.init
    return { engine, request: this.id, session, tenant }
  }

  /** Takes part in steps from `now` on, with the KV of so many tokens found. */
  start(now: number, cached: number): void {
    this.view.started = true
    this.view.probe = undefined
    if (this.#startedAt === 0) this.#startedAt = now
    this.cached ??= cached
  }

  /** Has given its blocks back. */
  preempted(): void {
    this.view.started = false
    this.view.computed = 0
    this.view.probe = undefined
    this.preemptions += 1
    publish('agentinfer:request:preempt', () => ({ ...this.message(), preemptions: this.preemptions }))
  }

  get cachedTokens(): number {
    return this.cached ?? 0
  }

  get computed(): number {
    return this.view.computed
  }

  /** What was generated, the end token included. */
  get output(): readonly number[] {
    return this.#endToken === undefined ? this.#tokens : [...this.#tokens, this.#endToken]
  }

  /** The id that ended it; undefined when it ended otherwise. */
  get endToken(): number | undefined {
    return this.#endToken
  }

  /** Whether its text may end it, or its own drafter wants to see it, so that text must be made before the next plan. */
  get endsByText(): boolean {
    return this.init.stopText.active || this.init.drafting?.drafter !== undefined
  }

  /** What its own drafter proposes; undefined without one, and while there is nothing to draft behind. */
  supplied(): ArrayLike<number> | undefined {
    const { drafting, tokens } = this.init
    if (drafting?.drafter === undefined || !this.view.started || this.view.known - this.view.computed !== 1) return undefined
    return Array.from(drafting.drafter({ prompt: tokens, output: this.#tokens })).slice(0, drafting.draftLimit)
  }

  /** Delivers tokens. Returns true when a stop string ended the output, so that native code must be told. */
  emit(emission: Emission, now: number): boolean {
    if (this.ended !== 'no') return false
    const { begin, end } = emission
    if (this.#firstTokenAt !== 0) this.speculation.step(end - begin)
    else if (end > begin) this.#first(now)
    // A stop id ends the output and is not part of it.
    const stop = emission.finish === Finish.stop
    const shownEnd = stop ? end - 1 : end
    if (stop) this.#endToken = emission.tokens[end - 1]
    const tokens: number[] = []
    let text = ''
    for (let i = begin; i < shownEnd; ++i) {
      const token = emission.tokens[i]!
      tokens.push(token)
      this.#tokens.push(token)
      if (token < this.init.pieces) text += this.init.detokenizer.push(token)
    }
    let stopped = false
    if (this.init.stopText.active) ({ text, stopped } = this.init.stopText.push(text))
    if (!stopped && emission.finish !== Finish.none) {
      const rest = this.init.stopText.push(this.init.detokenizer.flush())
      text += rest.text
      stopped = rest.stopped
      if (!stopped) text += this.init.stopText.flush()
    }
    this.#text += text
    if (text !== '' || tokens.length > 0) {
      const logprobs = emission.logprobs?.slice(0, tokens.length)
      this.init.stream.push(logprobs === undefined ? { text, tokens } : { text, tokens, logprobs })
    }
    if (stopped || emission.finish === Finish.stop) this.finish('stop', now)
    else if (emission.finish === Finish.length) this.finish('length', now)
    return stopped && emission.finish === Finish.none
  }

  #first(now: number): void {
    this.#firstTokenAt = now
    publish('agentinfer:request:first-token', () => ({
      ...this.message(),
      queued: this.#startedAt - this.init.createdAt,
      prefill: now - this.#startedAt,
      cachedTokens: this.cachedTokens,
    }))
  }

  finish(finishReason: FinishReason, now: number): void {
    if (this.ended !== 'no') return
    const response = this.#response(finishReason, now) // may throw, so before anything counts as ended
    try {
      this.#end(finishReason)
    } finally {
      this.init.stream.end(response) // whoever waits for it must never hang
    }
    publish('agentinfer:request:end', () => {
      const { usage, timings, speculation, preemptions } = response
      return { ...this.message(), finishReason, usage, timings, speculation, preemptions }
    })
  }

  #end(how: FinishReason | 'failed'): void {
    this.over = true
    this.ended = how
    this.init.onEnd?.(this)
  }

  #response(finishReason: FinishReason, now: number): GenerationResponse {
    const { createdAt } = this.init
    const started = this.#startedAt === 0 ? now : this.#startedAt
    const firstToken = this.#firstTokenAt === 0 ? now : this.#firstTokenAt
    return {
      text: this.#text,
      tokens: this.#tokens,
      finishReason,
      usage: {
        promptTokens: this.init.tokens.length,
        cachedTokens: this.cachedTokens,
        completionTokens: this.#tokens.length,
      },
      timings: {
        queued: started - createdAt,
        prefill: firstToken - started,
        decode: now - firstToken,
        total: now - createdAt,
      },
      speculation: this.speculation.usage(),
      preemptions: this.preemptions,
      cacheMiss: this.miss === undefined ? undefined : cacheMiss(this.miss, this.init.templateChanged, (id) => this.#piece(id)),
    }
  }

  #piece(id: number): string {
    return id < this.init.pieces ? this.init.tokenizer.piece(id) : ''
  }

  fail(error: unknown): void {
    if (this.ended !== 'no') return
    try {
      this.#end('failed')
    } finally {
      this.init.stream.fail(error)
    }
    publish('agentinfer:request:error', () => ({ ...this.message(), error }))
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
