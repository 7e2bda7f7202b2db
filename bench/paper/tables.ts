/** The paper's tables (AgentInfer, arXiv 2512.18337) as settings of this world: which rows, under which conditions, and what is shown. */
import type { AgentCompressOptions, RouteDecision, Router, Which } from 'agentinfer'

import type { Figures, Parts } from '../research-world/arena.js'
import { defaultHops } from '../research-world/questions.js'
import { shortHistory, tuned, whole } from '../research-world/tuned.js'
import { printed, RuleScheduler } from '../sched/rules.js'
import { paperDrafts, withoutReasoning } from './wrapped.js'

export interface Variant {
  readonly name: string
  /** A function where every run needs a fresh one. */
  readonly parts: Parts | (() => Parts)
  readonly whose?: 'paper' | 'ours'
}

export interface Column {
  readonly name: string
  readonly unit: string
  readonly of: (figures: Figures) => number
  readonly better: 'higher' | 'lower' | undefined
}

export interface Table {
  readonly number: number
  readonly title: string
  /** In the paper. */
  readonly source: string
  readonly about: string
  readonly sessions: number
  /** Tokens of each engine's pool, of a session. */
  readonly kvPerSession: number
  readonly hops: readonly number[]
  readonly variants: readonly Variant[]
  /** The variant that speedups are over. */
  readonly base: string
  readonly columns: readonly Column[]
}

const share = (name: string, of: Column['of'], better?: Column['better']): Column => ({
  name, unit: '%', of: (figures) => 100 * of(figures), better: better ?? undefined,
})

export const accuracy = share('accuracy', (one) => one.accuracy, 'higher')
export const rate: Column = { name: 'questions a minute', unit: '/min', of: (one) => one.tasksPerMinute, better: 'higher' }
const solution: Column = { name: 'time to solution', unit: 's', of: (one) => one.secondsToSolution, better: 'lower' }
const turns: Column = { name: 'turns', unit: '', of: (one) => one.turns, better: 'lower' }
const written: Column = { name: 'tokens written', unit: '', of: (one) => one.completionTokens, better: 'lower' }
const context: Column = { name: 'context at the end', unit: 'tokens', of: (one) => one.context, better: 'lower' }
const firstToken: Column = { name: 'TTFT', unit: 'ms', of: (one) => one.firstToken, better: 'lower' }
const perToken: Column = { name: 'TPOT', unit: 'ms', of: (one) => one.perToken, better: 'lower' }
export const ineffective: Column = { name: 'ineffective tokens', unit: '', of: (one) => one.ineffective, better: 'lower' }
const processed: Column = { name: 'tokens computed', unit: '', of: (one) => one.processed, better: 'lower' }
const hits = share('hit rate', (one) => one.engineHitRate, 'higher')
const largeTurns = share('turns by large', (one) => one.largeTurnShare)
const swaps: Column = { name: 'swaps', unit: '', of: (one) => one.swaps, better: undefined }

/** `first` writes so many turns, then the other one all others. Nobody is asked for progress. */
function handOver(first: Which, count: number): Router<number> {
  const decide = (done: number): { state: number; decision: RouteDecision } => {
    const model: Which = done < count === (first === 'large') ? 'large' : 'small'
    return { state: done, decision: { model, reason: done < count ? 'plan' : 'stay', stuck: 0, finish: false } }
  }
  return { name: `${first} ${count}`, wantsProgress: false, initial: () => decide(0), next: (done) => decide(done + 1) }
}

/** The paper's threshold of 5000, in proportion to the contexts here. */
const paperHistory = { ...shortHistory, rule: 'paper', threshold: 450 } as const
const noFilter = { observations: false } as const
const compressed = (more: NonNullable<AgentCompressOptions['history']>): Parts => ({ compress: { ...noFilter, history: more } })
const long = [0, 0, 0.25, 0.25, 0.25, 0.25]

const paperSched = (): RuleScheduler => new RuleScheduler(printed)

const collabTable: Table = {
  number: 1, title: 'Collaboration', source: 'Table 4', about: 'Which model writes. Four agents, room for all KV, first come, nothing else.',
  sessions: 4, kvPerSession: 2048, hops: defaultHops, base: 'large only',
  variants: [
    { name: 'large only', parts: {} },
    { name: 'small only', parts: { collab: { route: 'small' } } },
    { name: 'small, large planner', parts: { collab: { route: handOver('large', 2) } } },
    { name: 'large as seeker', parts: { collab: { route: handOver('small', 1) } } },
    { name: 'collab, paper', parts: { collab: { route: 'paper' } }, whose: 'paper' },
    { name: 'collab, verdicts alone', parts: { collab: { route: 'collab' } } },
    { name: 'collab, ours', parts: tuned.collab, whose: 'ours' },
  ],
  columns: [accuracy, solution, rate, largeTurns, turns, written, processed],
}

