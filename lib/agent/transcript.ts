/**
 * What an agent has seen, thought and done, as typed steps. The log only grows. The context, which is what the models read, is the log
 * but for observations that a memory step has replaced; between two such swaps it only grows too, so the KV of every turn is kept. A
 * model that takes over may leave out old observations that it has not read yet: its context has an omission in their place.
 */
import { AgentInferError } from '../errors.js'
import type { Message } from '../options.js'
import type { Which } from '../policy/route.js'
import { isMalformed } from '../text/tool_calls.js'
import type { ParsedCall } from '../text/tool_calls.js'

/** A call as the model wrote it, or what was wrong with it. */
export interface ToolCall {
  /** Unique in the transcript. */
  readonly id: string
  /** Has a `name`, or an `error`. */
  readonly call: ParsedCall
}

/** What a model wrote in a turn has. */
export interface WrittenStep {
  /** The first is 1. */
  readonly turn: number
  /** Who wrote it. */
  readonly model: Which
  /** As the model wrote it, markers included: those of a turn's steps join to its output. */
  readonly raw: string
}

/** One thing that was seen, thought or done. */
export type Step = {
  /** Unique in the transcript: `s1`, `s2`, …, of memories `m1`, `m2`, …. */
  readonly id: string
} & (
  | {
      /** The first step, and the only one of its kind. */
      readonly kind: 'system'
      /** Instructions, tools, and how to say whether there is progress. */
      readonly text: string
    }
  | {
      /** What is asked of the models. */
      readonly kind: 'query'
      /** Without the suffix that the models read behind it. */
      readonly text: string
      /** `user`: a question; `agent`: the agent itself, such as that the turn to come is the last. */
      readonly by: 'user' | 'agent'
    }
  | (WrittenStep & {
      /** Thinking, and the text of a turn that makes calls. */
      readonly kind: 'think'
      /** Trimmed; may be empty. */
      readonly text: string
    })
  | (WrittenStep & {
      /** A list of calls. */
      readonly kind: 'act'
      /** In their order, those that cannot be read among them. */
      readonly calls: readonly ToolCall[]
    })
  | (WrittenStep & {
      /** The text of a turn that makes no call: it ends the run. */
      readonly kind: 'answer'
      /** Trimmed; never empty. */
      readonly text: string
    })
  | {
      /** What came of a call. */
      readonly kind: 'observation'
      /** The one that made the call. */
      readonly turn: number
      /** Id of the call it answers. */
      readonly call: string
      /** Its name; `''` for a call that could not be read. */
      readonly tool: string
      /** What the models read, without the suffix behind it; the full text is in the archive under `ref`. */
      readonly text: string
      /** Undefined where there is nothing to archive: the call failed. */
      readonly ref: string | undefined
      /** False: `text` says what went wrong. */
      readonly ok: boolean
    }
  | {
      /** Stands in the context for the observations it replaces, as an assistant turn. */
      readonly kind: 'memory'
      /** The content of that turn. */
      readonly text: string
      /** Ids of the observations that it stands for. */
      readonly replaces: readonly string[]
      /** Id of the step that it comes behind. */
      readonly after: string
    }
  | {
      /** Stands in one model's context, as an assistant turn, for observations that this model did not read when it took over. */
      readonly kind: 'omission'
      /** The last one before. */
      readonly turn: number
      /** Whose context it is. */
      readonly model: Which
      /** The content of that turn. */
      readonly text: string
      /** Ids of the observations that it stands for. */
      readonly omits: readonly string[]
    }
)

/** Steps of one kind. */
export type StepOf<Kind extends Step['kind']> = Extract<Step, Record<'kind', Kind>>
type WithoutId<T> = T extends unknown ? Omit<T, 'id'> : never
/** A step before it has its id. */
export type NewStep = WithoutId<Step>

/** A message as a session gets it. Messages with the same key are the same. */
export interface TranscriptMessage extends Message {
  /** The id of its first step. */
  readonly key: string
  /** The steps it was made of. */
  readonly steps: readonly Step[]
}

/** How steps become messages. */
export interface Rendering {
  /** After every text of users and tools: openPangu's ` /no_think`, or nothing. */
  readonly suffix: string
}

/** A transcript as plain data. */
export interface TranscriptRecord {
  /** Of this format; others are refused. */
  readonly version: 1
  /** All there ever were, in order. */
  readonly steps: readonly Step[]
}

/** What an agent has seen, thought and done, as typed steps. */
export class Transcript {
  readonly #rendering: Rendering
  readonly #log: Step[] = []
  #context: Step[] = []
  #messages: TranscriptMessage[] = []
  readonly #omissions: StepOf<'omission'>[] = []
  #epoch = 0

  /** Empty. */
  constructor(rendering: Rendering) {
    this.#rendering = rendering
  }

  /** @throws {AgentInferError} `ERR_INVALID_ARGUMENT` for a record of another version. */
  static from(record: TranscriptRecord, rendering: Rendering): Transcript {
    if (record.version !== 1) throw new AgentInferError('ERR_INVALID_ARGUMENT', `transcript: expected version 1, got ${JSON.stringify(record.version)}`)
    const transcript = new Transcript(rendering)
    for (const step of record.steps) transcript.#insert(step)
    return transcript
  }

