/** What a context must have been, worked out from the log alone. */
import type { Step, TranscriptRecord, Which } from 'agentinfer'
import { Transcript } from 'agentinfer'

const names: Record<string, string> = { system: '系统', user: '用户', assistant: '助手', tool: '工具' }

/** The prompt of each turn: the log up to its first step, as a chat. */
export function expectedPrompts(record: TranscriptRecord, suffix = ''): Map<number, { model: string; prompt: string }> {
  const prompts = new Map<number, { model: string; prompt: string }>()
  const transcript = new Transcript({ suffix })
  for (const step of record.steps) {
    if (isTurn(step) && !prompts.has(step.turn)) prompts.set(step.turn, { model: step.model, prompt: `${rendered(transcript, step.model)}[unused9]助手：` })
    const { id: _id, ...rest } = step
    transcript.add(rest)
  }
  return prompts
}

function isTurn(step: Step): step is Extract<Step, { turn: number; raw: string }> {
  return 'raw' in step
}

function rendered(transcript: Transcript, model: Which): string {
  return transcript.messagesFor(model).map(({ role, content }) => `[unused9]${names[role]!}：${content}[unused10]`).join('')
}
