import { AgentInferError, fromNative } from '../errors.js'
import { native } from '../native.js'
import type {
  NativeEngine,
  NativeEngineEvents,
  NativeEngineInfo,
  NativeEngineOptions,
  NativeSampling,
  NativeTokenizer,
} from '../native.js'
import { engineOptionsSchema, generateOptionsSchema, parseOptions } from '../options.js'
import type { EngineOptions, GenerateOptions, ResolvedGenerateOptions } from '../options.js'
import { loadChatTemplate } from '../text/chat_template.js'
import type { ChatTemplate, LoadedChatTemplate } from '../text/chat_template.js'
import { StepLoop } from './loop.js'
import type { LoopStats } from './loop.js'
import { promptTokens } from './prompt.js'
import { Request } from './request.js'
import { StopText } from './stop_text.js'
import { GenerationStream } from './stream.js'

/** Facts about an open engine: the model, where it runs, and what it took (bytes). */
export interface EngineInfo extends NativeEngineInfo {
  device: 'cpu'
}

/**
 * One model on one device, with its KV pool and its own thread. Any number of generations share it; each is batched with the others
 * and none can change another's output.
 */
export class Engine implements AsyncDisposable {
  readonly info: EngineInfo
  readonly #native: NativeEngine
  readonly #tokenizer: NativeTokenizer
  readonly #templates: LoadedChatTemplate
  readonly #loop: StepLoop
  readonly #closed: Promise<void>
  #closing = false
  #nextId = 1

  private constructor(parts: Opened, tokenizer: NativeTokenizer, templates: LoadedChatTemplate, maxQueue: number) {
    this.info = { ...parts.info, device: 'cpu' }
    this.#native = parts.native
    this.#tokenizer = tokenizer
    this.#templates = templates
    this.#closed = parts.closed
    const { maxBatchTokens, maxSequences } = parts.info
    this.#loop = new StepLoop(parts.native, { maxBatchTokens, maxSequences, maxQueue })
    parts.route({
      result: (result) => this.#loop.result(result),
      rejected: ({ id, error }) => this.#loop.rejected(id, error),
    })
    this.#native.unref()
  }

