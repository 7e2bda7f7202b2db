/** Engines that differ from the runtime in what no option changes: for ablations, and for other ways of drafting. */
import type { AgentEngine, AgentGenerateOptions, AgentSession, AgentSessionOptions, AgentStream, DraftContext, Engine, GenerateOptions } from 'agentinfer'

import { MergedThree } from '../draft/policies.js'

type RequestSpeculation = NonNullable<GenerateOptions['speculation']>

interface Change {
  readonly append?: (input: Parameters<AgentSession['append']>[0]) => Parameters<AgentSession['append']>[0]
  /** What drafts for a session, forks apart. */
  readonly drafting?: () => (fork: boolean) => RequestSpeculation
}

class ChangedSession implements AgentSession {
  readonly #session: AgentSession
  readonly #change: Change
  readonly #drafting: ((fork: boolean) => RequestSpeculation) | undefined
  readonly #fork: boolean

  constructor(session: AgentSession, change: Change, fork: boolean) {
    this.#session = session
    this.#change = change
    this.#fork = fork
    this.#drafting = change.drafting?.()
  }

  get length(): number {
    return this.#session.length
  }

  append(input: Parameters<AgentSession['append']>[0]): Promise<void> {
    return this.#session.append(this.#change.append?.(input) ?? input)
  }

  generate(options: AgentGenerateOptions = {}): AgentStream {
    const speculation = this.#drafting?.(this.#fork)
    return this.#session.generate({ ...options, ...(speculation !== undefined && { speculation }) })
  }

  prefill(...args: Parameters<AgentSession['prefill']>): ReturnType<AgentSession['prefill']> {
    return this.#session.prefill(...args)
  }

  mark(): ReturnType<AgentSession['mark']> {
    return this.#session.mark()
  }

  fork(...args: Parameters<AgentSession['fork']>): AgentSession {
    return new ChangedSession(this.#session.fork(...args), this.#change, true)
  }

  activity(...args: Parameters<AgentSession['activity']>): void {
    this.#session.activity(...args)
  }

  release(): void {
    this.#session.release()
  }
}

function changed(engine: Engine, change: Change): AgentEngine {
  return {
    info: engine.info,
    detokenize: (ids) => engine.detokenize(ids),
    stats: () => engine.stats(),
    session: (options?: AgentSessionOptions) => new ChangedSession(engine.session(options), change, false),
  }
}

/** Thinking is left out of what is written into a context anew, which is what a swap does with the turns behind its beginning. */
export function withoutReasoning(engine: Engine): AgentEngine {
  const append: Change['append'] = (input) =>
    Array.isArray(input)
      ? input.map((message) =>
          message.role === 'assistant' ? { ...message, content: message.content.replace(/\[unused16\].*?\[unused17\]/gs, '') } : message,
        )
      : input
  return changed(engine, { append })
}

/** Texts of sessions that others draft from. */
const kept = 8

/**
 * The paper's speculation (arXiv 2512.18337, section 6): one automaton over the session's own text and the latest others', and three tokens
 * of what followed the longest match, whatever that costs. Its forks are not drafted for.
 */
export function paperDrafts(): (engine: Engine) => AgentEngine {
  const texts: number[][] = []
  const drafting = (): ((fork: boolean) => RequestSpeculation) => {
    const text: number[] = []
    let policy: MergedThree | undefined
    const read = (tokens: readonly number[]): void => {
      policy!.read(tokens)
      text.push(...tokens)
    }
    return (fork) => {
      if (fork) return 'off'
      if (policy === undefined) {
        policy = new MergedThree(texts.slice(-kept))
        texts.push(text)
      }
      let seen = -1
      const drafter = ({ prompt, output }: DraftContext): number[] => {
        // After a swap the text goes on where it was: what was read stays in the automaton.
        if (seen < 0) read([...prompt.subarray(Math.min(text.length, prompt.length))])
        read(output.slice(Math.max(0, seen)))
        seen = output.length
        return policy!.draft()
      }
      return { sources: [], drafter }
    }
  }
  return (engine) => changed(engine, { drafting })
}
