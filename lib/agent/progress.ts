/**
 * The PROGRESS check (AgentInfer, arXiv 2512.18337, section 3): after a think step the model judges whether it made progress. Read here
 * from the distribution where the value stands, not from one sampled word, and asked in a fork, so that it costs the question's own few
 * tokens, runs beside the tools, and never enters the history.
 */
import type { TokenLogprob } from '../engine/stream.js'
import { withoutMarkers } from './prompt.js'
import type { AgentPrompts } from './prompt.js'
import type { AgentResponse, AgentSession } from './host.js'

export interface Verdict {
  /** Of TRUE, 0..1; undefined when the model wrote neither word. */
  readonly probability: number | undefined
  readonly reason: string
  readonly responses: readonly AgentResponse[]
}

export interface ProgressOptions {
  readonly prompts: AgentPrompts
  /** Tokens of the reason; 0: none is asked for. */
  readonly reasonTokens: number
  readonly signal: AbortSignal
  readonly detokenize: (ids: readonly number[]) => string
}

/** `fork`: a session that ends with the turn to be judged; released here. */
export async function checkProgress(fork: AgentSession, options: ProgressOptions): Promise<Verdict> {
  const { prompts, reasonTokens, signal, detokenize } = options
  const responses: AgentResponse[] = []
  try {
    await fork.append([{ role: 'user', content: prompts.progressQuestion }])
    const common = { append: false, signal }
    let reason = ''
    if (reasonTokens > 0) {
      const sampling = { temperature: 0 }
      const stream = fork.generate({ ...common, lead: prompts.progressLead, maxTokens: reasonTokens, stop: [prompts.progressStop, '\n'], sampling })
      const response = await stream.response
      responses.push(response)
      reason = withoutMarkers(response.text).trim()
    }
    const lead = `${prompts.progressLead} ${reason}${reason === '' ? '' : ' '}${prompts.progressValue}`
    let probability: number | undefined
    // The word nearly always stands where it is expected; a space or a quote may come first.
    for (const maxTokens of [1, 3]) {
      if (probability !== undefined) break
      const stream = fork.generate({ ...common, lead, maxTokens, sampling: { temperature: 0, logprobs: 20 } })
      const logprobs: TokenLogprob[] = []
      for await (const delta of stream) logprobs.push(...(delta.logprobs ?? []))
      responses.push(await stream.response)
      probability = truth(logprobs, detokenize)
    }
    return { probability, reason, responses }
  } finally {
    fork.release()
  }
}

/** P(TRUE) of the two words at the first place where either has a tenth of the mass. */
export function truth(logprobs: readonly TokenLogprob[], detokenize: (ids: readonly number[]) => string): number | undefined {
  for (const { top } of logprobs) {
    let [yes, no] = [0, 0]
    for (const { token, logprob } of top) {
      const word = wordOf(token, detokenize)
      if (word === '') continue
      if ('TRUE'.startsWith(word)) yes += Math.exp(logprob)
      else if ('FALSE'.startsWith(word)) no += Math.exp(logprob)
    }
    if (yes + no >= 0.1) return yes / (yes + no)
  }
  return undefined
}

/** Models may have ids that their tokenizer has not; they are no word. */
function wordOf(token: number, detokenize: (ids: readonly number[]) => string): string {
  try {
    return detokenize([token]).trim().toUpperCase()
  } catch {
    return ''
  }
}
