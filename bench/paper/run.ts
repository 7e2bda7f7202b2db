/**
 * Runs tables: every seed has its own questions, which all rows answer one after the other, each time another row first. Before them every row
 * answers a few that do not count: the first seconds of a process go into compiling its JavaScript.
 */
import { measure } from '../research-world/arena.js'
import type { Figures, Machine } from '../research-world/arena.js'
import type { Split } from '../research-world/names.js'
import { makeTasks } from '../research-world/tasks.js'
import type { Task } from '../research-world/tasks.js'
import { estimate, ratio } from '../sched/statistics.js'
import type { Estimate } from '../sched/statistics.js'
import type { Column, Table, Variant } from './tables.js'

/** Questions of each of the agents that are at work at once, at least: with fewer, a run is mostly beginning and end. */
const perSession = 6

export interface PaperOptions {
  readonly machine: Omit<Machine, 'kvTokens'>
  readonly seeds: readonly number[]
  /** Questions of a row and seed; of many agents there are more. */
  readonly questions: number
  readonly split: Split
  readonly progress: (text: string) => void
}

export class Result {
  readonly table: Table
  readonly seeds: readonly number[]
  /** Per variant, in the order of the seeds. */
  readonly figures: ReadonlyMap<string, readonly Figures[]>

  constructor(table: Table, seeds: readonly number[], figures: ReadonlyMap<string, readonly Figures[]>) {
    this.table = table
    this.seeds = seeds
    this.figures = figures
  }

  samples(variant: string, column: Column): number[] {
    return this.figures.get(variant)!.map(column.of).filter((value) => !Number.isNaN(value))
  }

  /** undefined: not measured by any seed. */
  estimate(variant: string, column: Column): Estimate | undefined {
    const samples = this.samples(variant, column)
    return samples.length === 0 ? undefined : estimate(samples)
  }

  /** Seed by seed. */
  ratio(variant: string, over: string, column: Column): Estimate {
    return ratio(this.samples(variant, column), this.samples(over, column))
  }
}

export async function runTable(table: Table, options: PaperOptions): Promise<Result> {
  const { seeds, progress, split } = options
  const figures = new Map<string, Figures[]>(table.variants.map(({ name }) => [name, []]))
  const machine: Machine = { ...options.machine, kvTokens: Math.max(2048, table.sessions * table.kvPerSession) }
  const count = Math.max(options.questions, perSession * table.sessions)
  const run = async (variant: Variant, tasks: readonly Task[]): Promise<Figures> => {
    const parts = typeof variant.parts === 'function' ? variant.parts() : variant.parts
    return (await measure(machine, parts, tasks, table.sessions)).figures
  }
  const first = makeTasks({ seed: 1, count: Math.max(8, table.sessions), split, hops: table.hops })
  for (const variant of table.variants) {
    progress(`table ${table.number}, ${table.sessions} agents, to begin with: ${variant.name}`)
    await run(variant, first)
  }
  for (const [round, seed] of seeds.entries()) {
    const tasks = makeTasks({ seed, count, split, hops: table.hops })
    for (let i = 0; i < table.variants.length; ++i) {
      const variant: Variant = table.variants[(i + round) % table.variants.length]!
      progress(`table ${table.number}, ${table.sessions} agents, seed ${seed}: ${variant.name}`)
      figures.get(variant.name)!.push(await run(variant, tasks))
    }
  }
  return new Result(table, seeds, figures)
}
