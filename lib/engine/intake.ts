/** How a generation gets into the loop: the limits it must keep, its sampling, its signal and its deadline. */
import { createHash } from 'node:crypto'

import { publish } from '../diagnostics.js'
import { AgentInferError, fromNative } from '../errors.js'
import type { NativeEngineInfo, NativeSampling, NativeTokenizer } from '../native.js'
import type { ResolvedGenerateOptions } from '../option_schemas.js'
import type { ChatTemplate, LoadedChatTemplate } from '../text/chat_template.js'
import { onAbort } from './abort.js'
import type { StepLoop } from './loop.js'
import { Request } from './request.js'
import { speculationOf } from './speculation.js'
import type { Drafting } from './speculation.js'
import { StopText } from './stop_text.js'
import { GenerationStream } from './stream.js'

/** The options of a generation that do not say what its prompt is. */
export type GenerationOptions = Pick<
  ResolvedGenerateOptions,
  'maxTokens' | 'sampling' | 'stop' | 'stopIds' | 'ignoreEos' | 'keepSpecial' | 'priority' | 'deadline' | 'signal' | 'speculation'
>

/** Who asks. */
export interface Asker {
  tenant: string
  session?: number
  priority?: number
  /** Of its session; for messages. */
  run?: string | undefined
  role?: string | undefined
  /** Its chat was last rendered with another template. */
  templateChanged?: boolean
  /** Where its drafts come from; default: its own text. */
  drafting?: Drafting
  onEnd?: (request: Request) => void
}

export class Intake {
  readonly tokenizer: NativeTokenizer
  readonly info: NativeEngineInfo
  readonly #templates: LoadedChatTemplate
  readonly #loop: StepLoop
  /** Ids that have text. A model's vocabulary may be larger than its tokenizer's, padded to a round size. */
  readonly #pieces: number
  /** Tokens drafted at most; 0: none. */
  readonly #maxDraft: number
  #nextId = 1

  constructor(tokenizer: NativeTokenizer, info: NativeEngineInfo, templates: LoadedChatTemplate, loop: StepLoop, maxDraft: number) {
    this.tokenizer = tokenizer
    this.#pieces = tokenizer.facts().vocabSize
    this.info = info
    this.#templates = templates
    this.#loop = loop
    this.#maxDraft = maxDraft
  }

  /** @throws {AgentInferError} `ERR_CHAT_TEMPLATE` */
  template(override: string | undefined): ChatTemplate {
    const template = override === undefined ? this.#templates.own : this.#templates.make(override)
    if (template === undefined)
      throw new AgentInferError('ERR_CHAT_TEMPLATE', 'the model has no chat template: pass chatTemplate, or use prompt')
    return template
  }

