import { AgentInferError, fromNative } from '../errors.js'
import { native } from '../native.js'
import type {
  NativeEngine,
  NativeEngineEvents,
  NativeEngineInfo,
  NativeEngineOptions,
  NativeTokenizer,
} from '../native.js'
import { engineOptionsSchema, generateOptionsSchema, parseOptions, refuseUnknown } from '../option_schemas.js'
import type { EngineOptions, GenerateOptions, SessionOptions } from '../options.js'
import { loadChatTemplate } from '../text/chat_template.js'
import { makeScheduler } from '../policy/schedulers.js'
import type { Scheduler } from '../policy/types.js'
import type { LoadedChatTemplate } from '../text/chat_template.js'
import { onAbort } from './abort.js'
import { Intake } from './intake.js'
import { StepLoop } from './loop.js'
import { TemplateMemory } from './miss.js'
import { promptTokens } from './prompt.js'
import { Session } from './session.js'
import { Sessions } from './sessions.js'
import { nativeSpeculation, topicOf } from './speculation.js'
import type { EngineHealth, EngineStats } from './stats.js'
import type { GenerationStream } from './stream.js'

/** Facts about an open engine: the model, where it runs, and what it took (bytes). @interface */
export type EngineInfo = NativeEngineInfo

/**
 * One model on one device, with its KV pool and its own thread. Any number of generations share it; each is batched with the others
 * and none can change another's output.
 */
export class Engine implements AsyncDisposable {
  /** Does not change while it is open, and stays when it is closed. */
  readonly info: EngineInfo
  readonly #native: NativeEngine
  readonly #intake: Intake
  readonly #loop: StepLoop
  readonly #sessions = new Sessions()
  readonly #templates = new TemplateMemory()
  readonly #closed: Promise<void>
  #closing = false

  private constructor(
    parts: Opened,
    tokenizer: NativeTokenizer,
    templates: LoadedChatTemplate,
    loop: { maxQueue: number; scheduler: Scheduler },
    maxDraft: number,
  ) {
    this.info = parts.info
    this.#native = parts.native
    this.#closed = parts.closed
    const { maxBatchTokens, maxSequences, blockSize, blocks, hostBlocks } = parts.info
    const limits = { maxBatchTokens, maxSequences, blockSize }
    this.#loop = new StepLoop(parts.native, this.#sessions, { limits, blocks, hostBlocks, ...loop })
    this.#intake = new Intake(tokenizer, parts.info, templates, this.#loop, maxDraft)
    parts.route({
      result: (result) => this.#loop.result(result),
      rejected: ({ id, error }) => this.#loop.rejected(id, error),
    })
    this.#native.unref()
  }

