import type { FinishReason } from '../engine/request.js'
import type { SwapPlan } from '../policy/compress.js'
import type { RouteReason, Which } from '../policy/route.js'
import type { LimitName, Spent } from './budget.js'
import type { ToolCall } from './transcript.js'

/** Why a run ended. `silent`: neither a call nor an answer, again and again; `context`: no room left for another turn. */
export type EndReason = 'answer' | LimitName | 'silent' | 'context' | 'abort'

/** What a generation was for: a turn, one that the other model wrote again, a verdict on progress, a memory, or KV that will be needed. */
export type UsagePurpose = 'turn' | 'withdrawn' | 'progress' | 'distil' | 'warm' | 'precompute'

/** Most events say in which turn. */
export interface InTurn {
  /** The first is 1; of what goes on in the background, the one that was last begun. */
  readonly turn: number
}

/** What a generation cost. */
export interface UsageEvent extends InTurn {
  /** After a generation, whatever it was for. */
  readonly type: 'usage'
  /** Who generated. */
  readonly model: Which
  /** What it was for. */
  readonly purpose: UsagePurpose
  /** Tokens of the whole prompt, found in the cache or not. */
  readonly promptTokens: number
  /** Of the prompt: tokens whose KV was found. */
  readonly cachedTokens: number
  /** Tokens generated, without the one that ended it; 0 where KV alone was wanted. */
  readonly completionTokens: number
  /** From the call to the end. */
  readonly milliseconds: number
  /** Absent where KV alone was wanted (`warm`, `precompute`). */
  readonly finishReason?: FinishReason
  /** From the call to the beginning of the first step, ms; 0 where KV alone was wanted. */
  readonly queued: number
  /** From there to the first token, ms; where KV alone was wanted, all of it. */
  readonly prefill: number
  /** Of the first turn after a change of model: promptTokens - cachedTokens were computed for it. Absent: no change. */
  readonly switched?: {
    /** Who wrote the turn before. */
    readonly from: Which
    /** Whether the model has read ahead in the background since it last wrote. */
    readonly warm: boolean
    /** Tokens that were new to both models, as the one before counted them. */
    readonly appended: number
  }
}

/** A memory is being made of old observations, and takes their place. */
export type CompressEvent = InTurn & {
  /** What becomes of the context. */
  readonly type: 'compress'
} & (
    | {
        /** The memory begins to be written, in the background. */
        readonly phase: 'launch'
        /** What will go, and what that is expected to cost and save. */
        readonly plan: SwapPlan
        /** What decided: `gate`, `paper`, `custom`, or `context full`. */
        readonly rule: string
      }
    | {
        /** The new context is there, its KV computed. */
        readonly phase: 'ready'
        /** As the models will read it. */
        readonly memory: string
        /** Since `launch`. */
        readonly milliseconds: number
      }
    | {
        /** The new context takes the place of the old one. */
        readonly phase: 'swap'
        /** Tokens of the old one, as the first model that has it counts them. */
        readonly before: number
        /** Tokens of the new one, by the same model. */
        readonly after: number
        /** Tokens before the first change, whose KV stayed, as planned. */
        readonly kept: number
        /** Ids of the observations that went. */
        readonly replaced: readonly string[]
      }
    | {
        /** Nothing has changed: it could not be done, or the run ended before. After `fail`, some turns pass before it is tried again. */
        readonly phase: 'fail' | 'late'
        /** What went wrong. */
        readonly reason: string
      }
    | {
        /** A model that takes over does not read old observations. */
        readonly phase: 'omit'
        /** Who takes over. */
        readonly model: Which
        /** Ids of the observations that it does not read. */
        readonly omitted: readonly string[]
        /** Tokens that it need not read, about. */
        readonly saved: number
      }
  )

/** What the reader of a run gets. */
export type AgentEvent =
  | (InTurn & {
      /**
       * A turn begins. Again for the same turn when the other model writes it again (`escalate` with the reason `doubt`): what was said in it
       * is withdrawn.
       */
      readonly type: 'turn'
      /** Who writes it. */
      readonly model: Which
    })
  | (InTurn & {
      /** Pieces as they come. */
      readonly type: 'delta'
      /** `retract`: the text shown so far in this turn was thinking. */
      readonly channel: 'thinking' | 'text' | 'retract'
      /** Goes on where the piece before it ended; `''` with `retract`. */
      readonly text: string
    })
  | (InTurn & {
      /** The thinking of a turn, and its text where it makes calls; none where there is neither. */
      readonly type: 'think'
      /** Who wrote it. */
      readonly model: Which
      /** All of it, without markers. */
      readonly text: string
    })
  | (InTurn & {
      /** Before the calls of a turn are made, once for each. */
      readonly type: 'tool-call'
      /** It may be one that cannot be read: then an observation says so. */
      readonly call: ToolCall
    })
  | (InTurn & {
      /** When all calls of a turn are done, once for each, in their order. */
      readonly type: 'observation'
      /** As in `tool-call`. */
      readonly call: ToolCall
      /** What the models read of it. */
      readonly text: string
      /** Where the archive keeps the full text; undefined: the call failed. */
      readonly ref: string | undefined
      /** False: `text` says what went wrong. */
      readonly ok: boolean
      /** That the call took, further attempts and pauses between them included. */
      readonly milliseconds: number
    })
  | (InTurn & {
      /** A model's verdict on its turn. */
      readonly type: 'progress'
      /** Who wrote the turn, and judges it. */
      readonly model: Which
      /** Of TRUE, 0..1; undefined: it wrote neither TRUE nor FALSE. */
      readonly probability: number | undefined
      /** In the model's words; `''` where none is asked for. */
      readonly reason: string
    })
  | (InTurn & {
      /** The other model does the next turn, or this one again (`doubt`): up or down. */
      readonly type: 'escalate'
      /** Who did the last one. */
      readonly from: Which
      /** Who does the next one. */
      readonly to: Which
      /** Why. */
      readonly reason: RouteReason
      /** Probability of being stuck, 0..1. */
      readonly stuck: number
    })
  | CompressEvent
  | UsageEvent
  | {
      /** What an agent does that was called as a tool. */
      readonly type: 'agent'
      /** Its name. */
      readonly agent: string
      /** Of the call, as in `tool-call`. */
      readonly id: string
      /** What its own reader would get. */
      readonly event: AgentEvent
    }
  | (InTurn & {
      /** The run has one; `end` follows. */
      readonly type: 'answer'
      /** All of it. */
      readonly text: string
    })
  | {
      /** The last event of a run, unless it failed or was aborted: then reading throws. */
      readonly type: 'end'
      /** Why it ended. */
      readonly reason: EndReason
      /** In all. */
      readonly spent: Spent
    }

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
