/**
 * An engine whose model is a function: one token per character, openPangu's chat format, sessions and a prefix cache as the real one has
 * them. For tests of the agent layer alone.
 */
import type { AgentEngine, AgentEngineStats, AgentGenerateOptions, AgentSession, AgentSessionOptions, AgentStream } from 'agentinfer'

export type AskKind = 'turn' | 'reason' | 'value' | 'memory'

export interface Asked {
  readonly kind: AskKind
  /** The whole context, as text. */
  readonly prompt: string
  readonly lead: string
  /** How many of this kind were asked for before, in this engine. */
  readonly index: number
  readonly signal: AbortSignal
  readonly maxTokens: number
}

/** For `value` a number is the probability of TRUE. */
export type Reply = string | number
export type Script = (asked: Asked) => Reply | Promise<Reply>

const names: Record<string, string> = { system: '系统', user: '用户', assistant: '助手', tool: '工具' }
const word = { true: 900_001, false: 900_002 }

interface Mark {
  readonly tokens: number
  readonly turns: { readonly turns: number; readonly ended: string | undefined }
}

export interface ScriptedOptions {
  readonly maxContext?: number
  /** Whether it works out what is cached; default true. For long runs not. */
  readonly cache?: boolean
  /** Called before anything asynchronous goes on: where it is, in words. */
  readonly pause?: (what: string) => Promise<void>
  /** Tokens of KV there is room for; default: plenty. */
  readonly kvTokens?: number
  /** Of each piece of a reply, when log probabilities are asked for; default 1. */
  readonly confidence?: (reply: string) => number
}

export class ScriptedEngine implements AgentEngine {
  readonly info: { maxContext: number; blockSize: number }
  readonly script: Script
  readonly pause: (what: string) => Promise<void>
  readonly live = new Set<ScriptedSession>()
  /** Activities that were announced, in order. */
  readonly announced: string[] = []
  readonly asked: Record<AskKind, number> = { turn: 0, reason: 0, value: 0, memory: 0 }
  readonly prompts: string[] = []
  keepsPrompts = true
  opened = 0
  running = 0
  /** Failures to come, by what they fail: 'append', 'generate', 'prefill'. */
  failures: Record<string, number> = {}
  #computed = new Set<string>()
  readonly confidence: (reply: string) => number
  readonly #kvTokens: number
  readonly #caches: boolean

  constructor(script: Script, options: ScriptedOptions = {}) {
    this.info = { maxContext: options.maxContext ?? 1_000_000, blockSize: 32 }
    this.script = script
    this.pause = options.pause ?? (() => Promise.resolve())
    this.confidence = options.confidence ?? (() => 1)
    this.#caches = options.cache ?? true
    this.#kvTokens = options.kvTokens ?? 10_000_000
  }

  session(options: AgentSessionOptions = {}): ScriptedSession {
    return new ScriptedSession(this, '', options)
  }

  detokenize(ids: readonly number[]): string {
    return ids.map((id) => (id === word.true ? 'TRUE' : id === word.false ? 'FALSE' : String.fromCodePoint(id))).join('')
  }

