/** Every option of an agent, once: type, default, unit and meaning. */
import { z } from 'zod'

import type { SamplingOptions } from '../options.js'
import { parseOptions, refuseUnknown, samplingSchema } from '../option_schemas.js'
import { AgentInferError } from '../errors.js'
import { completed } from '../policy/completed.js'
import { defaultCompress } from '../policy/compress.js'
import { defaultCollab, defaultSensor, routerOf } from '../policy/route.js'
import type { CollabOptions, CustomRoute, RouteName, Router, Which } from '../policy/route.js'
import { defaultRank } from '../policy/observe.js'
import type { RankOptions } from '../policy/observe.js'
import { openPanguMarkers } from '../text/output_parser.js'
import type { OutputMarkers } from '../text/output_parser.js'
import type { Limits } from './budget.js'
import type { HistoryOptions } from './compressor.js'
import type { AgentEngine } from './host.js'
import { defaultObserve } from './observe.js'
import type { ObserveOptions } from './observe.js'
import { defaultPrompts } from './prompt.js'
import type { AgentPrompts } from './prompt.js'
import { recallName } from './recall.js'
import type { Tool } from './tools.js'

/** The models of an agent, one or both. They may be one engine. */
export interface AgentModels {
  /** Does most of the turns, where there are two. */
  readonly small?: AgentEngine
  /** Plans, and takes over where the small one is stuck. */
  readonly large?: AgentEngine
}

/** How two models work together. */
export interface AgentCollabOptions extends Partial<CollabOptions> {
  /** Who does the next step. Default: `'collab'` with two models, otherwise the one there is. */
  readonly route?: RouteName | CustomRoute | Router
  /** Tokens of the reason before a PROGRESS verdict; 0: the verdict alone. Default: 32. */
  readonly reasonTokens?: number
  /**
   * From which probability of being stuck the large model's KV is kept warm in the background; 0: always, `false`: never.
   * Default: 0.2.
   */
  readonly warmFrom?: number | false
}

/** What of an observation the models read; the archive has the rest. */
export interface AgentObserveOptions {
  /** Characters at most. Default: 4000. */
  readonly characters?: number
  /** Which search results stay; `false`: all. Default: see `RankOptions`. */
  readonly rank?: Partial<RankOptions> | false
}

/** What stays out of the context, and what leaves it again. */
export interface AgentCompressOptions {
  /** What of an observation the models read; `false`: all. Default: see `AgentObserveOptions`. */
  readonly observations?: AgentObserveOptions | false
  /** When old observations are distilled; `false`: never. A rule alone stands for an object with it. Default: `'gate'`. */
  readonly history?: Partial<HistoryOptions> | HistoryOptions['rule'] | false
  /**
   * How the models learn that `recall` gives back what is not there. `'told'`: by the text that stands in its place, so a run in which
   * nothing is left out reads not a token more than one without compression. `'listed'`: among the tools from the beginning, for models that
   * were trained so, and for `prompts` that say nothing of it. Default: `'told'`.
   */
  readonly recall?: 'told' | 'listed'
}

/** Options of an agent. */
export interface AgentOptions {
  /** One or both of `small` and `large`; they may be one engine. */
  readonly models: AgentModels
  /** What it may call: `defineTool`, `searchTool`, another agent's `asTool`. Default: none. */
  readonly tools?: readonly Tool[]
  /** The beginning of the system turn. Default: nothing. */
  readonly instructions?: string
  /** What it is in a group of agents. Default: `'agent'`. */
  readonly name?: string
  /** How two models work together; `false`: the large model alone, or the only one. Default: see `AgentCollabOptions`. */
  readonly collab?: AgentCollabOptions | false
  /** What stays out of the context; `false`: observations and history stay as they are. Default: see `AgentCompressOptions`. */
  readonly compress?: AgentCompressOptions | false
  /** What a run may spend. Default: 40 turns, tokens and seconds without limit. */
  readonly limits?: Partial<Limits>
  /** Slow thinking (openPangu's default); `false` adds ` /no_think`. Default: `true`. */
  readonly thinking?: boolean
  /** Of the turns themselves. Default: temperature 0.6, topP 0.95. A seed is used with the turn's number added. */
  readonly sampling?: SamplingOptions
  /** Tokens of one turn at most, 16 or more. Default: 2048. */
  readonly turnTokens?: number
  /** Turns in a row without call or answer after which a run ends. Default: 3. */
  readonly silentTurns?: number
  /** Agents of different tenants share no KV; `''` is nobody's in particular. Default: `''`. */
  readonly tenant?: string
  /** Of its requests; higher goes first. What runs in the background has less. Default: 0. */
  readonly priority?: number
  /** Texts that the runtime writes for the models. Default: `defaultPrompts`; those that are not given stay. */
  readonly prompts?: Partial<AgentPrompts>
  /** What the models put around thinking and calls. Default: `openPanguMarkers`. */
  readonly markers?: OutputMarkers
}