  /** Adds a step at the end, and gives it its id. */
  add<Kind extends NewStep['kind']>(step: Extract<NewStep, { kind: Kind }>): StepOf<Kind> {
    const added = { ...step, id: step.kind === 'memory' ? this.nextMemoryId : `s${this.#log.length + 1}` } as unknown as StepOf<Kind>
    this.#insert(added)
    return added
  }

  /** The id that the next memory step will have, whatever other steps come before it. */
  get nextMemoryId(): string {
    return `m${this.#epoch + 1}`
  }

  /** Every step there ever was. */
  get log(): readonly Step[] {
    return this.#log
  }

  /** What the models read. */
  get context(): readonly Step[] {
    return this.#context
  }

  /** Counts the swaps: the context only grows while this stays the same. */
  get epoch(): number {
    return this.#epoch
  }

  /** The context as messages: append-only within an epoch, the last one still open while a turn is being added. */
  get messages(): readonly TranscriptMessage[] {
    return this.#messages
  }

  /** The context of one model: `messages` but for what it left out. Append-only within an epoch. */
  messagesFor(model: Which): readonly TranscriptMessage[] {
    return this.#without(this.#messages, model)
  }

  /** The context of a model as it would be with this memory in it; `memory` is not added. Later steps come behind, so it only grows as well. */
  messagesWith(memory: StepOf<'memory'>, model: Which): readonly TranscriptMessage[] {
    return this.#without(this.#withMemory(memory), model)
  }

  /** As plain data, for `Transcript.from`. */
  toJSON(): TranscriptRecord {
    return { version: 1, steps: this.#log }
  }

  #insert(step: Step): void {
    this.#log.push(step)
    if (step.kind === 'omission') {
      this.#omissions.push(step)
    } else if (step.kind === 'memory') {
      this.#messages = this.#withMemory(step)
      this.#context = withMemory(this.#context, step, (one) => [one], step)
      ++this.#epoch
    } else {
      this.#context.push(step)
      this.#addTo(this.#messages, step)
    }
  }

  #withMemory(memory: StepOf<'memory'>): TranscriptMessage[] {
    return withMemory(this.#messages, memory, (message) => message.steps, { ...this.#message(memory), key: memory.id, steps: [memory] })
  }

  /** Each omission stands where the last of what it leaves out was; nothing is left of one whose observations a memory has replaced. */
  #without(messages: readonly TranscriptMessage[], model: Which): readonly TranscriptMessage[] {
    const omissions = new Map(
      this.#omissions.flatMap((omission) => (omission.model === model ? omission.omits.map((id) => [id, omission] as const) : [])),
    )
    if (omissions.size === 0) return messages
    const result: TranscriptMessage[] = []
    const placed = new Set<Step>()
    for (const message of messages.toReversed()) {
      const omission = omissions.get(message.key)
      if (omission === undefined) result.push(message)
      else if (!placed.has(omission)) result.push({ ...this.#message(omission), key: omission.id, steps: [omission] })
      if (omission !== undefined) placed.add(omission)
    }
    return result.toReversed()
  }

  #addTo(messages: TranscriptMessage[], step: Step): void {
    const last = messages.at(-1)
    const before = last?.steps.at(-1)
    if (last !== undefined && before !== undefined && isTurn(step) && isTurn(before) && step.turn === before.turn) {
      messages[messages.length - 1] = { ...last, content: last.content + step.raw, steps: [...last.steps, step] }
    } else {
      messages.push({ ...this.#message(step), key: step.id, steps: [step] })
    }
  }

  #message(step: Step): Message {
    if (isTurn(step)) return { role: 'assistant', content: step.raw }
    if (step.kind === 'system') return { role: 'system', content: step.text }
    if (step.kind === 'query') return { role: 'user', content: step.text + this.#rendering.suffix }
    if (step.kind === 'observation') return { role: 'tool', content: step.text + this.#rendering.suffix }
    return { role: 'assistant', content: step.text }
  }
}

export function isTurn(step: Step): step is StepOf<'think'> | StepOf<'act'> | StepOf<'answer'> {
  return step.kind === 'think' || step.kind === 'act' || step.kind === 'answer'
}

/**
 * A list without what the memory replaces, the memory behind the step it names (or where that one was, if it goes as well). Observations
 * are entries of their own, and a memory never comes into the middle of an entry.
 */
function withMemory<T>(list: readonly T[], memory: StepOf<'memory'>, stepsOf: (entry: T) => readonly Step[], added: T): T[] {
  const gone = new Set(memory.replaces)
  const result: T[] = []
  let placed = false
  for (const entry of list) {
    const steps = stepsOf(entry)
    if (!gone.has(steps[0]!.id)) result.push(entry)
    if (steps.at(-1)!.id === memory.after) {
      result.push(added)
      placed = true
    }
  }
  if (!placed) throw new Error(`transcript: memory after ${memory.after}, which does not end an entry of the context`)
  return result
}

/** The calls of an act step in short, for people and for memories: `search(query: "a")`. */
export function describeCall(call: ParsedCall, limit = 160): string {
  if (isMalformed(call)) return 'an unreadable call'
  const list = Object.entries(call.arguments).map(([key, value]) => `${key}: ${JSON.stringify(value) ?? 'undefined'}`)
  const text = `${call.name}(${list.join(', ')})`
  return text.length <= limit ? text : `${text.slice(0, limit - 1)}…`
}