  stats(): AgentEngineStats {
    const sessionTokens = [...this.live].reduce((sum, { length }) => sum + length, 0)
    return { pool: { total: this.#kvTokens / this.info.blockSize }, sessionTokens, sched: { figures: {} } }
  }

  /** Empties the cache, and what it remembers of earlier work. */
  forget(): void {
    this.#computed.clear()
    this.prompts.length = 0
    this.announced.length = 0
  }

  fail(what: string): void {
    const left = this.failures[what] ?? 0
    if (left <= 0) return
    this.failures[what] = left - 1
    throw new Error(`${what} failed`)
  }

  cached(text: string): number {
    if (!this.#caches) return 0
    let best = 0
    for (const known of this.#computed) {
      if (text.startsWith(known)) best = Math.max(best, known.length)
      else best = Math.max(best, common(known, text))
    }
    return best
  }

  compute(text: string): void {
    if (!this.#caches) return
    for (const known of this.#computed) if (text.startsWith(known)) this.#computed.delete(known)
    this.#computed.add(text)
  }
}

export class ScriptedSession implements AgentSession {
  readonly engine: ScriptedEngine
  readonly options: AgentSessionOptions
  text: string
  #released = false
  #open = false
  #generating = false
  #prefills = new Set<AbortController>()

  constructor(engine: ScriptedEngine, text: string, options: AgentSessionOptions) {
    this.engine = engine
    this.options = options
    this.text = text
    engine.live.add(this)
    ++engine.opened
  }

  get length(): number {
    return this.text.length
  }

  async append(input: unknown): Promise<void> {
    this.#assertLive()
    await this.engine.pause('append')
    this.#assertLive()
    this.engine.fail('append')
    if (this.#open) this.text += '[unused10]'
    this.#open = false
    for (const { role, content } of input as { role: string; content: string }[])
      this.text += `[unused9]${names[role]!}：${content}[unused10]`
  }

  generate(options: AgentGenerateOptions = {}): AgentStream {
    this.#assertLive()
    if (this.#generating) throw new Error('busy')
    this.#generating = true
    for (const controller of this.#prefills) controller.abort(new Error('a generation began'))
    const { engine } = this
    const lead = options.lead ?? ''
    const prompt = `${this.text}[unused9]助手：${lead}`
    const signal = options.signal ?? new AbortController().signal
    const kind = kindOf(lead)
    const maxTokens = options.maxTokens ?? 1000
    ++engine.running
    const work = async () => {
      signal.throwIfAborted()
      const index = engine.asked[kind]++
      if (kind === 'turn' && engine.keepsPrompts) engine.prompts.push(prompt)
      await engine.pause(kind)
      engine.fail('generate')
      const reply = await abortable(Promise.resolve(engine.script({ kind, prompt, lead, index, signal, maxTokens })), signal)
      signal.throwIfAborted()
      const cachedTokens = engine.cached(prompt)
      const whole = typeof reply === 'number' ? (reply >= 0.5 ? 'TRUE' : 'FALSE') : reply
      const text = whole.slice(0, maxTokens)
      engine.compute(prompt + text)
      const cut = text.length < whole.length
      if (options.append !== false) {
        this.text = prompt + text + (cut ? '' : '[unused10]')
        this.#open = cut
      }
      return {
        reply,
        response: {
          text,
          tokens: Array.from(text, (c) => c.codePointAt(0)!),
          finishReason: cut ? ('length' as const) : ('stop' as const),
          usage: { promptTokens: prompt.length, cachedTokens, completionTokens: text.length },
          timings: { queued: 0, prefill: (prompt.length - cachedTokens) / 1000, decode: text.length / 100, total: 1 },
        },
      }
    }
    const done = work().finally(() => {
      --engine.running
      this.#generating = false
    })
    const response = done.then((end) => end.response)
    response.catch(() => undefined)
    return {
      response,
      async *[Symbol.asyncIterator]() {
        const { reply, response: end } = await done
        const p = typeof reply === 'number' ? reply : undefined
        const top = p === undefined ? [] : [{ token: word.true, logprob: Math.log(p) }, { token: word.false, logprob: Math.log(1 - p) }]
        const size = Math.max(1, Math.ceil(end.text.length / 3))
        for (let at = 0; at < end.text.length; at += size) {
          const logprob = p === undefined ? Math.log(engine.confidence(end.text)) : 0
          const logprobs = p === undefined || at === 0 ? [{ token: 0, logprob, top }] : []
          yield { text: end.text.slice(at, at + size), tokens: [], ...(options.sampling?.logprobs !== undefined && { logprobs }) }
        }
      },
    }
  }

  async prefill(options: { signal?: AbortSignal } = {}): Promise<{ cachedTokens: number; computedTokens: number }> {
    this.#assertLive()
    const controller = new AbortController()
    this.#prefills.add(controller)
    ++this.engine.running
    try {
      const { text } = this
      await this.engine.pause('prefill')
      options.signal?.throwIfAborted()
      const cachedTokens = this.engine.cached(text)
      if (controller.signal.aborted || this.#released) return { cachedTokens, computedTokens: 0 }
      this.engine.fail('prefill')
      this.engine.compute(text)
      return { cachedTokens, computedTokens: text.length - cachedTokens }
    } finally {
      --this.engine.running
      this.#prefills.delete(controller)
    }
  }

  mark(): Mark {
    return { tokens: this.text.length, turns: { turns: 0, ended: this.#open ? '' : undefined } }
  }

  fork(options: { at?: Mark } = {}): ScriptedSession {
    this.#assertLive()
    const other = new ScriptedSession(this.engine, this.text.slice(0, options.at?.tokens), this.options)
    other.#open = options.at === undefined ? this.#open : options.at.turns.ended === ''
    return other
  }

  activity(state: { kind: string; tool?: string }): void {
    this.#assertLive()
    this.engine.announced.push(state.tool === undefined ? state.kind : `${state.kind} ${state.tool}`)
  }

  release(): void {
    if (this.#released) return
    this.#released = true
    for (const controller of this.#prefills) controller.abort(new Error('released'))
    this.engine.live.delete(this)
    this.engine.announced.push('released')
  }

  #assertLive(): void {
    if (this.#released) throw new Error('the session was released')
  }
}

function common(a: string, b: string): number {
  let [low, high] = [0, Math.min(a.length, b.length)]
  while (low < high) {
    const middle = Math.ceil((low + high) / 2)
    if (a.slice(low, middle) === b.slice(low, middle)) low = middle
    else high = middle - 1
  }
  return low
}

function kindOf(lead: string): AskKind {
  if (lead.startsWith('===MEMORY===')) return 'memory'
  if (lead.endsWith('<value>')) return 'value'
  return lead === '' ? 'turn' : 'reason'
}

function abortable<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(signal.reason as Error)
    signal.addEventListener('abort', abort, { once: true })
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort))
  })
}

/** What a model writes to call tools. */
export function call(...calls: readonly [name: string, args: Record<string, unknown>][]): string {
  return `[unused11]${JSON.stringify(calls.map(([name, args]) => ({ name, arguments: args })))}[unused12]`
}

export function think(text: string): string {
  return `[unused16]${text}[unused17]`
}

/** Replies to turns in order; progress is always likely, memories are short. */
export function turns(list: readonly string[], others: Partial<Record<Exclude<AskKind, 'turn'>, Script>> = {}): Script {
  return (asked) => {
    if (asked.kind === 'turn') return list[Math.min(asked.index, list.length - 1)]!
    const script = others[asked.kind]
    if (script !== undefined) return script(asked)
    return asked.kind === 'value' ? 0.9 : asked.kind === 'reason' ? 'something new' : 'the facts'
  }
}
