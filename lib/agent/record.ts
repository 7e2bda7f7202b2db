/** A run as plain data: to go on with it later, or to show it again. */
import type { ArchivedText } from './archive.js'
import type { Spent } from './budget.js'
import type { CollabRecord } from './collab.js'
import type { AgentEvent } from './events.js'
import { pause } from './tools.js'
import type { TranscriptRecord } from './transcript.js'

/** A run as plain data. */
export interface RunRecord {
  /** Of this format; others are refused. */
  readonly version: 1
  /** Name of the agent. */
  readonly agent: string
  /** All that was said, up to the end of a turn. */
  readonly transcript: TranscriptRecord
  /** Full texts of what its tools returned. */
  readonly archive: readonly ArchivedText[]
  /** Turns done. */
  readonly turn: number
  /** When the record was made. */
  readonly spent: Spent
  /** Of the router that was in use, by its name. */
  readonly route: CollabRecord
  /** Everything that was told, but for deltas; of a resumed run, since it went on. */
  readonly events: readonly TimedEvent[]
}

/** An event, and when it came. */
export interface TimedEvent {
  /** Milliseconds since the run began, or went on. */
  readonly at: number
  /** As its reader got it; neighbouring pieces of text are not in records. */
  readonly event: AgentEvent
}

/** The events of a record, as they came. `speed`: 1 as fast as then, 10 ten times as fast; default: at once. */
export async function* replay(
  record: RunRecord,
  options: { readonly speed?: number; readonly signal?: AbortSignal } = {},
): AsyncGenerator<AgentEvent, void, undefined> {
  const { speed = Number.POSITIVE_INFINITY, signal = new AbortController().signal } = options
  const started = performance.now()
  for (const { at, event } of record.events) {
    const wait = at / speed - (performance.now() - started)
    if (wait > 0) await pause(wait, signal)
    signal.throwIfAborted()
    yield event
  }
}
