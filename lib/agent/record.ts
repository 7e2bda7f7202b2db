/** A run as plain data: to go on with it later, or to show it again. */
import type { ArchivedText } from './archive.js'
import type { Spent } from './budget.js'
import type { AgentEvent } from './events.js'
import type { TranscriptRecord } from './transcript.js'

export interface RunRecord {
  readonly version: 1
  readonly agent: string
  readonly transcript: TranscriptRecord
  readonly archive: readonly ArchivedText[]
  /** Turns done. */
  readonly turn: number
  readonly spent: Spent
  /** Of the router that was in use, by its name. */
  readonly route: { readonly name: string; readonly state: unknown }
  /** Everything that was told, but for deltas; milliseconds since the beginning. */
  readonly events: readonly TimedEvent[]
}

export interface TimedEvent {
  readonly at: number
  readonly event: AgentEvent
}

/** The events of a record, as they came. `speed`: 1 as fast as then, 10 ten times as fast; default: at once. */
export async function* replay(
  record: RunRecord,
  options: { readonly speed?: number; readonly signal?: AbortSignal } = {},
): AsyncGenerator<AgentEvent, void, undefined> {
  const { speed = Number.POSITIVE_INFINITY, signal } = options
  const started = performance.now()
  for (const { at, event } of record.events) {
    const wait = at / speed - (performance.now() - started)
    if (wait > 0) await sleep(wait, signal)
    signal?.throwIfAborted()
    yield event
  }
}

function sleep(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', end)
      resolve()
    }
    const timer = setTimeout(end, milliseconds)
    signal?.addEventListener('abort', end, { once: true })
  })
}
