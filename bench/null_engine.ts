/** An engine that computes nothing and writes what it is given: what is left of a run is the agent layer itself. */
import type { AgentEngine, AgentGenerateOptions, AgentResponse, AgentSession, AgentStream } from 'agentinfer'

/** `write` gives the text of a turn; questions on the side get a few words. One token per character. */
export function nullEngine(write: () => string): AgentEngine {
  return {
    info: { maxContext: 1e9, blockSize: 32 },
    detokenize: () => 'TRUE',
    stats: () => ({ pool: { total: 1e6 }, sessionTokens: 0, sched: { figures: {} } }),
    session: () => new NullSession(write),
  }
}

class NullSession implements AgentSession {
  length: number
  readonly #write: () => string

  constructor(write: () => string, length = 0) {
    this.#write = write
    this.length = length
  }

  async append(input: Parameters<AgentSession['append']>[0]): Promise<void> {
    if (Array.isArray(input)) for (const { content } of input) this.length += content.length
  }

  generate(options: AgentGenerateOptions = {}): AgentStream {
    const text = options.lead === undefined ? this.#write() : 'some facts'
    const promptTokens = this.length
    if (options.append !== false) this.length += text.length
    const result: AgentResponse = {
      text,
      tokens: [],
      finishReason: 'stop',
      usage: { promptTokens, cachedTokens: Math.max(0, promptTokens - 50), completionTokens: 20 },
      timings: { queued: 0, prefill: 10, decode: 20, total: 30 },
    }
    const logprobs = [{ token: 1, logprob: 0, top: [{ token: 1, logprob: 0 }] }]
    return {
      response: Promise.resolve(result),
      async *[Symbol.asyncIterator]() {
        yield { text, tokens: [], logprobs }
      },
    }
  }

  async prefill(): Promise<{ cachedTokens: number; computedTokens: number }> {
    return { cachedTokens: this.length, computedTokens: 0 }
  }

  mark(): ReturnType<AgentSession['mark']> {
    return { tokens: this.length, turns: { turns: 0, ended: undefined } }
  }

  fork(options: Parameters<AgentSession['fork']>[0] = {}): AgentSession {
    return new NullSession(this.#write, options.at?.tokens ?? this.length)
  }

  activity(): void {
    // nobody schedules
  }

  release(): void {
    // nothing is held
  }
}
