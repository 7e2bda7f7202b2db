/**
 * The words that the world's models were trained on, in place of the runtime's longer ones (`new Agent({ prompts: worldPrompts,
 * … })`). Every fixed phrase here is one piece of their vocabulary, or a few.
 */
export const instructions = 'Answer from the encyclopedia.'
/** Of a planner, whose only tool is a seeker for every part of a question. */
export const plannerInstructions = 'Ask the seekers.'

/** An observation's id, and the call it came from, such as `open(title: "…")`. */
interface CalledObservation {
  readonly ref: string
  readonly call: string
}

const keys = { search: 'query', open: 'title', recall: 'id', seeker: 'task' } as const
export type ToolName = keyof typeof keys

export function callText(name: ToolName, ...values: readonly string[]): string {
  return JSON.stringify(values.map((value) => ({ name, arguments: { [keys[name]]: value } })))
}

/** The names of the tools and of their required arguments: all that a model of this size can use of a schema. */
function toolsText(schemas: string): string {
  const list = JSON.parse(schemas) as { function: { name: string; parameters: { required?: string[] } } }[]
  const calls = list.map(({ function: { name, parameters } }) => `${name}(${(parameters.required ?? []).join(', ')})`)
  return `Tools: ${calls.join(', ')}.`
}

/** What was looked for in the removed results: the quoted arguments of the calls. */
function distil(observations: readonly CalledObservation[]): string {
  return `===MEMORY===${observations.map(({ call }) => `\n${/"(.*)"/.exec(call)?.[1] ?? call}`).join('')}`
}

/** As a memory, which the thinking tells all of: see render.ts. */
function omission(_observations: readonly CalledObservation[], thoughts: readonly string[]): string {
  const facts = thoughts.flatMap((text) => /\w+: \w+\./.exec(text) ?? [])
  const goals = thoughts.flatMap((text) => /Seek the .*\./.exec(text) ?? [])
  return `===MEMORY===\n${[...facts, ...goals.slice(-1)].join(' ')}\n===END_MEMORY===`
}

export const worldPrompts = {
  tools: toolsText,
  progress: 'After ===PROGRESS=== judge your last step.',
  progressQuestion: '===PROGRESS===',
  progressLead: '===PROGRESS===\n<reason>',
  progressValue: '</reason>\n<value>',
  progressStop: '</reason>',
  distil,
  distilLead: '===MEMORY===\n',
  distilStop: '\n===END_MEMORY===',
  memory: (facts: string): string => `===MEMORY===\n${facts}\n===END_MEMORY===`,
  omission,
  nudge: 'Go on.',
  lastTurn: 'Answer now.',
  gap: '',
  someResults: (ref: string, shown: number, all: number): string => `(${ref}: ${shown} of ${all})`,
  // They have not met cut pages: one that says nothing of it reads as a short one.
  cutText: (): string => '',
}

/** The system turn, as the runtime makes it of `worldPrompts`. */
export function systemText(tools: readonly ToolName[], progress: boolean, first = instructions): string {
  const list = `Tools: ${tools.map((name) => `${name}(${keys[name]})`).join(', ')}.`
  return [first, list, ...(progress ? [worldPrompts.progress] : [])].join('\n\n')
}
