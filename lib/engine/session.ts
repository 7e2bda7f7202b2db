import { AgentInferError, fromNative } from '../errors.js'
import {
  parseOptions,
  refuseUnknown,
  retainSchema,
  sessionActivitySchema,
  sessionGenerateSchema,
  sessionInputSchema,
  sessionOptionsSchema,
  sessionPrefillSchema,
} from '../option_schemas.js'
import type { ResolvedSessionInput } from '../option_schemas.js'
import type { RetainOptions, SessionGenerateOptions, SessionInput, SessionOptions, SessionPrefillOptions } from '../options.js'
import type { SessionActivity, SessionView } from '../policy/types.js'
import { ensureSingleBos } from '../text/chat_template.js'
import { ChatTurns } from './chat_turns.js'
import type { TurnsMark } from './chat_turns.js'
import type { Asker, Intake } from './intake.js'
import type { StepLoop } from './loop.js'
import type { TemplateMemory } from './miss.js'
import { encodeSegments } from './prompt.js'
import type { Request } from './request.js'
import type { Sessions } from './sessions.js'
import { topicOf } from './speculation.js'
import type { Topic } from './speculation.js'
import type { GenerationStream } from './stream.js'
import { TokenList } from './tokens.js'

/** Figures of a session: see `session.stats()`. */
export interface SessionStats {
  /** Tokens known. */
  tokens: number
  /** Prompt tokens found in the cache, over all its requests. */
  cachedTokens: number
  /** Prompt tokens that had to be computed, over all its requests. */
  computedTokens: number
  /** Requests so far, prefills included. */
  requests: number
}

/** What `session.prefill` found and did, in tokens. */
export interface PrefillResult {
  /** Tokens whose KV was there already. */
  cachedTokens: number
  /** Tokens that were computed. */
  computedTokens: number
}

/** A place in a session: see `Session.mark`. Plain data. */
export interface SessionMark {
  /** Tokens before it. */
  readonly tokens: number
  /** The same place in the chat. */
  readonly turns: TurnsMark
}

/** What a session needs of its engine. */
export interface SessionHost {
  readonly intake: Intake
  readonly loop: StepLoop
  readonly sessions: Sessions
  readonly templates: TemplateMemory
  assertOpen(): void
}

/** What a fork takes over. */
interface Origin {
  parent: Session
  /** Known already: nothing that the parent is doing has to be waited for. */
  ready: boolean
  tokens: () => TokenList
  turns: () => ChatTurns
}

/**
 * A conversation whose tokens only grow. It owns ids, not text: what was said once is never tokenised again, so each turn's prompt
 * extends what is cached. Calls take effect in the order they are made; what needs the tokens waits for the appends before it.
 */
export class Session implements Disposable {
  /** Of this engine's sessions; snapshots and messages have it. */
  readonly id: number
  /** See `SessionOptions.tenant`. */
  readonly tenant: string
  /** See `SessionOptions.name`. */
  readonly name: string | undefined
  /** See `SessionOptions.role`. */
  readonly role: string | undefined
  /** See `SessionOptions.run`. */
  readonly run: string | undefined
  /** See `SessionOptions.priority`. */
  readonly priority: number
  readonly #host: SessionHost
  readonly #options: SessionOptions
  #tokens = new TokenList()
  #turns: ChatTurns
  /** Everything asked for so far is done when this is. Never rejects. */
  #settled: Promise<void> = Promise.resolve()
  /** Why the beginning of the session could not be made. */
  #broken: unknown
  #topic: Topic = {}
  /** Agents that may draft from each other: those of its run, or else its forks and what it was forked from. */
  readonly #family: string
  #generating: GenerationStream | undefined
  #prefilling = new Set<AbortController>()
  #released = false
  #activity: SessionActivity = { kind: 'idle' }
  /** When that began, on the loop's clock: appends do not move it. */
  #since: number
  /** Its first messages were last rendered with another template. */
  #templateChanged = false
  readonly #figures = { cachedTokens: 0, computedTokens: 0, requests: 0 }

