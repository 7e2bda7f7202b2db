/**
 * A pair of models, a scheduler, a pool of KV and a set of questions: what comes of it in figures. Every measurement opens engines of its
 * own, so nothing is cached when it begins, and warms nothing but the code.
 */
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

import { Agent, Engine } from 'agentinfer'
import type { AgentCollabOptions, AgentEngine, AgentOptions, EngineOptions, EngineStats, Scheduler, SchedulerName } from 'agentinfer'

import { instructions, worldPrompts } from './format.js'
import { mean, runTasks, summarise } from './measure.js'
import type { Generation, Summary, TaskOutcome } from './measure.js'
import type { Task } from './tasks.js'
import { worldTools } from './tools.js'

/** The folder of the nearest package.json: this file runs from bench/ and from dist/bench/. */
function repository(): string {
  let folder = path.dirname(fileURLToPath(import.meta.url))
  while (!existsSync(path.join(folder, 'package.json'))) {
    if (path.dirname(folder) === folder) throw new Error('expected a package.json above this file')
    folder = path.dirname(folder)
  }
  return folder
}

export type ModelName = 'small' | 'large'

/** The committed models. */
export function modelFolder(name: ModelName): string {
  const folder = path.join(repository(), 'bench/models', name)
  if (!existsSync(path.join(folder, 'model.safetensors'))) throw new Error(`${folder}: expected a model.safetensors; bench/models/make.sh makes one`)
  return folder
}

export interface Machine {
  readonly small: string
  readonly large: string
  readonly threads: number
  /** Memory for KV, as tokens of the large model. Two models share it: each gets room for as many tokens. */
  readonly kvTokens: number
  /** Of the tools' latencies: see tools.ts. */
  readonly timeScale: number
}

/** The four parts; whoever leaves one out gets what an ordinary server does. */
export interface Parts {
  /** Which model writes. Default: the large one alone. */
  readonly collab?: AgentCollabOptions
  readonly compress?: AgentOptions['compress']
  /** Default: first come. */
  readonly scheduler?: SchedulerName | (() => Scheduler)
  /** Default: off. */
  readonly speculation?: EngineOptions['speculation']
  readonly prompts?: AgentOptions['prompts']
  /** Between agents and engines, for what no option does. */
  readonly wrap?: (engine: Engine) => AgentEngine
}

export const maxContext = 2048
const turnLimit = 24

export interface Engines {
  readonly small?: Engine
  readonly large?: Engine
  close(): Promise<void>
}

/** Values of KV per token. */
function kvWidth(model: string): number {
  const config = JSON.parse(readFileSync(path.join(model, 'config.json'), 'utf8')) as Record<string, number>
  const { hidden_size: width, num_attention_heads: heads, num_key_value_heads: kvHeads, num_hidden_layers: layers } = config
  return (2 * layers! * kvHeads! * width!) / heads!
}

/**
 * Tokens of the pools: the same memory whichever models there are. Of two, the small one gets a third of it, which is more tokens than the large
 * one has in the rest: it does most of the turns.
 */
function poolTokens({ small, large, kvTokens }: Machine, route: 'small' | 'large' | 'both'): { readonly small: number; readonly large: number } {
  const ratio = kvWidth(large) / kvWidth(small)
  const tokens = (share: number, perToken: number): number => Math.max(maxContext, Math.floor(share * perToken * kvTokens))
  if (route !== 'both') return { small: tokens(1, ratio), large: tokens(1, 1) }
  return { small: tokens(1 / 3, ratio), large: tokens(2 / 3, 1) }
}

export async function openEngines(machine: Machine, parts: Parts): Promise<Engines> {
  const route = parts.collab?.route ?? (parts.collab === undefined ? 'large' : 'collab')
  const pools = poolTokens(machine, route === 'small' || route === 'large' ? route : 'both')
  const open = (which: ModelName): Promise<Engine> => {
    const { scheduler = 'fcfs' } = parts
    return Engine.open({
      model: machine[which],
      device: 'cpu',
      threads: machine.threads,
      maxContext,
      kvTokens: pools[which],
      blockSize: 16,
      speculation: parts.speculation ?? 'off',
      scheduler: typeof scheduler === 'function' ? scheduler() : scheduler,
    })
  }
  const small = route === 'large' ? undefined : await open('small')
  const large = route === 'small' ? undefined : await open('large')
  return {
    ...(small !== undefined && { small }),
    ...(large !== undefined && { large }),
    close: async () => {
      await small?.close()
      await large?.close()
    },
  }
}

export function agentFor(task: Task, engines: Engines, machine: Pick<Machine, 'timeScale'>, parts: Parts): Agent {
  const { search, open } = worldTools(task.world, task.index, { seed: 1, timeScale: machine.timeScale })
  const { wrap = (engine: Engine): AgentEngine => engine, collab } = parts
  const { small, large } = engines
  return new Agent({
    models: { ...(small !== undefined && { small: wrap(small) }), ...(large !== undefined && { large: wrap(large) }) },
    tools: [search, open],
    instructions,
    prompts: { ...worldPrompts, ...parts.prompts },
    sampling: { temperature: 0 },
    turnTokens: 96,
    limits: { turns: turnLimit },
    // The models were trained with it among the tools, or without.
    compress: parts.compress === undefined || parts.compress === false ? false : { recall: 'listed', ...parts.compress },
    ...(collab !== undefined && small !== undefined && large !== undefined && { collab }),
  })
}

