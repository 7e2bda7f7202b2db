/** One generation of the main loop, and what it means. */
import type { Which } from '../policy/route.js'
import { OutputParser } from '../text/output_parser.js'
import type { OutputEvent, OutputMarkers, OutputPart } from '../text/output_parser.js'
import type { AgentEvent } from './events.js'
import type { AgentResponse, AgentStream } from './host.js'
import type { NewStep, ToolCall } from './transcript.js'

/** A turn in steps: thinking, calls, answer. */
export type TurnStep = Extract<NewStep, Record<'kind', 'think' | 'act' | 'answer'>>

export interface TurnOutput {
  readonly steps: readonly TurnStep[]
  readonly response: AgentResponse
  /** Log probability of each token, as far as they were asked for. */
  readonly logprobs: readonly number[]
}

/** Reads the stream to its end; deltas are emitted as they come. */
export async function readTurn(
  stream: AgentStream,
  { turn, model, markers, emit }: { turn: number; model: Which; markers: OutputMarkers; emit: (event: AgentEvent) => void },
): Promise<TurnOutput> {
  const parser = new OutputParser(markers)
  const tell = (events: readonly OutputEvent[]): void => {
    for (const event of events) {
      if (event.kind === 'thought') emit({ type: 'delta', turn, channel: 'retract', text: '' })
      else if (event.kind !== 'calls') emit({ type: 'delta', turn, channel: event.kind, text: event.text })
    }
  }
  const logprobs: number[] = []
  for await (const delta of stream) {
    tell(parser.push(delta.text))
    for (const { logprob } of delta.logprobs ?? []) logprobs.push(logprob)
  }
  const response = await stream.response
  tell(parser.finish(response.finishReason === 'length'))
  return { steps: stepsOf(parser.parts, turn, model), response, logprobs }
}

/** The steps of a turn. Text is the answer when there is no call, and part of the thinking when there is one. */
export function stepsOf(parts: readonly OutputPart[], turn: number, model: Which): TurnStep[] {
  const acts = parts.some(({ kind }) => kind === 'calls')
  let count = 0
  const steps = parts.map((part): TurnStep => {
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