  /** @internal Use `engine.session()`. */
  constructor(host: SessionHost, options: SessionOptions, origin?: Origin) {
    const resolved = parseOptions(sessionOptionsSchema, options, 'session')
    this.#host = host
    this.#options = options
    this.#since = host.loop.now()
    this.id = host.sessions.nextId()
    this.tenant = resolved.tenant
    this.name = resolved.name
    this.role = resolved.role
    this.run = resolved.run
    this.priority = resolved.priority
    this.#family = resolved.run ?? (origin === undefined ? `session ${this.id}` : origin.parent.#family)
    const { intake } = host
    const ends = Array.from(intake.info.config.eosTokenIds, (id) => intake.tokenizer.piece(id))
    this.#turns = new ChatTurns(() => intake.template(resolved.chatTemplate), ends)
    if (origin !== undefined) {
      const take = (): void => {
        this.#tokens = origin.tokens()
        this.#turns = origin.turns()
        this.#broken = origin.parent.#broken
        this.#topic = origin.parent.#topic
        this.#publish()
      }
      if (origin.ready) take()
      else this.#settled = origin.parent.#settled.then(take)
    } else if (resolved.messages !== undefined && resolved.messages.length > 0) {
      const messages = resolved.messages
      this.#enqueue(() => this.#append(messages)).catch((error: unknown) => (this.#broken = error))
    }
    host.sessions.add(this)
  }

  /** Tokens known by now; those of pending appends are not yet. */
  get length(): number {
    return this.#tokens.length
  }

  /** All ids, once everything asked for so far is done. @throws {AgentInferError} `ERR_CLOSED`, and what was wrong with its first messages. */
  tokens(): Promise<Int32Array> {
    return this.#enqueue(async () => this.#tokens.view().slice())
  }

  /**
   * Adds messages, text in parts, or ids. Only the new part is tokenised.
   * Messages are written as the model's template continues the chat (see chat_turns.ts), markers in them count by role as in
   * `generate`. Text and ids are added as they are, to whatever turn is open. During a generation it waits for its end.
   * @throws {AgentInferError} `ERR_CHAT_TEMPLATE`, `ERR_INVALID_ARGUMENT`, `ERR_CLOSED`; nothing was added then.
   */
  async append(input: SessionInput): Promise<void> {
    this.#assertLive()
    const parsed = parseOptions(sessionInputSchema, input, 'append')
    await this.#enqueue(() => this.#append(parsed))
  }