const compressTable: Table = {
  number: 2, title: 'Compression', source: 'Tables 6 to 9', about: 'The large model alone, questions of 3 to 6 steps, four agents, room for all KV. Rows behind “ours” are the paper\'s rule with something left out.',
  sessions: 4, kvPerSession: 2048, hops: long, base: 'off',
  variants: [
    { name: 'off', parts: {} },
    { name: 'filter alone', parts: { compress: { history: false } } },
    { name: 'paper', parts: compressed(paperHistory), whose: 'paper' },
    { name: 'ours', parts: tuned.compress, whose: 'ours' },
    { name: 'paper, no reasoning', parts: { ...compressed(paperHistory), wrap: withoutReasoning } },
    { name: 'paper, no summary', parts: { ...compressed(paperHistory), prompts: { memory: () => '===MEMORY===\n===END_MEMORY===' } } },
    { name: 'paper, no recent results', parts: compressed({ ...paperHistory, keepRecent: 0 }) },
  ],
  columns: [accuracy, solution, turns, written, processed, context, swaps],
}

const schedTable: Table = {
  number: 3, title: 'Scheduling', source: 'Table 10', about: 'The large model alone, sixteen agents, a pool for about a quarter of what they want.',
  sessions: 16, kvPerSession: 128, hops: long, base: 'first come',
  variants: [
    { name: 'first come', parts: { scheduler: 'fcfs' } },
    { name: 'shortest job', parts: { scheduler: 'sjf' } },
    { name: 'paper', parts: { scheduler: paperSched }, whose: 'paper' },
    { name: 'ours', parts: tuned.sched, whose: 'ours' },
  ],
  columns: [
    accuracy, rate, solution, hits, ...[0, 1, 2].map((at) => hitsAt(at)), firstToken, perToken, processed,
  ],
}

/** Hit rate of turns whose prompt is below 256, 512, or longer. */
function hitsAt(at: number): Column {
  const name = ['hits below 256', 'hits to 512', 'hits beyond'][at]!
  return share(name, (one) => one.hitRateByLength[at] ?? Number.NaN, 'higher')
}

const speculationTable: Table = {
  number: 4, title: 'Speculation', source: 'Tables 11 and 12', about: 'The large model alone, four agents, room for all KV, first come.',
  sessions: 4, kvPerSession: 2048, hops: defaultHops, base: 'none',
  variants: [
    { name: 'none', parts: {} },
    { name: 'own context', parts: { speculation: { maxDraft: 15, siblings: 0, retrieved: 0, memory: { bytes: 0 } } } },
    { name: 'paper', parts: () => ({ speculation: 'auto', wrap: paperDrafts() }), whose: 'paper' },
    { name: 'ours', parts: { speculation: 'auto' }, whose: 'ours' },
  ],
  columns: [
    accuracy, { name: 'OTE', unit: 'tokens', of: (one) => one.tokensPerForward, better: 'higher' },
    share('SHR', (one) => one.draftHitRate, 'higher'), firstToken, perToken, solution, rate,
  ],
}

function wholeTable(sessions: number): Table {
  return {
    number: 5, title: `The whole, ${sessions} agents`, source: 'Table 13',
    about: 'KV memory for about half of what sixteen agents want, the same for every row: two models share it. The pool of four holds all. Rows with + add a part to the row above; rows with - are the whole without one.',
    sessions, kvPerSession: 192, hops: defaultHops, base: 'large only, first come',
    variants: [
      { name: 'large only, first come', parts: {} },
      { name: '+ Collab', parts: tuned.collab },
      { name: '+ Compress', parts: { ...tuned.collab, ...tuned.compress } },
      { name: '+ Sched', parts: { ...tuned.collab, ...tuned.compress, ...tuned.sched } },
      { name: '+ SAM: the whole', parts: whole, whose: 'ours' },
      { name: '- Collab', parts: { ...tuned.compress, ...tuned.sched, ...tuned.sam } },
      { name: '- Compress', parts: { ...tuned.collab, ...tuned.sched, ...tuned.sam } },
      { name: '- Sched', parts: { ...tuned.collab, ...tuned.compress, ...tuned.sam } },
      { name: '- SAM', parts: { ...tuned.collab, ...tuned.compress, ...tuned.sched } },
      {
        name: 'the whole by the paper’s rules', whose: 'paper',
        parts: () => ({
          collab: { route: 'paper' }, compress: { ...noFilter, history: paperHistory }, scheduler: paperSched, speculation: 'auto', wrap: paperDrafts(),
        }),
      },
    ],
    columns: [accuracy, rate, solution, ineffective, processed, hits, largeTurns, share('from drafts', (one) => one.accepted, 'higher')],
  }
}

export const tables: readonly Table[] = [collabTable, compressTable, schedTable, speculationTable, wholeTable(4), wholeTable(16)]