  /**
   * A stream at once, and a request in the loop when `tokens` are there. `asker` is read then.
   * `begin` may throw: the stream fails with it, and `onEnd` is not called.
   */
  start(options: GenerationOptions, asker: Asker, begin: () => Promise<Int32Array>): GenerationStream {
    const createdAt = performance.now()
    let request: Request | undefined
    let abandoned = false
    const onAbandon = (): void => {
      abandoned = true
      if (request === undefined) return
      this.#loop.remove(request.id, 'aborted')
      request.finish('abort', performance.now())
    }
    const stream = new GenerationStream(onAbandon, () => this.#loop.read())
    const work = async (): Promise<void> => {
      options.signal?.throwIfAborted()
      const tokens = await begin()
      options.signal?.throwIfAborted()
      const made = this.#request(tokens, options, asker, stream, createdAt)
      request = made
      this.#tellStart(made, asker)
      if (abandoned) return made.finish('abort', performance.now())
      this.#loop.add(made)
      this.#endWith(made, options)
    }
    work().catch((error: unknown) => {
      if (request !== undefined) return request.fail(fromNative(error))
      const failure = fromNative(error)
      stream.fail(failure)
      const { session, tenant } = asker
      publish('agentinfer:request:error', () => ({ engine: this.#loop.name, request: undefined, session, tenant, error: failure }))
    })
    return stream
  }

  #tellStart(request: Request, { run, role }: Asker): void {
    publish('agentinfer:request:start', () => {
      const { priority, tokens, maxTokens, createdAt } = request.init
      return { ...request.message(), run, role, priority, promptTokens: tokens.length, maxTokens, calledAt: createdAt }
    })
  }

  #request(
    tokens: Int32Array,
    options: GenerationOptions,
    asker: Asker,
    stream: GenerationStream,
    createdAt: number,
  ): Request {
    const { drafting = { inSession: asker.session !== undefined } } = asker
    return new Request({
      id: this.#nextId++,
      engine: this.#loop.name,
      tokens,
      maxTokens: this.#maxTokens(tokens.length, options.maxTokens),
      sampling: this.#sampling(options),
      priority: options.priority ?? asker.priority ?? 0,
      tenant: asker.tenant,
      salt: saltOf(asker.tenant),
      session: asker.session,
      templateChanged: asker.templateChanged ?? false,
      drafting: speculationOf(options.speculation, this.#maxDraft, asker.tenant, drafting),
      speculation: this.#loop.speculation,
      stream,
      tokenizer: this.tokenizer,
      pieces: this.#pieces,
      detokenizer: this.tokenizer.detokenizer(!options.keepSpecial),
      stopText: new StopText(typeof options.stop === 'string' ? [options.stop] : (options.stop ?? [])),
      createdAt,
      deadline: options.deadline === undefined ? undefined : createdAt / 1000 + options.deadline,
      ...(asker.onEnd !== undefined && { onEnd: asker.onEnd }),
    })
  }

  /** Ends the request when its signal or its deadline says so. */
  #endWith(request: Request, { signal, deadline }: GenerationOptions): void {
    if (signal === undefined && deadline === undefined) return
    const end = (why: 'aborted' | 'failed', error: unknown): void => {
      this.#loop.remove(request.id, why)
      request.fail(error)
    }
    const abort = (): void => end('aborted', signal?.reason)
    if (signal?.aborted === true) return abort() // by whoever heard of its start
    const deaf = signal === undefined ? undefined : onAbort(signal, abort)
    const late = (): void => end('failed', new AgentInferError('ERR_DEADLINE', `not done ${deadline} s after it was asked for`))
    const left = deadline === undefined ? 0 : Math.max(0, request.init.createdAt + deadline * 1000 - performance.now())
    const timer = deadline === undefined ? undefined : setTimeout(late, left)
    const settle = (): void => {
      deaf?.()
      clearTimeout(timer)
    }
    request.init.stream.response.then(settle, settle)
  }

  #maxTokens(promptLength: number, asked: number | undefined): number {
    const { maxContext } = this.info
    const left = maxContext - promptLength
    if (promptLength === 0) throw new AgentInferError('ERR_INVALID_ARGUMENT', 'the prompt is empty: expected at least one token')
    if (left < 1 || (asked !== undefined && asked > left)) {
      throw new AgentInferError(
        'ERR_CONTEXT_LENGTH',
        `${promptLength} prompt tokens and ${asked ?? 1} to generate do not fit a context of ${maxContext}; ` +
          'open the engine with a larger maxContext, or ask for less',
        { details: { promptTokens: promptLength, maxTokens: asked, maxContext } },
      )
    }
    return asked ?? left
  }

  #sampling(options: GenerationOptions): NativeSampling {
    const { seed, logitBias, allowedIds, forced, logprobs, ...plain } = options.sampling
    const ends = options.ignoreEos ? [] : Array.from(this.info.config.eosTokenIds)
    const bias = Object.entries(logitBias ?? {})
    return {
      ...plain,
      seed: seed ?? Math.floor(Math.random() * 2 ** 48),
      stopIds: Int32Array.from(new Set([...ends, ...options.stopIds])),
      ...(bias.length > 0 && {
        biasIds: Int32Array.from(bias, ([id]) => Number(id)),
        bias: Float64Array.from(bias, ([, value]) => value),
      }),
      ...(forced !== undefined && { forced }),
      ...(allowedIds !== undefined && { allowedIds: Int32Array.from(allowedIds) }),
      ...(logprobs !== undefined && { logprobs: true, topLogprobs: logprobs }),
    }
  }
}

/** A tenant's number in the prefix index: 52 bits of its hash, so that the same tenant finds its KV again. 0: nobody's in particular. */
function saltOf(tenant: string): number {
  return tenant === '' ? 0 : Number(createHash('sha256').update(tenant).digest().readBigUInt64BE() >> 12n) || 1
}