  /**
   * Loads a checkpoint folder. Nothing blocks the event loop.
   * @throws {AgentInferError} `ERR_MODEL_INVALID`, `ERR_MODEL_UNSUPPORTED`, `ERR_IO`, `ERR_OUT_OF_MEMORY`, `ERR_INVALID_ARGUMENT`;
   * the signal's reason when aborted.
   */
  static async open(options: EngineOptions): Promise<Engine> {
    const resolved = parseOptions(engineOptionsSchema, options, 'Engine.open')
    resolved.signal?.throwIfAborted()
    const addon = native()
    const { model, device: _device, signal, onProgress, maxQueue, ...rest } = resolved
    const nativeOptions = Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== undefined))
    const opening = openNative({ folder: model, ...nativeOptions }, onProgress, signal)
    opening.catch(() => undefined) // it may fail before it is awaited below
    try {
      const [tokenizer, templates] = await Promise.all([addon.openTokenizer(model), loadChatTemplate(model)])
      const parts = await opening
      signal?.throwIfAborted()
      return new Engine(parts, tokenizer, templates, maxQueue)
    } catch (error) {
      // The tokenizer failed, or loading was aborted: let the engine go as well.
      await opening.then((parts) => parts.native.close()).catch(() => undefined)
      throw fromNative(error)
    }
  }

  /**
   * Starts a generation and returns at once.
   * @throws {AgentInferError} `ERR_INVALID_ARGUMENT` for wrong options, `ERR_CLOSED`. Everything later comes through the stream.
   */
  generate(options: GenerateOptions): GenerationStream {
    const resolved = parseOptions(generateOptionsSchema, options, 'generate')
    this.#assertOpen()
    const id = this.#nextId++
    const state: { request?: Request; abandoned: boolean } = { abandoned: false }
    const stream = new GenerationStream(() => {
      state.abandoned = true
      if (state.request !== undefined) {
        this.#loop.remove(id)
        state.request.finish('abort', performance.now())
      }
    })
    this.#start(id, resolved, stream, state).catch((error: unknown) => stream.fail(fromNative(error)))
    return stream
  }

  async #start(
    id: number,
    options: ResolvedGenerateOptions,
    stream: GenerationStream,
    state: { request?: Request; abandoned: boolean },
  ): Promise<void> {
    const { signal } = options
    signal?.throwIfAborted()
    const createdAt = performance.now()
    const tokens = await promptTokens(options, this.#tokenizer, (override) => this.#template(override))
    signal?.throwIfAborted()
    this.#assertOpen()
    const request = new Request({
      id,
      tokens,
      maxTokens: this.#maxTokens(tokens.length, options.maxTokens),
      sampling: this.#sampling(options),
      priority: options.priority,
      stream,
      detokenizer: this.#tokenizer.detokenizer(!options.keepSpecial),
      stopText: new StopText(typeof options.stop === 'string' ? [options.stop] : (options.stop ?? [])),
      createdAt,
    })
    state.request = request
    if (state.abandoned) return request.finish('abort', performance.now())
    this.#loop.add(request)
    if (signal !== undefined) this.#abortWith(signal, request)
  }

  #abortWith(signal: AbortSignal, request: Request): void {
    const abort = (): void => {
      this.#loop.remove(request.id)
      request.fail(signal.reason)
    }
    signal.addEventListener('abort', abort, { once: true })
    const forget = (): void => signal.removeEventListener('abort', abort)
    request.init.stream.response.then(forget, forget)
  }

  /** Text to ids as `generate` does it, without a template and without BOS. */
  async tokenize(text: string, options: { parseSpecial?: boolean } = {}): Promise<Int32Array> {
    this.#assertOpen()
    return await this.#tokenizer.encodeAsync([{ text, special: options.parseSpecial ?? false }])
  }

  detokenize(ids: Int32Array | readonly number[], options: { skipSpecial?: boolean } = {}): string {
    try {
      return this.#tokenizer.decode(Int32Array.from(ids), options.skipSpecial ?? false)
    } catch (error) {
      throw fromNative(error)
    }
  }

  stats(): LoopStats {
    return this.#loop.stats()
  }

  health(): ReturnType<StepLoop['health']> {
    return this.#loop.health()
  }

  /** Refuses new work, fails what is running with `ERR_CLOSED`, waits for the step in flight and frees everything. Idempotent. */
  async close(): Promise<void> {
    if (!this.#closing) {
      this.#closing = true
      this.#native.ref()
      this.#loop.failAll(new AgentInferError('ERR_CLOSED', 'the engine was closed'))
      this.#native.close()
    }
    await this.#closed
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  #template(override: string | undefined): ChatTemplate {
    const template = override === undefined ? this.#templates.own : this.#templates.make(override)
    if (template === undefined)
      throw new AgentInferError('ERR_CHAT_TEMPLATE', 'the model has no chat template: pass chatTemplate, or use prompt')
    return template
  }

  #assertOpen(): void {
    if (this.#closing) throw new AgentInferError('ERR_CLOSED', 'the engine is closed')
  }

  #maxTokens(promptLength: number, asked: number | undefined): number {
    const left = this.info.maxContext - promptLength
    if (promptLength === 0) throw new AgentInferError('ERR_INVALID_ARGUMENT', 'the prompt is empty: expected at least one token')
    if (left < 1 || (asked !== undefined && asked > left)) {
      throw new AgentInferError(
        'ERR_CONTEXT_LENGTH',
        `${promptLength} prompt tokens and ${asked ?? 1} to generate do not fit a context of ${this.info.maxContext}; ` +
          'open the engine with a larger maxContext, or ask for less',
        { details: { promptTokens: promptLength, maxTokens: asked, maxContext: this.info.maxContext } },
      )
    }
    return asked ?? left
  }

  #sampling(options: ResolvedGenerateOptions): NativeSampling {
    const { seed, logitBias, allowedIds, logprobs, ...plain } = options.sampling
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
      ...(allowedIds !== undefined && { allowedIds: Int32Array.from(allowedIds) }),
      ...(logprobs !== undefined && { logprobs: true, topLogprobs: logprobs }),
    }
  }
}

type Handlers = Pick<{ [K in keyof NativeEngineEvents]: (value: NativeEngineEvents[K]) => void }, 'result' | 'rejected'>

interface Opened {
  native: NativeEngine
  info: NativeEngineInfo
  closed: Promise<void>
  /** Events from here on go to these. Nothing but `closed` can come before. */
  route(handlers: Handlers): void
}

/** Opens the native engine: resolves on `opened`, rejects on `failed` or with the signal's reason. */
function openNative(
  options: NativeEngineOptions,
  onProgress: ((progress: { done: number; total: number }) => void) | undefined,
  signal: AbortSignal | undefined,
): Promise<Opened> {
  return new Promise((resolve, reject) => {
    let handlers: Handlers | undefined
    let resolveClosed!: () => void
    const closed = new Promise<void>((done) => (resolveClosed = done))
    const events: { [K in keyof NativeEngineEvents]: (value: NativeEngineEvents[K]) => void } = {
      progress: (progress) => onProgress?.(progress),
      opened: (info) => {
        signal?.removeEventListener('abort', abort)
        // Aborted when loading was already over: abort() has closed the engine.
        if (signal?.aborted === true) reject(signal.reason as Error)
        else resolve({ native: engine, info, closed, route: (to) => (handlers = to) })
      },
      failed: (error) => {
        signal?.removeEventListener('abort', abort)
        reject(signal?.aborted === true ? signal.reason : fromNative(error))
      },
      rejected: (value) => handlers?.rejected(value),
      result: (value) => handlers?.result(value),
      checked: () => undefined,
      closed: () => resolveClosed(),
    }
    const engine = new (native().NativeEngine)(options, (kind, value) => (events[kind] as (value: unknown) => void)(value))
    const abort = (): void => engine.close()
    signal?.addEventListener('abort', abort, { once: true })
  })
}
