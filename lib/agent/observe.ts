/** From what tools returned to what the models read: poor search results and the parts of long texts that nobody asked about stay out. */
import { cutText, defaultRank, rankResults } from '../policy/observe.js'
import type { RankOptions } from '../policy/observe.js'
import type { Archive } from './archive.js'
import type { AgentPrompts } from './prompt.js'
import { messageOf } from './tools.js'
import type { ToolOutcome } from './tools.js'

export interface ObserveOptions {
  /** Characters of an observation that the models read at most; the archive has the rest. */
  readonly characters: number
  /** Whether poor search results are left out. */
  readonly rank: RankOptions | false
}

export const defaultObserve = { characters: 4000, rank: defaultRank } as const satisfies ObserveOptions

export interface Observation {
  readonly text: string
  /** Where the full text is. */
  readonly ref: string | undefined
  readonly ok: boolean
  readonly tool: string
}

export interface ObserveContext {
  readonly archive: Archive
  readonly turn: number
  /** The call in short. */
  readonly call: string
  /** Terms of the question and the plan. */
  readonly query: ReadonlyMap<string, number>
  readonly prompts: AgentPrompts
  /** Undefined: observations are taken as they are, but for `hardLimit`. */
  readonly options: ObserveOptions | undefined
}

/** Without a filter texts are still cut here, in the middle of nowhere: no context holds more. Characters. */
const hardLimit = 400_000

/** Never throws: a value that its tool cannot show is an observation that says so. */
export function observe(outcome: ToolOutcome, context: ObserveContext): Observation {
  if (!outcome.ok) return failure(outcome.tool, outcome.problem)
  try {
    return shown(outcome, context)
  } catch (error) {
    return failure(outcome.tool.name, `the result of ${outcome.tool.name} cannot be shown: ${messageOf(error)}`)
  }
}

function failure(tool: string, problem: string): Observation {
  return { text: `Error: ${problem}`.slice(0, 4000), ref: undefined, ok: false, tool }
}

/** @throws what the tool throws where it renders. */
function shown({ tool, value }: Extract<ToolOutcome, { ok: true }>, context: ObserveContext): Observation {
  const { archive, turn, call, prompts, options, query } = context
  const full = tool.render(value)
  if (typeof full !== 'string') throw new TypeError(`render: expected a string, got ${typeof full}`)
  const { id } = archive.put({ text: full, tool: tool.name, turn, call })
  if (options === undefined || tool.verbatim) return { text: full.slice(0, hardLimit), ref: id, ok: true, tool: tool.name }
  let [text, notes] = [full, [] as string[]]
  const results = options.rank === false ? undefined : tool.results(value)
  if (results !== undefined && options.rank !== false) {
    const { kept } = rankResults(results, query, options.rank)
    if (kept.length < results.length) {
      text = tool.render(kept.map((index) => results[index]))
      notes.push(prompts.someResults(id, kept.length, results.length))
    }
  }
  const cut = cutText(text, query, options.characters, prompts.gap)
  if (cut.omitted > 0) notes = [prompts.cutText(id, text.length - cut.omitted, text.length)]
  return { text: [cut.text, ...notes.filter((note) => note !== '')].join('\n'), ref: id, ok: true, tool: tool.name }
}
