/**
 * What the agent layer needs of an engine. `Engine` is one; tests and recorded traces bring their own. Nothing here is owned by this
 * folder: a session's tokens only grow, its KV is found again by prefix, and everything can be aborted.
 */
import type { GenerationResponse } from '../engine/request.js'
import type { SessionMark } from '../engine/session.js'
import type { Delta } from '../engine/stream.js'
import type { Message, SamplingOptions, SessionInput } from '../options.js'
import type { ModelSize } from '../policy/compress_costs.js'
import type { SessionActivity } from '../policy/types.js'

/** What agents need of an engine; `Engine` is one. */
export interface AgentEngine {
  readonly info: { readonly maxContext: number; readonly blockSize: number; readonly config?: ModelSize }
  /** As `engine.session`. */
  session(options?: AgentSessionOptions): AgentSession
  /** As `engine.detokenize`. */
  detokenize(ids: readonly number[]): string
  /** As `engine.stats`. */
  stats(): AgentEngineStats
}

/** What agents read of an engine's figures. */
export interface AgentEngineStats {
  /** KV blocks. */
  readonly pool: { readonly total: number }
  /** Tokens of all open sessions. */
  readonly sessionTokens: number
  readonly sched: { readonly figures: Readonly<Record<string, number>> }
}

/** What agents ask of a session; as `SessionOptions`. */
export interface AgentSessionOptions {
  messages?: Message[]
  tenant?: string
  /** Sessions of one role write alike. */
  role?: string
  /** Sessions of one run belong together. */
  run?: string
  priority?: number
  name?: string
}

/** What agents ask of a generation; as `SessionGenerateOptions`. */
export interface AgentGenerateOptions {
  maxTokens?: number
  sampling?: SamplingOptions
  stop?: string | string[]
  priority?: number
  signal?: AbortSignal
  append?: boolean
  lead?: string
}

/** What came of a generation. */
export type AgentResponse = Pick<GenerationResponse, 'text' | 'tokens' | 'finishReason' | 'usage' | 'timings'>

/** A generation as agents read it. */
export interface AgentStream extends AsyncIterable<Delta> {
  readonly response: Promise<AgentResponse>
}

/** What agents need of a session; `Session` is one. */
export interface AgentSession {
  readonly length: number
  /** As `session.append`. */
  append(input: SessionInput): Promise<void>
  /** As `session.generate`. */
  generate(options?: AgentGenerateOptions): AgentStream
  /** As `session.prefill`. */
  prefill(options?: { priority?: number; signal?: AbortSignal }): Promise<{ cachedTokens: number; computedTokens: number }>
  /** As `session.mark`. */
  mark(): SessionMark
  /** As `session.fork`. */
  fork(options?: { name?: string; role?: string; at?: SessionMark }): AgentSession
  /** As `session.activity`. */
  activity(state: SessionActivity): void
  /** As `session.release`. */
  release(): void
}