/** Means per question unless the name says otherwise. Tokens, seconds, milliseconds, shares 0..1. */
export interface Figures extends Summary {
  readonly seconds: number
  /** Of as many agents, each always with a question (Little's law): the end of a batch, when few are left, does not count. */
  readonly tasksPerMinute: number
  /** Milliseconds from asking for a turn to its first token, and per token behind it. */
  readonly firstToken: number
  readonly perToken: number
  /** Put through a model, of both models: prompts, output, refused drafts. */
  readonly processed: number
  /** Of these, those that did not have to be: all but one look at each token of the run as its last turn had it. */
  readonly ineffective: number
  /** Tokens of the last turn's prompt. */
  readonly context: number
  /** Of turns whose prompt has below 256, 512, and more tokens; undefined where there were none. */
  readonly hitRateByLength: readonly (number | undefined)[]
  /** Of the engine's requests, all purposes. */
  readonly engineHitRate: number
  readonly accepted: number
  readonly draftHitRate: number
  readonly tokensPerForward: number
  readonly preemptions: number
}

/** Of so many sessions at once that took so many seconds together. */
export function figuresOf(outcomes: readonly TaskOutcome[], stats: readonly EngineStats[], seconds: number, sessions: number): Figures {
  const summary = summarise(outcomes)
  const generations = outcomes.flatMap((outcome) => outcome.generations)
  const count = Math.max(1, outcomes.length)
  const total = (of: (one: EngineStats) => number): number => stats.reduce((sum, one) => sum + of(one), 0)
  const drafted = total(({ speculation }) => speculation.drafted)
  const accepted = total(({ speculation }) => speculation.accepted)
  const processed = total(({ tokens }) => tokens.computed + tokens.generated) + drafted - accepted
  const needed = outcomes.reduce((sum, outcome) => sum + lengthOf(outcome.generations.at(-1)), 0)
  const generated = total(({ tokens }) => tokens.generated)
  return {
    ...summary,
    seconds,
    tasksPerMinute: (60 * sessions) / Math.max(1e-9, summary.secondsToSolution),
    firstToken: mean(generations.map(({ first }) => first)),
    perToken: mean(generations.flatMap(({ each }) => (each === undefined ? [] : [each]))),
    processed: processed / count,
    ineffective: (processed - needed) / count,
    context: mean(outcomes.map((outcome) => outcome.generations.at(-1)?.prompt ?? 0)),
    hitRateByLength: [0, 256, 512].map((from, at) => hitsOf(generations, from, [256, 512, Number.POSITIVE_INFINITY][at]!)),
    engineHitRate: total(({ tokens }) => tokens.cached) / Math.max(1, total(({ tokens }) => tokens.prompt)),
    accepted: accepted / Math.max(1, generated),
    draftHitRate: drafted === 0 ? 0 : accepted / drafted,
    tokensPerForward: weightedForward(stats),
    preemptions: total((one) => one.preemptions),
  }
}

function hitsOf(generations: readonly Generation[], from: number, to: number): number | undefined {
  const some = generations.filter(({ prompt }) => prompt >= from && prompt < to)
  return some.length === 0 ? undefined : mean(some.map(({ cached, prompt }) => cached / prompt))
}

function lengthOf(generation: Generation | undefined): number {
  return generation === undefined ? 0 : generation.prompt + generation.written
}

/** Tokens per forward pass of decoding, of both engines together. */
function weightedForward(stats: readonly EngineStats[]): number {
  const tokens = stats.reduce((sum, one) => sum + one.tokens.generated, 0)
  const passes = stats.reduce((sum, one) => sum + one.tokens.generated / Math.max(1, one.speculation.ote), 0)
  return passes === 0 ? 1 : tokens / passes
}

export interface Progress {
  readonly done: number
  readonly count: number
  readonly right: number
  readonly lambda: number
  readonly hitRate: number
  /** Accepted draft tokens of all generated ones. */
  readonly accepted: number
}

export interface Run {
  readonly figures: Figures
  readonly outcomes: readonly TaskOutcome[]
}

export async function measure(
  machine: Machine,
  parts: Parts,
  tasks: readonly Task[],
  sessions: number,
  options: { readonly progress?: (progress: Progress) => void; readonly seconds?: number; readonly signal?: AbortSignal } = {},
): Promise<Run> {
  const engines = await openEngines(machine, parts)
  const all = [engines.small, engines.large].filter((engine) => engine !== undefined)
  let [done, right] = [0, 0]
  const tell = (): void => {
    const stats = all.map((engine) => engine.stats())
    const sum = (of: (one: EngineStats) => number): number => stats.reduce((total, one) => total + of(one), 0)
    options.progress?.({
      done,
      count: tasks.length,
      right,
      lambda: Math.max(0, ...stats.map(({ sched }) => sched.figures['lambda'] ?? 0)),
      hitRate: sum(({ tokens }) => tokens.cached) / Math.max(1, sum(({ tokens }) => tokens.prompt)),
      accepted: sum(({ speculation }) => speculation.accepted) / Math.max(1, sum(({ tokens }) => tokens.generated)),
    })
  }
  const timer = options.progress === undefined ? undefined : setInterval(tell, 500)
  try {
    const started = performance.now()
    const outcomes = await runTasks(tasks, (task) => agentFor(task, engines, machine, parts), sessions, {
      ...(options.signal !== undefined && { signal: options.signal }),
      ...(options.seconds !== undefined && { until: started + 1000 * options.seconds }),
      done: (outcome) => {
        done += 1
        right += outcome.right ? 1 : 0
      },
    })
    const seconds = (performance.now() - started) / 1000
    tell()
    return { outcomes, figures: figuresOf(outcomes, all.map((engine) => engine.stats()), seconds, Math.min(sessions, outcomes.length)) }
  } finally {
    clearInterval(timer)
    await engines.close()
  }
}
