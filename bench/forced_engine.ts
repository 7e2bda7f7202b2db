/**
 * An engine that does all its work and yet writes what a trace says, by teacher forcing: the forward passes, the KV and the scheduling
 * are real, with weights that know nothing. Questions on the side (PROGRESS, memories) are answered by the weights themselves.
 */
import type { AgentEngine, AgentGenerateOptions, AgentSession, AgentSessionOptions, AgentStream, Engine } from 'agentinfer'

/** Texts of the turns, markers included; given out in order, over all sessions and models that share it. */
export class Script {
  readonly #texts: readonly string[]
  #next = 0
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
    const begun = this.#begin(options)
    const response = begun.then((stream) => stream.response)
    response.catch(() => undefined)
    return {
      response,
      async *[Symbol.asyncIterator]() {
        yield* await begun
      },
    }
  }

  async #begin(options: AgentGenerateOptions): Promise<AgentStream> {
    const written = await this.#engine.tokenize(this.#script.next(), { parseSpecial: true })
    const forced = [...written, this.#engine.info.config.eosTokenIds[0]!]
    return this.#session.generate({ ...options, maxTokens: forced.length, sampling: { temperature: 0, forced } })
  }
}
