/**
 * What the agent layer needs of an engine. `Engine` is one; tests and recorded traces bring their own. Nothing here is owned by this
 * folder: a session's tokens only grow, its KV is found again by prefix, and everything can be aborted.
 */
import type { GenerationResponse } from '../engine/request.js'
import type { SessionMark } from '../engine/session.js'
import type { Delta } from '../engine/stream.js'
import type { Message, SamplingOptions, SessionInput } from '../options.js'
import type { SessionActivity } from '../policy/types.js'

export interface AgentEngine {
  readonly info: { readonly maxContext: number; readonly blockSize: number }
  session(options?: AgentSessionOptions): AgentSession
  detokenize(ids: readonly number[]): string
  stats(): AgentEngineStats
}

export interface AgentEngineStats {
  /** KV blocks. */
  readonly pool: { readonly total: number }
  /** Tokens of all open sessions. */
  readonly sessionTokens: number
  readonly sched: { readonly figures: Readonly<Record<string, number>> }
}

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

export interface AgentStream extends AsyncIterable<Delta> {
  readonly response: Promise<AgentResponse>
}

export interface AgentSession {
  readonly length: number
  append(input: SessionInput): Promise<void>
  generate(options?: AgentGenerateOptions): AgentStream
  prefill(options?: { priority?: number; signal?: AbortSignal }): Promise<{ cachedTokens: number; computedTokens: number }>
  mark(): SessionMark
  fork(options?: { name?: string; role?: string; at?: SessionMark }): AgentSession
  activity(state: SessionActivity): void
  release(): void
}