export interface ResolvedAgent {
  readonly name: string
  readonly models: AgentModels
  readonly tools: readonly Tool[]
  readonly instructions: string
  readonly route: Router
  readonly reasonTokens: number
  readonly warmFrom: number
  readonly observations: ObserveOptions | undefined
  readonly history: HistoryOptions | undefined
  /** Undefined: nothing is left out, so there is nothing to recall. */
  readonly recall: 'told' | 'listed' | undefined
  readonly limits: Limits
  readonly suffix: string
  readonly sampling: SamplingOptions
  readonly turnTokens: number
  readonly silentTurns: number
  readonly tenant: string
  readonly priority: number
  readonly prompts: AgentPrompts
  readonly markers: OutputMarkers
}

export const scalars = z.object({
  name: z.string().min(1).default('agent'),
  instructions: z.string().default(''),
  thinking: z.boolean().default(true),
  turnTokens: z.int().min(16).default(2048),
  silentTurns: z.int().min(1).default(3),
  tenant: z.string().default(''),
  priority: z.int().default(0),
  limits: z
    .strictObject({
      /** Generations of the main loop. */
      turns: z.int().min(1).default(40),
      /** Generated tokens, those of progress checks, distillation and called agents included. */
      tokens: z.number().positive().default(Number.POSITIVE_INFINITY),
      seconds: z.number().positive().default(Number.POSITIVE_INFINITY),
    })
    .prefault({}),
})

const known = [...Object.keys(scalars.shape), 'models', 'tools', 'collab', 'compress', 'sampling', 'prompts', 'markers']

export const defaultHistory: HistoryOptions = { ...defaultCompress, rule: 'gate', threshold: 5000, usualTurns: 20, priority: -1, load: 1, handover: true }

/** @throws {AgentInferError} `ERR_INVALID_ARGUMENT` */
export function resolveAgent(options: AgentOptions): ResolvedAgent {
  refuseUnknown(options, known, 'Agent')
  const { thinking, ...plain } = parseOptions(scalars, options, 'Agent')
  const { models, tools = [], collab = {}, compress = {}, sampling = { temperature: 0.6, topP: 0.95 } } = options
  if (compress !== false) refuseUnknown(compress, ['observations', 'history', 'recall'], 'Agent', 'compress.')
  const names = tools.map(({ name }) => name)
  const twice = names.find((name, index) => names.indexOf(name) !== index)
  if (twice !== undefined) throw wrong(`two tools are called "${twice}"`)
  parseOptions(samplingSchema, sampling, 'Agent: sampling')
  refuseUnknown(options.prompts ?? {}, Object.keys(defaultPrompts), 'Agent', 'prompts.')
  const [observations, history] = [resolveObservations(compress), resolveHistory(compress)]
  const recall = observations === undefined && history === undefined ? undefined : resolveRecall(compress, names)
  return {
    ...plain,
    models,
    tools,
    sampling,
    suffix: thinking ? '' : ' /no_think',
    prompts: { ...defaultPrompts, ...options.prompts },
    markers: options.markers ?? openPanguMarkers,
    ...resolveCollab(models, collab),
    observations,
    history,
    recall,
  }
}