  /**
   * Generates from all tokens. What comes out becomes part of the session, also when it is aborted (as far as it was emitted).
   * @throws {AgentInferError} `ERR_BUSY` while another generation of this session runs, `ERR_INVALID_ARGUMENT`, `ERR_CLOSED`.
   */
  generate(options: SessionGenerateOptions = {}): GenerationStream {
    this.#assertLive()
    const { append, addGenerationPrompt, lead, ...rest } = parseOptions(sessionGenerateSchema, options, 'session.generate')
    if (this.#generating !== undefined)
      throw new AgentInferError('ERR_BUSY', `session ${this.id} is generating: wait for it, abort it, or fork the session`)
    let opening: Int32Array = new Int32Array(0)
    let begun = (): void => undefined
    const asker: Asker = {
      tenant: this.tenant,
      session: this.id,
      priority: this.priority,
      run: this.run,
      role: this.role,
      drafting: { inSession: true },
      onEnd: (request: Request) => {
        if (append) this.#keep(opening, request)
        this.#count(request)
        this.#stopGenerating(stream)
      },
    }
    const previous = this.#settled
    const stream = this.#host.intake.start(rest, asker, async () => {
      await previous
      this.#assertUsable()
      begun()
      asker.templateChanged = this.#templateChanged
      asker.drafting = { inSession: true, run: this.#family, ...(this.role !== undefined && { role: this.role }), ...this.#topic }
      const chat = addGenerationPrompt ?? (this.#turns.used && !this.#turns.open)
      const segments = [...(chat ? this.#turns.prompt() : []), ...(lead === undefined ? [] : [{ text: lead, special: true }])]
      if (segments.length > 0) opening = await this.#encode(segments, chat)
      return this.#tokens.with(opening)
    })
    begun = () => {
      for (const controller of this.#prefilling) controller.abort()
    }
    this.#generating = stream
    this.#doing({ kind: 'running' })
    const ended = (): void => this.#stopGenerating(stream)
    this.#settled = stream.response.then(ended, ended)
    return stream
  }

  /**
   * Computes the KV of all tokens known by then and generates nothing, so that a later generation starts at once. Ends early, with
   * what there is, when a generation of this session begins or the session is released.
   * @throws {AgentInferError} `ERR_INVALID_ARGUMENT`, `ERR_CLOSED`, `ERR_CONTEXT_LENGTH` where no token has room behind them; the signal's reason.
   */
  async prefill(options: SessionPrefillOptions = {}): Promise<PrefillResult> {
    this.#assertLive()
    const { priority = this.priority - 1, signal } = parseOptions(sessionPrefillSchema, options, 'prefill')
    const tokens = await this.#enqueue(async () => this.#tokens.view())
    this.#assertLive()
    signal?.throwIfAborted()
    if (tokens.length === 0) return { cachedTokens: 0, computedTokens: 0 }
    const controller = new AbortController()
    const stop = signal === undefined ? controller.signal : AbortSignal.any([signal, controller.signal])
    const result: PrefillResult = { cachedTokens: 0, computedTokens: 0 }
    const onEnd = (request: Request): void => {
      result.cachedTokens = request.cachedTokens
      result.computedTokens = Math.max(0, Math.min(request.computed, tokens.length) - request.cachedTokens)
      this.#count(request)
    }
    this.#prefilling.add(controller)
    try {
      // The token that comes with the last logits is not kept.
      const stream = this.#host.intake.start(
        { ...parseOptions(sessionGenerateSchema, { maxTokens: 1, sampling: { temperature: 0 }, speculation: 'off' }, 'prefill'), priority, signal: stop },
        { tenant: this.tenant, session: this.id, run: this.run, role: this.role, onEnd },
        async () => tokens.slice(),
      )
      await stream.response
    } catch (error) {
      if (signal?.aborted === true || !controller.signal.aborted) throw error
    } finally {
      this.#prefilling.delete(controller)
    }
    return result
  }

  /**
   * A session with the same tokens so far: it has everything asked for before the fork, a running generation's output included, and
   * goes its own way from there. KV is shared where the tokens are. `at`: only what was there at a mark; nothing is waited for.
   * @throws {AgentInferError} `ERR_INVALID_ARGUMENT` for a wrong option or a mark that is not this session's, `ERR_CLOSED`.
   */
  fork(options: { name?: string; role?: string; at?: SessionMark } = {}): Session {
    this.#assertLive()
    const { messages: _messages, ...own } = this.#options
    const { at, ...named } = options
    refuseUnknown(named, ['name', 'role'], 'fork')
    if (at !== undefined && !(at.tokens >= 0 && at.tokens <= this.#tokens.length))
      throw new AgentInferError('ERR_INVALID_ARGUMENT', `fork: at: expected a mark of this session, which has ${this.#tokens.length} tokens, got one at token ${at.tokens}`)
    const tokens = () => (at === undefined ? this.#tokens.copy() : this.#tokens.copy(at.tokens))
    const turns = () => (at === undefined ? this.#turns.copy() : this.#turns.at(at.turns))
    return new Session(this.#host, { ...own, ...named }, { parent: this, ready: at !== undefined, tokens, turns })
  }

  /**
   * The place behind everything known by now, for `fork({ at })`: a session that has the tokens up to here and goes on differently.
   * It stays valid for this session and its forks from behind it. Not for the time between asking for something and its being done.
   */
  mark(): SessionMark {
    return { tokens: this.#tokens.length, turns: this.#turns.mark() }
  }

  /**
   * Says what the session is doing while no request of it runs, for the scheduler's retention. A generation resets it.
   * @throws {AgentInferError} `ERR_INVALID_ARGUMENT`, `ERR_CLOSED`.
   */
  activity(state: SessionActivity): void {
    this.#assertLive()
    this.#doing(parseOptions(sessionActivitySchema, state, 'activity'))
  }

  /**
   * Keeps its KV before others': see `RetainOptions`. A later call replaces an earlier one.
   * @throws {AgentInferError} `ERR_INVALID_ARGUMENT`, `ERR_CLOSED`.
   */
  retain(options: RetainOptions): void {
    this.#assertLive()
    const { ttl, retentionClass } = parseOptions(retainSchema, options, 'retain')
    this.#host.loop.retain(this.id, retentionClass, this.#host.loop.now() + ttl)
  }

  /** The session is over: what runs is aborted, its KV keeps no privilege. Idempotent. */
  release(): void {
    if (this.#released) return
    this.#released = true
    for (const controller of this.#prefilling) controller.abort()
    this.#generating?.abandon()
    this.#host.sessions.remove(this)
    this.#host.loop.forget(this.id)
  }

  /** `release`, for `using`. */
  [Symbol.dispose](): void {
    this.release()
  }

  /** Its figures so far. */
  stats(): SessionStats {
    return { tokens: this.length, ...this.#figures }
  }

  #enqueue<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#settled.then(() => {
      this.#assertUsable()
      return work()
    })
    this.#settled = result.then(
      () => undefined,
      () => undefined,
    )
    return result
  }

  async #append(input: ResolvedSessionInput): Promise<void> {
    if ('tokens' in input) {
      const { vocabSize } = this.#host.intake.info.config
      const wrong = input.tokens.find((id) => id >= vocabSize || id < 0)
      if (wrong !== undefined)
        throw new AgentInferError('ERR_INVALID_ARGUMENT', `append: token ${wrong} is outside the vocabulary [0, ${vocabSize})`)
      this.#tokens.push(input.tokens)
    } else if ('segments' in input) {
      this.#tokens.push(await this.#encode(input.segments, false))
    } else if (input.length > 0) {
      const before = this.#turns.copy()
      if (!before.used) this.#templateChanged = this.#host.templates.changed(this.tenant, input[0], this.#options.chatTemplate)
      try {
        this.#tokens.push(await this.#encode(this.#turns.append(input), true))
        this.#topic = topicOf(input, this.#topic)
      } catch (error) {
        this.#turns = before
        throw fromNative(error)
      }
    }
    this.#publish()
  }

  /** `chat`: a template wrote it. The first text of a session gets the BOS that the model wants. */
  async #encode(segments: readonly { text: string; special: boolean }[], chat: boolean): Promise<Int32Array> {
    const { tokenizer } = this.#host.intake
    const ids = await encodeSegments(tokenizer, segments)
    const facts = tokenizer.facts()
    return this.#tokens.length === 0 && (chat || facts.addBos) ? ensureSingleBos(ids, facts.bosId) : ids
  }

  /** What a generation wrote becomes part of the session. */
  #keep(opening: Int32Array, request: Request): void {
    const { output, endToken } = request
    if (output.length === 0) return
    this.#tokens.push(opening)
    this.#tokens.push(output)
    if (this.#turns.used) this.#turns.answered(endToken === undefined ? '' : this.#host.intake.tokenizer.piece(endToken))
  }

  #count(request: Request): void {
    this.#figures.requests += 1
    this.#figures.cachedTokens += request.cachedTokens
    this.#figures.computedTokens += Math.max(0, Math.min(request.computed, request.init.tokens.length) - request.cachedTokens)
  }

  #stopGenerating(stream: GenerationStream): void {
    if (this.#generating !== stream) return
    this.#generating = undefined
    if (this.#activity.kind === 'running') this.#doing({ kind: 'idle' })
    else this.#publish()
  }

  #doing(activity: SessionActivity): void {
    this.#activity = activity
    this.#since = this.#host.loop.now()
    this.#publish()
  }

  /** Tells the schedulers. */
  #publish(): void {
    if (this.#released) return
    const view: SessionView = {
      id: this.id,
      tenant: this.tenant,
      run: this.run,
      tokens: this.#tokens.length,
      activity: this.#activity,
      since: this.#since,
    }
    this.#host.sessions.update(view)
  }

  #assertLive(): void {
    this.#host.assertOpen()
    if (this.#released) throw new AgentInferError('ERR_CLOSED', `session ${this.id} was released`)
  }

  #assertUsable(): void {
    this.#assertLive()
    if (this.#broken !== undefined) throw this.#broken
  }
}
