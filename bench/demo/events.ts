/** What a demo tells, in order: enough to show it again, and plain data. */
import { readFileSync, writeFileSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'

import type { AgentEvent } from 'agentinfer'

import type { Figures, Progress } from '../research-world/arena.js'

export type BatchName = 'without' | 'with'

export type DemoEvent =
  | { readonly type: 'start'; readonly machine: string; readonly models: string; readonly world: string }
  | { readonly type: 'question'; readonly text: string; readonly hops: number }
  | { readonly type: 'agent'; readonly event: AgentEvent; readonly lambda: number }
  | { readonly type: 'verdict'; readonly answer: string | undefined; readonly right: boolean; readonly expected: string; readonly seconds: number }
  | { readonly type: 'batch'; readonly name: BatchName; readonly questions: number; readonly agents: number; readonly kvTokens: number }
  | { readonly type: 'progress'; readonly name: BatchName; readonly progress: Progress }
  | { readonly type: 'table'; readonly without: Figures; readonly with: Figures }
  | { readonly type: 'end'; readonly seconds: number }

interface TimedDemoEvent {
  /** Milliseconds since the beginning. */
  readonly at: number
  readonly event: DemoEvent
}

export interface Recording {
  readonly version: 1
  readonly date: string
  readonly events: readonly TimedDemoEvent[]
}

/** Passes events on and keeps them. */
export class Recorder {
  readonly #events: TimedDemoEvent[] = []
  readonly #started = performance.now()
  readonly #next: (event: DemoEvent) => void

  constructor(next: (event: DemoEvent) => void) {
    this.#next = next
  }

  tell(event: DemoEvent): void {
    this.#events.push({ at: Math.round(performance.now() - this.#started), event })
    this.#next(event)
  }

  get seconds(): number {
    return (performance.now() - this.#started) / 1000
  }

  write(file: string): void {
    const recording: Recording = { version: 1, date: new Date().toISOString(), events: this.#events }
    writeFileSync(file, `${JSON.stringify(recording)}\n`)
  }
}

/** @throws when the file is no recording of this version. */
export function readRecording(file: string): Recording {
  const recording = JSON.parse(readFileSync(file, 'utf8')) as Recording
  const { version } = recording as { version?: unknown }
  if (version !== 1) throw new Error(`${file}: expected a recording of version 1, got ${String(version)}`)
  return recording
}

/** `speed`: 1 as it was, 10 ten times as fast, 0 at once. */
export async function replay({ events }: Recording, tell: (event: DemoEvent) => void, speed: number): Promise<void> {
  const started = performance.now()
  for (const { at, event } of events) {
    const wait = speed === 0 ? 0 : at / speed - (performance.now() - started)
    if (wait > 0) await pause(wait)
    tell(event)
  }
}
