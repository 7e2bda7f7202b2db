/** Runs of several seeds as estimates, and what the targets make of them. */
import { agentSchedDefaults } from 'agentinfer'

import type { Report } from '../report.js'
import type { Measures } from './measure.js'
import { baselines, contestants } from './policies.js'
import type { ContestantName } from './policies.js'
import type { Result } from './run.js'
import type { Scenario } from './scenarios.js'
import { estimate, ratio } from './statistics.js'
import type { Estimate } from './statistics.js'

/** What the tables and plots show: name, unit, factor, and how to read it off a run. */
export const figures = {
  hitRate: { unit: '%', of: (m) => 100 * m.hitRate },
  taskTime: { unit: 's', of: (m) => m.taskTime.mean },
  tasksPerHour: { unit: 'tasks/h', of: (m) => m.tasksPerHour },
  latency: { unit: 's', of: (m) => m.latency.mean },
  latencyP50: { unit: 's', of: (m) => m.latency.p50 },
  latencyP95: { unit: 's', of: (m) => m.latency.p95 },
  latencyP99: { unit: 's', of: (m) => m.latency.p99 },
  firstToken: { unit: 's', of: (m) => m.firstToken.mean },
  longestWait: { unit: 's', of: (m) => m.longestWait },
  fairness: { unit: '', of: (m) => m.fairness },
  recomputed: { unit: 'Mtokens', of: (m) => m.recomputedTokens / 1e6 },
  preemptions: { unit: '', of: (m) => m.preemptions },
  running: { unit: 'sequences', of: (m) => m.meanRunning },
} as const satisfies Record<string, { unit: string; of: (measures: Measures) => number }>

export type FigureName = keyof typeof figures

export interface Line {
  readonly scenario: string
  readonly contestant: ContestantName
  readonly label: string
  readonly estimates: Readonly<Record<FigureName, Estimate>>
}

/** Results of one scenario. */
export class Comparison {
  readonly scenario: Scenario
  readonly results: readonly Result[]

  constructor(scenario: Scenario, results: readonly Result[]) {
    this.scenario = scenario
    this.results = results.filter((result) => result.scenario === scenario.name)
  }

  /** By seed. */
  samples(who: ContestantName, figure: FigureName): number[] {
    return this.#of(who).map(({ measures }) => figures[figure].of(measures))
  }

  has(who: ContestantName): boolean {
    return this.scenario.contestants.includes(who)
  }

  get lines(): Line[] {
    return this.scenario.contestants.map((contestant) => ({
      scenario: this.scenario.name, contestant, label: contestants[contestant].label,
      estimates: Object.fromEntries(
        Object.keys(figures).map((name) => [name, estimate(this.samples(contestant, name as FigureName))]),
      ) as Record<FigureName, Estimate>,
    }))
  }

  best(among: readonly ContestantName[], figure: FigureName, better: 'higher' | 'lower'): ContestantName {
    const sign = better === 'higher' ? -1 : 1
    const known = among.filter((who) => this.has(who))
    return known.toSorted((a, b) => sign * (estimate(this.samples(a, figure)).mean - estimate(this.samples(b, figure)).mean))[0]!
  }

  ratio(a: ContestantName, b: ContestantName, figure: FigureName): Estimate {
    return ratio(this.samples(a, figure), this.samples(b, figure))
  }

  turnsPerMinute(who: ContestantName): number {
    return Math.max(...this.#of(who).map((result) => result.lambdaTurnsPerMinute))
  }

  #of(who: ContestantName): Result[] {
    return this.results.filter((result) => result.contestant === who).toSorted((a, b) => a.seed - b.seed)
  }
}

const spread = ({ mean, half }: Estimate): readonly [number, number] => [mean - half, mean + half]
const ours: readonly ContestantName[] = ['ours', 'ours+host']
/** How often λ may turn round by a fifth of its range in a minute: its own time constant is 2 s. */
const turnsAllowed = 6

