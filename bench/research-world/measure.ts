/** Runs agents over tasks, some number of sessions at once, and says what came of it. */
import type { Agent, AgentEvent } from 'agentinfer'

import { isRight } from './questions.js'
import type { Task } from './tasks.js'

export interface TaskOutcome {
  readonly task: Task
  readonly answer: string | undefined
  readonly right: boolean
  /** Why the run ended; `error` when it threw. */
  readonly end: string
  /** From its start to its end. */
  readonly seconds: number
  readonly turns: number
  /** Turns that the large model did. */
  readonly largeTurns: number
  readonly escalations: number
  readonly calls: number
  /** Calls that could not be read, of no tool, or with wrong arguments. */
  readonly badCalls: number
  readonly promptTokens: number
  readonly cachedTokens: number
  readonly completionTokens: number
  /** Swaps of old observations for a memory. */
  readonly swaps: number
  /** The turns' generations, in order. */
  readonly generations: readonly Generation[]
  /** Probability of TRUE after each turn with a call. */
  readonly verdicts: readonly number[]
}

/** What the model of one turn read and wrote. Tokens, milliseconds. */
export interface Generation {
  readonly large: boolean
  readonly prompt: number
  readonly cached: number
  readonly written: number
  /** From asking to the first token. */
  readonly first: number
  /** Per token behind the first; undefined: there was none. */
  readonly each: number | undefined
}

function generationOf(event: Extract<AgentEvent, { type: 'usage' }>): Generation {
  const first = event.queued + event.prefill
  const { promptTokens: prompt, cachedTokens: cached, completionTokens: written } = event
  const each = written > 1 ? (event.milliseconds - first) / (written - 1) : undefined
  return { large: event.model === 'large', prompt, cached, written, first, each }
}

/** Runs one task to its end. Rejects only when `signal` was aborted. */
async function runTask(agent: Agent, task: Task, signal?: AbortSignal): Promise<TaskOutcome> {
  const started = performance.now()
  const events: AgentEvent[] = []
  let [answer, end]: [string | undefined, string] = [undefined, 'error']
  try {
    const run = agent.run(task.question.text, signal === undefined ? {} : { signal })
    for await (const event of run) events.push(event)
    ;({ answer, end } = await run.result)
  } catch (error) {
    signal?.throwIfAborted()
    end = `error: ${error instanceof Error ? error.message : String(error)}`
  }
  const usage = events.filter((event) => event.type === 'usage')
  const sum = (of: (event: (typeof usage)[number]) => number): number => usage.reduce((total, event) => total + of(event), 0)
  // A turn that was written again counts once, as the model's that wrote it last.
  const turns = [...new Map(events.flatMap((event) => (event.type === 'turn' ? [[event.turn, event.model]] : []))).values()]
  return {
    task,
    answer,
    right: answer !== undefined && isRight(task.question, answer),
    end,
    seconds: (performance.now() - started) / 1000,
    turns: turns.length,
    largeTurns: turns.filter((model) => model === 'large').length,
    escalations: events.filter((event) => event.type === 'escalate' && event.to === 'large').length,
    calls: events.filter(({ type }) => type === 'tool-call').length,
    badCalls: events.filter((event) => event.type === 'observation' && !event.ok && badCall.test(event.text)).length,
    promptTokens: sum((event) => event.promptTokens),
    cachedTokens: sum((event) => event.cachedTokens),
    completionTokens: sum((event) => event.completionTokens),
    swaps: events.filter((event) => event.type === 'compress' && event.phase === 'swap').length,
    generations: usage.filter(({ purpose }) => purpose === 'turn').map(generationOf),
    verdicts: events.flatMap((event) =>
      event.type === 'progress' && event.probability !== undefined ? [event.probability] : [],
    ),
  }
}