  /**
   * Loads a checkpoint folder. Nothing blocks the event loop.
   * @throws {AgentInferError} `ERR_MODEL_INVALID`, `ERR_MODEL_UNSUPPORTED`, `ERR_IO`, `ERR_OUT_OF_MEMORY`, `ERR_INVALID_ARGUMENT`, `ERR_DEVICE`,
   * `ERR_CHAT_TEMPLATE`, `ERR_ADDON_NOT_FOUND`; the signal's reason when aborted, and what `onProgress` throws.
   */
  static async open(options: EngineOptions): Promise<Engine> {
    const resolved = parseOptions(engineOptionsSchema, options, 'Engine.open')
    resolved.signal?.throwIfAborted()
    const addon = native()
    const { model, signal, onProgress, maxQueue, scheduler: chosen, speculation, ...rest } = resolved
    const scheduler = makeScheduler(chosen)
    const nativeOptions = Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== undefined))
    const drafts = speculation === undefined ? {} : { speculation: nativeSpeculation(speculation) }
    const stop = new AbortController()
    const deaf = signal === undefined ? undefined : onAbort(signal, () => stop.abort(signal.reason))
    const opening = openNative({ folder: model, ...nativeOptions, ...drafts }, onProgress, stop.signal)
    opening.catch(() => undefined) // it may fail before it is awaited below
    try {
      const templates = await loadChatTemplate(model) // first: it says that there is no such folder, where others miss a file
      const tokenizer = await addon.openTokenizer(model)
      const parts = await opening
      signal?.throwIfAborted()
      if (parts.info.deviceNote.startsWith('self-check')) process.emitWarning(parts.info.deviceNote, 'AgentInferWarning')
      return new Engine(parts, tokenizer, templates, { maxQueue, scheduler }, speculation?.maxDraft ?? 0)
    } catch (error) {
      // The tokenizer or the template failed, or loading was aborted: nobody waits for the weights, and the engine goes as well.
      stop.abort(error)
      await opening.then((parts) => parts.native.close()).catch(() => undefined)
      throw fromNative(error)
    } finally {
      deaf?.()
    }
  }

  /**
   * Starts a generation and returns at once.
   * @throws {AgentInferError} `ERR_INVALID_ARGUMENT` for wrong options, `ERR_CLOSED`. Everything later comes through the stream.
   */
  generate(options: GenerateOptions): GenerationStream {
    const resolved = parseOptions(generateOptionsSchema, options, 'generate')
    this.#assertOpen()
    const { tenant, messages, chatTemplate } = resolved
    const templateChanged = this.#templates.changed(tenant, messages?.[0], chatTemplate)
    const drafting = { inSession: false, ...(messages === undefined ? {} : topicOf(messages)) }
    return this.#intake.start(resolved, { tenant, templateChanged, drafting }, async () => {
      const tokens = await promptTokens(resolved, this.#intake.tokenizer, (override) => this.#intake.template(override))
      this.#assertOpen()
      return tokens
    })
  }

  /**
   * A conversation that keeps its tokens, and finds its KV again turn after turn. Returns at once: its messages are tokenised when
   * their turn comes, and what is wrong with them is said by whatever uses the session first.
   * @throws {AgentInferError} `ERR_INVALID_ARGUMENT` for wrong options, `ERR_CLOSED`.
   */
  session(options: SessionOptions = {}): Session {
    this.#assertOpen()
    return new Session(
      {
        intake: this.#intake,
        loop: this.#loop,
        sessions: this.#sessions,
        templates: this.#templates,
        assertOpen: () => this.#assertOpen(),
      },
      options,
    )
  }

  /**
   * Text to ids as `generate` does it, without a template and without BOS. `parseSpecial`: whether special markers in it become special
   * ids; default false.
   * @throws {AgentInferError} `ERR_INVALID_ARGUMENT`, `ERR_CLOSED`.
   */
  async tokenize(text: string, options: { parseSpecial?: boolean } = {}): Promise<Int32Array> {
    this.#assertOpen()
    refuseUnknown(options, ['parseSpecial'], 'tokenize')
    try {
      return await this.#intake.tokenizer.encodeAsync([{ text, special: options.parseSpecial ?? false }])
    } catch (error) {
      throw fromNative(error)
    }
  }

  /**
   * Ids to text. `skipSpecial` leaves special markers out; default false.
   * @throws {AgentInferError} `ERR_INVALID_ARGUMENT` for an id that the tokenizer does not have.
   */
  detokenize(ids: Int32Array | readonly number[], options: { skipSpecial?: boolean } = {}): string {
    refuseUnknown(options, ['skipSpecial'], 'detokenize')
    try {
      return this.#intake.tokenizer.decode(Int32Array.from(ids), options.skipSpecial ?? false)
    } catch (error) {
      throw fromNative(error)
    }
  }

  /** What it did and does; cheap enough to ask for every second. */
  stats(): EngineStats {
    return this.#loop.stats()
  }

  /** Whether it makes progress. A device error makes it unhealthy for good: close it and open another. */
  health(): EngineHealth {
    return this.#loop.health()
  }

  /** Refuses new work, fails what is running with `ERR_CLOSED`, waits for the step in flight and frees everything. Idempotent. */
  async close(): Promise<void> {
    if (!this.#closing) {
      this.#closing = true
      this.#native.ref()
      this.#loop.close(new AgentInferError('ERR_CLOSED', 'the engine was closed'))
      this.#native.close()
    }
    await this.#closed
  }

  /** `close`, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  #assertOpen(): void {
    if (this.#closing) throw new AgentInferError('ERR_CLOSED', 'the engine is closed')
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
  signal: AbortSignal,
): Promise<Opened> {
  return new Promise((resolve, reject) => {
    let handlers: Handlers | undefined
    let resolveClosed!: () => void
    const closed = new Promise<void>((done) => (resolveClosed = done))
    const events: { [K in keyof NativeEngineEvents]: (value: NativeEngineEvents[K]) => void } = {
      progress(progress) {
        try {
          onProgress?.(progress)
        } catch (error) {
          reject(error) // nobody else could catch it
          engine.close()
        }
      },
      opened: (info) => {
        signal.removeEventListener('abort', abort)
        // Aborted when loading was already over: abort() has closed the engine.
        if (signal.aborted) reject(signal.reason as Error)
        else resolve({ native: engine, info, closed, route: (to) => (handlers = to) })
      },
      failed: (error) => {
        signal.removeEventListener('abort', abort)
        reject(signal.aborted ? signal.reason : fromNative(error))
      },
      rejected: (value) => handlers?.rejected(value),
      result: (value) => handlers?.result(value),
      checked: () => undefined,
      closed() {
        resolveClosed()
        reject(new AgentInferError('ERR_OUT_OF_MEMORY', 'the engine ended, and there was no memory to say why')) // unless it was told
      },
    }
    const engine = new (native().NativeEngine)(options, (kind, value) => (events[kind] as (value: unknown) => void)(value))
    const abort = (): void => engine.close()
    signal.addEventListener('abort', abort, { once: true })
  })
}
