/**
 * Takes a model's output apart while it streams: thinking, text, tool calls. However the text is cut into pieces, the joined events
 * are the same, and the raw texts of the parts join to the whole output, so that a turn can be put back into the history unchanged.
 */
import { parseToolCalls } from './tool_calls.js'
import type { ParsedCall } from './tool_calls.js'

/** Special texts of a model around thinking and calls; empty: it has none for that. */
export interface OutputMarkers {
  /** Before thinking. An output may have `thinkEnd` alone: then all before it was thinking. */
  readonly thinkStart: string
  /** Behind thinking. */
  readonly thinkEnd: string
  /** Before a list of tool calls. */
  readonly callStart: string
  /** Behind a list of tool calls; the end of an output that no limit cut off ends one as well. */
  readonly callEnd: string
}

/** openPangu Embedded and DeepDiver. */
export const openPanguMarkers: OutputMarkers = {
  thinkStart: '[unused16]',
  thinkEnd: '[unused17]',
  callStart: '[unused11]',
  callEnd: '[unused12]',
}

/** The named form that newer vocabularies have for the same four. */
export const namedMarkers: OutputMarkers = {
  thinkStart: '<think>',
  thinkEnd: '</think>',
  callStart: '<|tool_call_start|>',
  callEnd: '<|tool_call_end|>',
}

export type OutputEvent =
  | { readonly kind: 'thinking' | 'text'; readonly text: string }
  /** A thinking end without its start: the text since the last part was thinking. */
  | { readonly kind: 'thought' }
  | { readonly kind: 'calls'; readonly text: string; readonly calls: readonly ParsedCall[] }

/** A stretch of the output. */
export interface OutputPart {
  /** What it is. */
  readonly kind: 'thinking' | 'text' | 'calls'
  /** Without markers. */
  readonly text: string
  /** With them: those of all parts join to the output. */
  readonly raw: string
  /** What `text` says, where `kind` is `calls`; one that cannot be read is among them. */
  readonly calls?: readonly ParsedCall[]
}

type Mode = 'text' | 'thinking' | 'calls'

export class OutputParser {
  readonly #markers: OutputMarkers
  /** Markers that mean something in a mode; others are text there. */
  readonly #watched: Readonly<Record<Mode, readonly string[]>>
  readonly #done: OutputPart[] = []
  #mode: Mode = 'text'
  #pending = ''
  #text = ''
  #raw = ''

  constructor(markers: OutputMarkers = openPanguMarkers) {
    this.#markers = markers
    const { thinkStart, thinkEnd, callStart, callEnd } = markers
    const there = (...list: readonly string[]) => list.filter((marker) => marker !== '')
    this.#watched = {
      text: there(thinkStart, thinkEnd, callStart, callEnd),
      thinking: there(thinkStart, thinkEnd, callStart),
      calls: there(callEnd),
    }
  }

  push(piece: string): OutputEvent[] {
    const events: OutputEvent[] = []
    this.#pending += piece
    for (;;) {
      const found = this.#nextMarker()
      if (found === undefined) break
      this.#take(this.#pending.slice(0, found.at), events)
      this.#pending = this.#pending.slice(found.at + found.marker.length)
      this.#marker(found.marker, events)
    }
    const held = heldBack(this.#pending, this.#watched[this.#mode])
    this.#take(this.#pending.slice(0, this.#pending.length - held), events)
    this.#pending = this.#pending.slice(this.#pending.length - held)
    return events
  }

  /** The rest. `cut`: the output ended because of a limit, so a call that is still open is not closed for it. */
  finish(cut = false): OutputEvent[] {
    const events: OutputEvent[] = []
    this.#take(this.#pending, events)
    this.#pending = ''
    if (this.#mode === 'calls') this.#closeCalls(!cut, events)
    else this.#close()
    return events
  }

  /** Parts that are complete; after finish(), all. */
  get parts(): readonly OutputPart[] {
    return this.#done
  }

  #nextMarker(): { at: number; marker: string } | undefined {
    let best: { at: number; marker: string } | undefined
    for (const marker of this.#watched[this.#mode]) {
      const at = this.#pending.indexOf(marker)
      if (at >= 0 && (best === undefined || at < best.at)) best = { at, marker }
    }
    return best
  }

  #take(text: string, events: OutputEvent[]): void {
    if (text === '') return
    this.#text += text
    this.#raw += text
    if (this.#mode !== 'calls') events.push({ kind: this.#mode, text })
  }

  #marker(marker: string, events: OutputEvent[]): void {
    const { thinkStart, thinkEnd, callStart } = this.#markers
    if (this.#mode === 'calls') {
      this.#raw += marker
      this.#closeCalls(true, events)
    } else if (marker === callStart) {
      this.#close()
      this.#open('calls', marker)
    } else if (marker === thinkStart && this.#mode === 'text') {
      this.#close()
      this.#open('thinking', marker)
    } else if (marker === thinkEnd) {
      if (this.#mode === 'text') events.push({ kind: 'thought' })
      this.#mode = 'thinking'
      this.#raw += marker
      this.#close()
    } else {
      this.#raw += marker // a second start, or an end of a call that never began: no meaning, but part of the turn
    }
  }

  #open(mode: Mode, marker: string): void {
    this.#mode = mode
    this.#raw = marker
  }

  #close(): void {
    if (this.#raw !== '' && this.#mode !== 'calls') this.#done.push({ kind: this.#mode, text: this.#text, raw: this.#raw })
    this.#reset()
  }

  #closeCalls(complete: boolean, events: OutputEvent[]): void {
    const calls = parseToolCalls(this.#text, complete)
    events.push({ kind: 'calls', text: this.#text, calls })
    this.#done.push({ kind: 'calls', text: this.#text, raw: this.#raw, calls })
    this.#reset()
  }

  #reset(): void {
    this.#mode = 'text'
    this.#text = ''
    this.#raw = ''
  }
}

/** Length of the longest end of the text that may be the beginning of a marker. */
function heldBack(text: string, markers: readonly string[]): number {
  let longest = 0
  for (const marker of markers) {
    for (let length = Math.min(marker.length - 1, text.length); length > longest; --length) {
      if (text.endsWith(marker.slice(0, length))) longest = length
    }
  }
  return longest
}

/** The whole output at once. */
export function parseOutput(text: string, options: { readonly markers?: OutputMarkers; readonly cut?: boolean } = {}): readonly OutputPart[] {
  const parser = new OutputParser(options.markers)
  parser.push(text)
  parser.finish(options.cut)
  return parser.parts
}