/** How the runtime begins the observation of a call that it could not make. */
const badCall = /^Error: (?:there is no tool|arguments of|.*\. Write \[\{)/

/** All tasks, `sessions` at once; outcomes in the order of the tasks. After `until` (`performance.now()`) no task is begun. */
export async function runTasks(
  tasks: readonly Task[],
  agentOf: (task: Task) => Agent,
  sessions: number,
  options: {
    readonly signal?: AbortSignal
    readonly done?: (outcome: TaskOutcome, count: number) => void
    readonly until?: number
  } = {},
): Promise<TaskOutcome[]> {
  const { until = Number.POSITIVE_INFINITY } = options
  const outcomes: (TaskOutcome | undefined)[] = tasks.map(() => undefined)
  let [next, count] = [0, 0]
  const work = async (): Promise<void> => {
    while (next < tasks.length && performance.now() < until) {
      const index = next++
      const task = tasks[index]!
      const outcome = await runTask(agentOf(task), task, options.signal)
      outcomes[index] = outcome
      options.done?.(outcome, ++count)
    }
  }
  await Promise.all(Array.from({ length: Math.min(sessions, tasks.length) }, work))
  return outcomes.filter((outcome) => outcome !== undefined)
}

export interface Summary {
  readonly questions: number
  readonly accuracy: number
  readonly standardError: number
  /** Of questions of 1, 2, … hops; undefined where there were none. */
  readonly accuracyByHops: readonly (number | undefined)[]
  readonly turns: number
  /** Turns of the taught way. */
  readonly taughtTurns: number
  readonly largeTurnShare: number
  readonly escalations: number
  readonly completionTokens: number
  readonly promptTokens: number
  /** Prompt tokens that were found in the cache, of all. */
  readonly hitRate: number
  readonly validCalls: number
  readonly swaps: number
  readonly secondsToSolution: number
  readonly ends: Readonly<Record<string, number>>
}

/** Means per question, unless the name says otherwise. */
export function summarise(outcomes: readonly TaskOutcome[]): Summary {
  const accuracy = mean(outcomes.map(({ right }) => (right ? 1 : 0)))
  const total = (of: (outcome: TaskOutcome) => number): number => outcomes.reduce((sum, outcome) => sum + of(outcome), 0)
  const ofHops = (hops: number): number | undefined => {
    const some = outcomes.filter(({ task }) => task.question.chain.length === hops)
    return some.length === 0 ? undefined : mean(some.map(({ right }) => (right ? 1 : 0)))
  }
  const ends: Record<string, number> = {}
  for (const { end } of outcomes) ends[end] = (ends[end] ?? 0) + 1
  return {
    questions: outcomes.length,
    accuracy,
    standardError: Math.sqrt((accuracy * (1 - accuracy)) / Math.max(1, outcomes.length)),
    accuracyByHops: [1, 2, 3, 4, 5, 6].map(ofHops),
    turns: mean(outcomes.map(({ turns }) => turns)),
    taughtTurns: mean(outcomes.map(({ task }) => task.calls + 1)),
    largeTurnShare:
      total(({ largeTurns }) => largeTurns) /
      Math.max(
        1,
        total(({ turns }) => turns),
      ),
    escalations: mean(outcomes.map(({ escalations }) => escalations)),
    completionTokens: mean(outcomes.map(({ completionTokens }) => completionTokens)),
    promptTokens: mean(outcomes.map(({ promptTokens }) => promptTokens)),
    hitRate:
      total(({ cachedTokens }) => cachedTokens) /
      Math.max(
        1,
        total(({ promptTokens }) => promptTokens),
      ),
    validCalls:
      1 -
      total(({ badCalls }) => badCalls) /
        Math.max(
          1,
          total(({ calls }) => calls),
        ),
    swaps: mean(outcomes.map(({ swaps }) => swaps)),
    secondsToSolution: mean(outcomes.map(({ seconds }) => seconds)),
    ends,
  }
}

export function mean(list: readonly number[]): number {
  return list.reduce((sum, value) => sum + value, 0) / Math.max(1, list.length)
}
