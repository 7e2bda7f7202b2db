/** What a run tells: to its reader, to its record, and to whoever listens to the diagnostics channels. */
import { publish } from '../diagnostics.js'
import type { AgentMessage } from '../diagnostics.js'
import { EventQueue, isWhole } from './events.js'
import type { AgentEvent, EndReason } from './events.js'
import type { TimedEvent } from './record.js'

export class Told {
  readonly events = new EventQueue()
  readonly #message: AgentMessage
  readonly #log: TimedEvent[] = []
  readonly #startedAt = performance.now()

  constructor(message: AgentMessage) {
    this.#message = message
  }

  /** All but deltas, for the record. */
  get log(): readonly TimedEvent[] {
    return this.#log
  }

  begin(question: string | undefined, how: { readonly resumed: boolean; readonly called: boolean }): void {
    publish('agentinfer:agent:start', () => ({ ...this.#message, question, ...how }))
  }

  emit(event: AgentEvent): void {
    if (isWhole(event)) {
      this.#log.push({ at: performance.now() - this.#startedAt, event })
      publish('agentinfer:agent:event', () => ({ ...this.#message, event }))
    }
    this.events.push(event)
  }

  end(end: EndReason, answer: string | undefined): void {
    this.events.end()
    publish('agentinfer:agent:end', () => ({ ...this.#message, end, answer, milliseconds: performance.now() - this.#startedAt }))
  }

  fail(error: unknown): void {
    this.events.end({ value: error })
    publish('agentinfer:agent:error', () => ({ ...this.#message, error }))
  }
}
