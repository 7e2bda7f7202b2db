/** Sets of questions to measure with: which worlds, how many, how hard. */
import { callsNeeded } from './oracle.js'
import { defaultHops, joinQuestions, makeQuestion } from './questions.js'
import type { PlannedQuestion, Question } from './questions.js'
import { Random } from './random.js'
import { answerCall } from './runs.js'
import { SearchIndex } from './search.js'
import { World } from './world.js'
import type { WorldOptions } from './world.js'

export interface Task {
  readonly id: string
  readonly world: World
  readonly index: SearchIndex
  readonly question: Question
  /** Calls of the taught way. */
  readonly calls: number
}

export interface TaskOptions extends Partial<WorldOptions> {
  readonly seed: number
  readonly count: number
  /** Questions per world; more of one world share pages, and so caches. Default 4. */
  readonly perWorld?: number
  /** Relative frequency of 1, 2, ... hops. */
  readonly hops?: readonly number[]
}

/**
 * Questions that can be answered, each with the number of calls that it takes. Worlds have the seeds 1000 * seed, 1000 * seed +
 * 1, …
 */
export function makeTasks({ seed, count, perWorld = 4, hops = defaultHops, ...world }: TaskOptions): Task[] {
  const tasks: Task[] = []
  for (let number = 0; tasks.length < count; ++number) {
    const made = new World({ ...world, seed: 1000 * seed + number })
    const index = new SearchIndex(made)
    const random = new Random(`tasks ${seed} ${number}`)
    for (let i = 0; i < perWorld && tasks.length < count;) {
      const question = makeQuestion(made, random, hops)
      const calls = callsNeeded(index, question, (call) => answerCall(made, index, call))
      if (calls === undefined) continue
      tasks.push({ id: `${made.options.split}-${made.options.seed}-${++i}`, world: made, index, question, calls })
    }
  }
  return tasks
}

/** Tasks for a planner with parallel seekers: 2 to 4 questions about one world, asked together. */
export function makePlannedTasks(
  options: Omit<TaskOptions, 'perWorld'>,
): { readonly world: World; readonly index: SearchIndex; readonly question: PlannedQuestion }[] {
  return Array.from({ length: options.count }, (_, i) => {
    const parts = 2 + new Random(`planned ${options.seed} ${i}`).below(3)
    const tasks = makeTasks({ ...options, seed: 1000 * options.seed + i, count: parts, perWorld: parts })
    return { world: tasks[0]!.world, index: tasks[0]!.index, question: joinQuestions(tasks.map(({ question }) => question)) }
  })
}
