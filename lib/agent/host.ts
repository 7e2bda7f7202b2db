/**
 * What the agent layer needs of an engine. `Engine` is one; tests and recorded traces bring their own. Nothing here is owned by this
 * folder: a session's tokens only grow, its KV is found again by prefix, and everything can be aborted.
 */
import type { GenerationResponse } from '../engine/request.js'
import type { PrefillResult, SessionMark } from '../engine/session.js'
import type { Delta } from '../engine/stream.js'
import type { SessionGenerateOptions, SessionInput, SessionOptions, SessionPrefillOptions } from '../options.js'
import type { ModelSize } from '../policy/compress_costs.js'
import type { SessionActivity } from '../policy/types.js'

/** What agents need of an engine; `Engine` is one. */
export interface AgentEngine {
  /** Facts that do not change; `engine.info` has them. */
  readonly info: {
    /** Tokens a request may have, prompt and output together. */
    readonly maxContext: number
    /** Tokens in a KV block. */
    readonly blockSize: number
    /** Sizes of the model. Absent: a model that nothing was measured of costs what the other one does. */
    readonly config?: ModelSize
  }
  /** As `engine.session`. */
  session(options?: AgentSessionOptions): AgentSession
  /** As `engine.detokenize`. */
  detokenize(ids: readonly number[]): string
  /** As `engine.stats`. */
  stats(): AgentEngineStats
}

/** What agents read of an engine's figures. */
export interface AgentEngineStats {
  /** Of KV. */
  readonly pool: {
    /** Blocks, used or not. */
    readonly total: number
  }
  /** Tokens of all open sessions. */
  readonly sessionTokens: number
  /** Of the scheduler. */
  readonly sched: {
    /** `lambda` is read, the shadow price of KV memory, 0..1, where it is there. */
    readonly figures: Readonly<Record<string, number>>
  }
}

/** What agents ask of a session. */
export type AgentSessionOptions = Pick<SessionOptions, 'messages' | 'tenant' | 'role' | 'run' | 'priority' | 'name'>

/** What agents ask of a generation. */
export type AgentGenerateOptions = Pick<SessionGenerateOptions, 'maxTokens' | 'sampling' | 'stop' | 'priority' | 'signal' | 'append' | 'lead'>

/** What came of a generation. */
export type AgentResponse = Pick<GenerationResponse, 'text' | 'tokens' | 'finishReason' | 'usage' | 'timings'>

/** A generation as agents read it. */
export interface AgentStream extends AsyncIterable<Delta> {
  /** The whole, when it has ended. */
  readonly response: Promise<AgentResponse>
}

/** What agents need of a session; `Session` is one. */
export interface AgentSession {
  /** Tokens known. */
  readonly length: number
  /** As `session.append`. */
  append(input: SessionInput): Promise<void>
  /** As `session.generate`. */
  generate(options?: AgentGenerateOptions): AgentStream
  /** As `session.prefill`. */
  prefill(options?: SessionPrefillOptions): Promise<PrefillResult>
  /** As `session.mark`. */
  mark(): SessionMark
  /** As `session.fork`. */
  fork(options?: { name?: string; role?: string; at?: SessionMark }): AgentSession
  /** As `session.activity`. */
  activity(state: SessionActivity): void
  /** As `session.release`. */
  release(): void
}
