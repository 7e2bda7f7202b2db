/** One generation of the main loop, and what it means. */
import type { Which } from '../policy/route.js'
import { OutputParser } from '../text/output_parser.js'
import type { OutputEvent, OutputMarkers, OutputPart } from '../text/output_parser.js'
import type { AgentEvent } from './events.js'
import type { AgentResponse, AgentStream } from './host.js'
import type { NewStep, ToolCall } from './transcript.js'

export interface TurnOutput {
  readonly parts: readonly OutputPart[]
  readonly response: AgentResponse
}

/** Reads the stream to its end; deltas are emitted as they come. */
export async function readTurn(
  stream: AgentStream,
  markers: OutputMarkers,
  turn: number,
  emit: (event: AgentEvent) => void,
): Promise<TurnOutput> {
  const parser = new OutputParser(markers)
  const tell = (events: readonly OutputEvent[]): void => {
    for (const event of events) {
      if (event.kind === 'thought') emit({ type: 'delta', turn, channel: 'retract', text: '' })
      else if (event.kind !== 'calls') emit({ type: 'delta', turn, channel: event.kind, text: event.text })
    }
  }
  for await (const { text } of stream) tell(parser.push(text))
  const response = await stream.response
  tell(parser.finish(response.finishReason === 'length'))
  return { parts: parser.parts, response }
}

/** The steps of a turn. Text is the answer when there is no call, and part of the thinking when there is one. */
export function stepsOf(parts: readonly OutputPart[], turn: number, model: Which): Exclude<NewStep, { kind: 'system' | 'query' }>[] {
  const acts = parts.some(({ kind }) => kind === 'calls')
  let count = 0
  const steps = parts.map((part): Exclude<NewStep, { kind: 'system' | 'query' }> => {
    const { text, raw } = part
    if (part.kind === 'calls') {
      const calls: ToolCall[] = (part.calls ?? []).map((call) => ({ id: `c${turn}.${++count}`, call }))
      return { kind: 'act', turn, model, calls, raw }
    }
    if (part.kind === 'text' && !acts && text.trim() !== '') return { kind: 'answer', turn, model, text: text.trim(), raw }
    return { kind: 'think', turn, model, text: text.trim(), raw }
  })
  return steps.length > 0 ? steps : [{ kind: 'think', turn, model, text: '', raw: '' }]
}
