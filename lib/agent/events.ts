import type { FinishReason } from '../engine/request.js'
import type { SwapPlan } from '../policy/compress.js'
import type { RouteReason, Which } from '../policy/route.js'
import type { LimitName, Spent } from './budget.js'
import type { ToolCall } from './transcript.js'

/** Why a run ended. `silent`: neither a call nor an answer, again and again; `context`: no room left for another turn. */
export type EndReason = 'answer' | LimitName | 'silent' | 'context' | 'abort'

/** What a generation was for: a turn, one that the other model wrote again, a verdict on progress, a memory, or KV that will be needed. */
export type UsagePurpose = 'turn' | 'withdrawn' | 'progress' | 'distil' | 'warm' | 'precompute'

/** What a generation cost. Tokens of the prompt: in all, found in the cache; milliseconds. */
export interface UsageEvent {
  readonly type: 'usage'
  readonly turn: number
  readonly model: Which
  readonly purpose: UsagePurpose
  readonly promptTokens: number
  readonly cachedTokens: number
  readonly completionTokens: number
  readonly milliseconds: number
  readonly finishReason?: FinishReason
  readonly queued: number
  readonly prefill: number
  /** The first turn after a change of model: promptTokens - cachedTokens were computed for it, `appended` of which were new to everybody. */
  readonly switched?: { readonly from: Which; readonly warm: boolean; readonly appended: number }
}

/** A memory is being made of old observations, and takes their place. */
export type CompressEvent = { readonly type: 'compress'; readonly turn: number } & (
  | { readonly phase: 'launch'; readonly plan: SwapPlan; readonly rule: string }
  | { readonly phase: 'ready'; readonly memory: string; readonly milliseconds: number }
  | { readonly phase: 'swap'; readonly before: number; readonly after: number; readonly kept: number; readonly replaced: readonly string[] }
  | { readonly phase: 'fail' | 'late'; readonly reason: string }
  /** A model that takes over does not read these observations; `saved`: tokens, about. */
  | { readonly phase: 'omit'; readonly model: Which; readonly omitted: readonly string[]; readonly saved: number }
)

/** What the reader of a run gets. */
export type AgentEvent =
  /** Again for the same turn when the other model writes it again (`escalate` with the reason `doubt`): what was said in it is withdrawn. */
  | { readonly type: 'turn'; readonly turn: number; readonly model: Which }
  /** Pieces as they come. `retract`: the text shown so far in this turn was thinking. */
  | { readonly type: 'delta'; readonly turn: number; readonly channel: 'thinking' | 'text' | 'retract'; readonly text: string }
  | { readonly type: 'think'; readonly turn: number; readonly model: Which; readonly text: string }
  | { readonly type: 'tool-call'; readonly turn: number; readonly call: ToolCall }
  | {
      readonly type: 'observation'
      readonly turn: number
      readonly call: ToolCall
      readonly text: string
      /** Where the archive keeps the full text. */
      readonly ref: string | undefined
      readonly ok: boolean
      readonly milliseconds: number
    }
  | { readonly type: 'progress'; readonly turn: number; readonly model: Which; readonly probability: number | undefined; readonly reason: string }
  | {
      readonly type: 'escalate'
      readonly turn: number
      readonly from: Which
      readonly to: Which
      readonly reason: RouteReason
      readonly stuck: number
    }
  | CompressEvent
  | UsageEvent
  /** What an agent does that was called as a tool. */
  | { readonly type: 'agent'; readonly agent: string; readonly id: string; readonly event: AgentEvent }
  | { readonly type: 'answer'; readonly turn: number; readonly text: string }
  | { readonly type: 'end'; readonly reason: EndReason; readonly spent: Spent }

/** All but pieces of text as they come, here or in an agent that was called: what those are pieces of is told again as a whole. */
export function isWhole(event: AgentEvent): event is Exclude<AgentEvent, { readonly type: 'delta' }> {
  return event.type === 'agent' ? isWhole(event.event) : event.type !== 'delta'
}

/** One in place of two neighbouring deltas of a turn and channel. */
function joined(before: AgentEvent | undefined, event: AgentEvent): AgentEvent | undefined {
  if (before?.type === 'agent' && event.type === 'agent' && before.id === event.id) {
    const inner = joined(before.event, event.event)
    return inner && { ...event, event: inner }
  }
  const same = before?.type === 'delta' && event.type === 'delta' && before.turn === event.turn && before.channel === event.channel
  return same ? { ...before, text: before.text + event.text } : undefined
}

/**
 * Events waiting for their reader. Neighbouring deltas of one channel become one, so a slow reader costs little. While there is no reader at
 * all, deltas are kept for the turn they belong to only, and those of called agents not at all: what stays are the events that the run's
 * record has as well.
 */
export class EventQueue {
  #events: AgentEvent[] = []
  /** Of `#events`: before it are no deltas, while nobody reads. */
  #border = 0
  #reads = false
  #wake: (() => void) | undefined
  #ended = false
  #error: { readonly value: unknown } | undefined

  push(event: AgentEvent): void {
    if (!this.#reads && event.type === 'turn') this.#forgetDeltas()
    if (!this.#reads && event.type === 'agent' && !isWhole(event)) return
    const both = joined(this.#events.at(-1), event)
    if (both === undefined) this.#events.push(event)
    else this.#events[this.#events.length - 1] = both
    this.#wake?.()
  }

  #forgetDeltas(): void {
    for (const event of this.#events.splice(this.#border)) if (isWhole(event)) this.#events.push(event)
    this.#border = this.#events.length
  }

  end(error?: { readonly value: unknown }): void {
    this.#ended = true
    this.#error = error
    this.#wake?.()
  }

  get ended(): boolean {
    return this.#ended
  }

  async *read(): AsyncGenerator<AgentEvent, void, undefined> {
    this.#reads = true
    for (;;) {
      const events = this.#events
      this.#events = []
      yield* events
      if (this.#events.length > 0) continue
      if (this.#error !== undefined) throw this.#error.value
      if (this.#ended) return
      await new Promise<void>((resolve) => (this.#wake = resolve))
      this.#wake = undefined
    }
  }
}