function resolveCollab(models: AgentModels, collab: AgentCollabOptions | false): Pick<ResolvedAgent, 'route' | 'reasonTokens' | 'warmFrom'> {
  const { small, large } = models
  if (small === undefined && large === undefined) throw wrong('models: expected small, large or both')
  const only: Which | undefined = small === undefined ? 'large' : large === undefined ? 'small' : undefined
  const { route, reasonTokens = 32, warmFrom = 0.2, ...rest } = collab === false ? { route: only ?? 'large' } : collab
  const settings = collabOptions(rest)
  if (!(Number.isInteger(reasonTokens) && reasonTokens >= 0)) throw wrong(`collab.reasonTokens: expected an integer of at least 0, got ${reasonTokens}`)
  if (warmFrom !== false && !(warmFrom >= 0)) throw wrong(`collab.warmFrom: expected a probability or false, got ${warmFrom}`)
  const chosen = route ?? only ?? 'collab'
  if (only !== undefined && chosen !== only) throw wrong(`collab.route: ${typeof chosen === 'string' ? chosen : 'this rule'} needs both models, got ${only} alone`)
  return { route: routerOf(chosen, settings), reasonTokens, warmFrom: warmFrom === false ? Number.POSITIVE_INFINITY : warmFrom }
}

/** A wrong value would not fail later, it would silently never escalate, or always. */
function collabOptions(given: Partial<CollabOptions>): CollabOptions {
  const options = completed(given, defaultCollab, 'Agent', 'collab.')
  for (const key of ['up', 'down', 'askFrom', 'redoBelow'] as const)
    if (options[key] > 1) throw wrong(`collab.${key}: expected a probability, 0 to 1, got ${options[key]}`)
  const { confidenceWindow: window } = options
  if (!(Number.isInteger(window) && window >= 1)) throw wrong(`collab.confidenceWindow: expected an integer of at least 1, got ${window}`)
  return { ...options, sensor: completed(options.sensor, defaultSensor, 'Agent', 'collab.sensor.') }
}

function resolveObservations(compress: AgentCompressOptions | false): ObserveOptions | undefined {
  const given = compress === false ? false : (compress.observations ?? {})
  if (given === false) return undefined
  refuseUnknown(given, ['characters', 'rank'], 'Agent', 'compress.observations.')
  const { characters = defaultObserve.characters, rank = {} } = given
  if (!(characters > 0)) throw wrong(`compress.observations.characters: expected a number above 0, got ${characters}`)
  if (rank === false) return { characters, rank }
  return { characters, rank: completed(rank, defaultRank, 'Agent', 'compress.observations.rank.') }
}

function resolveHistory(compress: AgentCompressOptions | false): HistoryOptions | undefined {
  const given = compress === false ? false : (compress.history ?? {})
  if (given === false) return undefined
  const { rule = defaultHistory.rule, lambda, ...rest } = typeof given === 'object' ? given : { rule: given }
  if (typeof rule !== 'function' && rule !== 'gate' && rule !== 'paper')
    throw wrong(`compress.history: expected 'gate', 'paper', a function, or an object with these as its rule, got ${JSON.stringify(rule)}`)
  if (lambda !== undefined && typeof lambda !== 'function') throw wrong(`compress.history.lambda: expected a function, got ${JSON.stringify(lambda)}`)
  const { rule: _rule, ...plain } = defaultHistory
  const chosen: HistoryOptions = { ...completed(rest, plain, 'Agent', 'compress.history.'), rule, lambda }
  // The paper knows no such thing.
  return { ...chosen, handover: chosen.handover && rule !== 'paper' }
}

function resolveRecall(compress: AgentCompressOptions | false, names: readonly string[]): 'told' | 'listed' {
  const { recall = 'told' } = compress === false ? {} : compress
  if (recall !== 'told' && recall !== 'listed') throw wrong(`compress.recall: expected told or listed, got ${JSON.stringify(recall)}`)
  if (names.includes(recallName)) throw wrong(`a tool is called "${recallName}", as the one that gives back what was left out: expected another name, or compress: false`)
  return recall
}

function wrong(message: string): AgentInferError {
  return new AgentInferError('ERR_INVALID_ARGUMENT', `Agent: ${message}`)
}
