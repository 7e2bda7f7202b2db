/**
 * An engine that does all its work and yet writes what a trace says: each token of a turn is the only one allowed at its place, so the
 * forward passes, the KV and the scheduling are real, with weights that know nothing. Questions on the side (PROGRESS, memories) are
 * answered by the weights themselves.
 */
import type { AgentEngine, AgentGenerateOptions, AgentResponse, AgentSession, AgentSessionOptions, AgentStream, Engine } from 'agentinfer'

/** Texts of the turns, markers included; given out in order, over all sessions and models that share it. */
export class Script {
  readonly #texts: readonly string[]
  #next = 0
  /** Milliseconds spent in generations of turns. */
  generating = 0

  constructor(texts: readonly string[]) {
    this.#texts = texts
  }

  next(): string {
    return this.#texts[this.#next++] ?? 'the end of the trace'
  }
}

/** The random checkpoints have no template of their own. */
const chatTemplate =
  "{% set names = {'system': '系统', 'user': '用户', 'assistant': '助手', 'tool': '工具'} %}" +
  "{% for message in messages %}{{ '[unused9]' + names[message['role']] + '：' + message['content'] + '[unused10]' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '[unused9]助手：' }}{% endif %}"

/** Random weights also choose ids that the tokenizer has no text for, and end tokens. */
const plainIds = Array.from({ length: 256 }, (_, index) => 300 + index)

export function forcedEngine(engine: Engine, script: Script): AgentEngine {
  return {
    info: engine.info,
    detokenize: (ids) => engine.detokenize(ids),
    stats: () => engine.stats(),
    session: (options?: AgentSessionOptions) => new ForcedSession(engine, engine.session({ ...options, chatTemplate }), script),
  }
}

class ForcedSession implements AgentSession {
  readonly #engine: Engine
  readonly #session: AgentSession
  readonly #script: Script

  constructor(engine: Engine, session: AgentSession, script: Script) {
    this.#engine = engine
    this.#session = session
    this.#script = script
  }

  get length(): number {
    return this.#session.length
  }

  append(...args: Parameters<AgentSession['append']>): Promise<void> {
    return this.#session.append(...args)
  }

  prefill(...args: Parameters<AgentSession['prefill']>): ReturnType<AgentSession['prefill']> {
    return this.#session.prefill(...args)
  }

  mark(): ReturnType<AgentSession['mark']> {
    return this.#session.mark()
  }

  fork(...args: Parameters<AgentSession['fork']>): AgentSession {
    return new ForcedSession(this.#engine, this.#session.fork(...args), this.#script)
  }

  activity(...args: Parameters<AgentSession['activity']>): void {
    this.#session.activity(...args)
  }

  release(): void {
    this.#session.release()
  }

  generate(options: AgentGenerateOptions = {}): AgentStream {
    if (options.lead !== undefined) return this.#session.generate({ ...options, sampling: { ...options.sampling, allowedIds: plainIds } })
    const response = this.#write(options)
    response.catch(() => undefined)
    return {
      response,
      async *[Symbol.asyncIterator]() {
        const { text, tokens } = await response
        yield { text, tokens }
      },
    }
  }

  async #write(options: AgentGenerateOptions): Promise<AgentResponse> {
    const started = performance.now()
    const text = this.#script.next()
    const written = await this.#engine.tokenize(text, { parseSpecial: true })
    const end = this.#engine.info.config.eosTokenIds[0]!
    const parts: AgentResponse[] = []
    for (const id of [...written, end]) {
      const sampling = { temperature: 1, seed: 1, allowedIds: [id] }
      parts.push(await this.#session.generate({ ...options, maxTokens: 1, sampling }).response)
    }
    const total = performance.now() - started
    this.#script.generating += total
    const [first, last] = [parts[0]!, parts.at(-1)!]
    const { queued, prefill } = first.timings
    return {
      text,
      tokens: [...written],
      finishReason: last.finishReason,
      usage: { ...first.usage, completionTokens: parts.length },
      timings: { queued, prefill, decode: total - queued - prefill, total },
    }
  }
}