/** The rows of one scenario. Spreads are 95 % intervals over seeds. */
export function judge(comparison: Comparison, report: Report): void {
  const { scenario } = comparison
  const row = (name: string, value: Estimate, more: { unit: string; target?: number; better?: 'higher' | 'lower'; note?: string }): void =>
    report.add({ name: `${scenario.name}: ${name}`, value: value.mean, spread: spread(value), modelled: true, ...more })
  for (const who of ours.filter((name) => comparison.has(name))) {
    const { label } = contestants[who]
    if (scenario.kind === 'paper') judgePaper(comparison, who, row)
    if (scenario.kind === 'pressure' || scenario.kind === 'scale') judgePressure(comparison, who, row)
    if (scenario.kind === 'calm') {
      const best = comparison.best(baselines, 'latency', 'lower')
      row(`${label}, mean latency over ${contestants[best].label}`, comparison.ratio(who, best, 'latency'), { unit: 'x', target: 1.01, better: 'lower' })
    }
    const waits = comparison.samples(who, 'longestWait')
    report.add({
      name: `${scenario.name}: ${label}, longest wait`, value: Math.max(...waits), unit: 's', spread: [Math.min(...waits), Math.max(...waits)],
      target: agentSchedDefaults.maxWait, better: 'lower', modelled: true,
    })
    report.add({
      name: `${scenario.name}: ${label}, turns of λ`, value: comparison.turnsPerMinute(who), unit: '/min', target: turnsAllowed, better: 'lower', modelled: true,
    })
  }
}

type AddRow = (name: string, value: Estimate, more: { unit: string; target?: number; better?: 'higher' | 'lower'; note?: string }) => void

function judgePaper(comparison: Comparison, who: ContestantName, row: AddRow): void {
  const { label } = contestants[who]
  const bound = estimate(comparison.samples('unlimited', 'hitRate')).mean
  row(`${label}, hit rate`, estimate(comparison.samples(who, 'hitRate')), {
    unit: '%', target: Math.min(85, bound - 5), note: `first come ${estimate(comparison.samples('fcfs', 'hitRate')).mean.toFixed(1)}, without any eviction ${bound.toFixed(1)}`,
  })
  row(`${label}, mean task time over first come`, comparison.ratio(who, 'fcfs', 'taskTime'), {
    unit: 'x', target: 0.8, better: 'lower', note: `without any eviction ${comparison.ratio('ours-unlimited', 'fcfs', 'taskTime').mean.toFixed(3)}`,
  })
}

function judgePressure(comparison: Comparison, who: ContestantName, row: AddRow): void {
  const { label } = contestants[who]
  const best = comparison.best(baselines, 'tasksPerHour', 'higher')
  row(`${label}, throughput over first come`, comparison.ratio(who, 'fcfs', 'tasksPerHour'), { unit: 'x', target: 1.5 })
  row(`${label}, throughput over ${contestants[best].label}`, comparison.ratio(who, best, 'tasksPerHour'), { unit: 'x', target: 1.1 })
  if (who !== 'ours+host' || !comparison.has('lpm+host')) return
  const hosted = comparison.best(['fcfs+host', 'lpm+host'], 'tasksPerHour', 'higher')
  row(`${label}, throughput over ${contestants[hosted].label}`, comparison.ratio(who, hosted, 'tasksPerHour'), { unit: 'x' })
}

/** The comparison of one scenario, for people. */
export function table(comparison: Comparison): string {
  const names = Object.keys(figures) as FigureName[]
  const heading = ['', ...names.map((name) => `${name}${figures[name].unit === '' ? '' : ` (${figures[name].unit})`}`)]
  const cells = comparison.lines.map((line) => [line.label, ...names.map((name) => shown(line.estimates[name]))])
  const widths = heading.map((_, column) => Math.max(...[heading, ...cells].map((each) => each[column]!.length)))
  const lines = [heading, ...cells].map((each) => each.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join('  '))
  return [`${comparison.scenario.name}: ${comparison.scenario.about}`, ...lines].join('\n')
}

/** 7.52±0.31 */
export function shown({ mean, half }: Estimate): string {
  const digits = Math.abs(mean) >= 100 ? 0 : Math.abs(mean) >= 10 ? 1 : 2
  return half === 0 ? mean.toFixed(digits) : `${mean.toFixed(digits)}±${half.toFixed(digits)}`
}
