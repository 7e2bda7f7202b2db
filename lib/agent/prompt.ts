/**
 * Every text the runtime itself writes for models: what stands in the system turn, and the questions it asks on the side. Whoever
 * trains a model for this runtime builds the training data with these same functions.
 */
import { openPanguMarkers } from '../text/output_parser.js'
import type { OutputMarkers } from '../text/output_parser.js'
import type { Tool } from './tools.js'

/**
 * Each can be replaced, for another language or a model that was trained on other words. `memory`, `omission`, `someResults` and `cutText` say
 * how `recall` is called, which is not among the tools of the system turn unless `compress.recall` is `listed`.
 */
export interface AgentPrompts {
  /** How tools are called; comes after the instructions, if there are tools. */
  tools(schemas: string, markers: OutputMarkers): string
  /** What a PROGRESS question wants; in the system turn, so that the question itself stays short. */
  progress: string
  /** A user turn that asks for a PROGRESS verdict. */
  progressQuestion: string
  /** What the answer to it begins with; a reason follows. */
  progressLead: string
  /** What stands between the reason and TRUE or FALSE. */
  progressValue: string
  /** What ends the reason, if the model writes it. */
  progressStop: string
  /** A user turn that asks for a memory of observations. */
  distil(observations: readonly CalledObservation[], tokens: number): string
  /** What a memory begins with, and is no part of it. */
  distilLead: string
  /** What ends a memory, and is no part of it. */
  distilStop: string
  /** A memory as the models read it later: the content of an assistant turn. */
  memory(facts: string, sources: readonly CalledObservation[]): string
  /**
   * What a model that took over has in place of observations that it did not read: the content of an assistant turn. `thoughts`: of the turns
   * up to the one that had read the last of them; they stand in the context too.
   */
  omission(sources: readonly CalledObservation[], thoughts: readonly string[]): string
  /** A user turn, when a turn brought neither a call nor an answer. */
  nudge: string
  /** A user turn before the last turn there is. */
  lastTurn: string
  /** Stands in an observation where a passage was left out. */
  gap: string
  /** A note at the end of an observation of which results were left out; empty: none. */
  someResults(ref: string, shown: number, all: number): string
  /** A note behind a text that was cut: where the rest is, and how much was shown, in characters; empty: none. */
  cutText(ref: string, shown: number, all: number): string
}

/** An observation's id in the archive, and the call it came from. */
export interface CalledObservation {
  /** Its id in the archive, which `recall` takes. */
  readonly ref: string
  /** The call in short, such as `open(url: "…")`. */
  readonly call: string
}

/** Plain text: with the markers of a call around it, a history would have a call that nobody made. */
const howToRecall = 'Any of them in full: call recall with {"id": "<its id>"}.'

/** What the models read beside instructions and observations (lib/agent/README.md). */
export const defaultPrompts: AgentPrompts = {
  tools: (schemas, markers) =>
    `You can call these tools:\n<tools>\n${schemas}\n</tools>\n` +
    `To call tools, end your turn with ${markers.callStart}[{"name": "<tool>", "arguments": {...}}]${markers.callEnd}; ` +
    'several calls in one list run at the same time. When you know the answer, write it without a call.',
  progress:
    'When the user writes ===PROGRESS===, judge your last step: did it bring you significantly closer to the answer? ' +
    'FALSE if it repeated earlier steps or brought nothing new. Reply with\n' +
    '===PROGRESS===\n<reason> 10 to 20 words </reason>\n<value> TRUE or FALSE </value>\n===END_PROGRESS===',
  progressQuestion: '===PROGRESS===',
  progressLead: '===PROGRESS===\n<reason>',
  progressValue: '</reason>\n<value>',
  progressStop: '</reason>',
  distil: (observations, tokens) =>
    `===MEMORY===\nThese results will be removed: ${observations.map(({ ref, call }) => `${ref} = ${call}`).join('; ')}.\n` +
    `In at most ${Math.max(1, Math.round(tokens * 0.7))} words, write down what of them is still needed: facts with exact names, numbers ` +
    'and addresses and the id of their source, then open questions. Only what they say.',
  distilLead: '===MEMORY===\n',
  distilStop: '\n===END_MEMORY===',
  memory: (facts, sources) =>
    `===MEMORY===\n${facts}\nSources: ${sources.map(({ ref, call }) => `${ref} = ${call}`).join('; ')}\n${howToRecall}\n===END_MEMORY===`,
  omission: (sources) =>
    `===MEMORY===\nNot shown here: ${sources.map(({ ref, call }) => `${ref} = ${call}`).join('; ')}\n${howToRecall}\n===END_MEMORY===`,
  nudge: 'Go on: call a tool, or write the answer.',
  lastTurn: 'This is the last turn. Write the answer now, as well as it is known, without a call.',
  gap: '[…]',
  someResults: (ref, shown, all) => `(${ref}: ${shown} of ${all} results; for all call recall with {"id": "${ref}"})`,
  cutText: (ref, shown, all) => `(${ref}: ${shown} of ${all} characters; for the rest call recall with {"id": "${ref}", "find": "<words>"})`,
}

/** What `systemPrompt` puts together. */
export interface SystemPromptParts {
  /** What comes first; may be empty. */
  readonly instructions: string
  /** Listed with their schemas; none: nothing is said of calls. */
  readonly tools: readonly Pick<Tool, 'name' | 'description' | 'schema'>[]
  /** Whether PROGRESS is asked for. */
  readonly progress: boolean
  /** Default: `openPanguMarkers`. */
  readonly markers?: OutputMarkers
  /** Default: `defaultPrompts`. */
  readonly prompts?: AgentPrompts
}

/** The system turn: instructions, tools, and how to say whether there is progress. */
export function systemPrompt({ instructions, tools, progress, markers = openPanguMarkers, prompts = defaultPrompts }: SystemPromptParts): string {
  const parts = [instructions.trim()]
  if (tools.length > 0) {
    const schemas = tools.map(({ name, description, schema }) =>
      JSON.stringify({ type: 'function', function: { name, description, parameters: schema } }),
    )
    parts.push(prompts.tools(`[${schemas.join(',\n')}]`, markers))
  }
  if (progress) parts.push(prompts.progress)
  return parts.filter((part) => part !== '').join('\n\n')
}

/** Text that came from a model about untrusted texts, without anything that would become a marker in a trusted turn. */
export function withoutMarkers(text: string, markers: OutputMarkers = openPanguMarkers): string {
  let clean = text.replaceAll(/\[unused\d+\]|<\|[^|<>\n]{1,40}\|>|<\/?s>/g, ' ')
  for (const marker of Object.values(markers) as string[]) clean = clean.replaceAll(marker, ' ')
  return clean
}
