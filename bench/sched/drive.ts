/** Runs a trace on a real engine: sessions, tools that take their time, agents that wait for others. */
import { setTimeout as sleep } from 'node:timers/promises'

import type { Engine, Session } from 'agentinfer'

import { Random } from './random.js'
import type { AgentScript, Segment, Task, Trace } from './workload.js'

export interface DriveOptions {
  /** Ids are drawn from [first, end). */
  readonly tokens: { readonly first: number; readonly end: number }
  /** A tool takes its seconds times this. Default: 1. */
  readonly pace?: number
}

export interface Driven {
  readonly promptTokens: number
  readonly cachedTokens: number
  readonly seconds: number
  /** Mean over tasks, seconds. */
  readonly taskTime: number
}

export async function drive(engine: Engine, trace: Trace, options: DriveOptions): Promise<Driven> {
  const run = new Run(engine, options)
  const begin = performance.now()
  const closed = trace.tasks.filter((task) => task.at === undefined)
  const place = async (): Promise<void> => {
    for (let task = closed.shift(); task !== undefined; task = closed.shift()) await run.task(task)
  }
  const open = trace.tasks.filter((task) => task.at !== undefined).map(async (task) => {
    await sleep(1000 * task.at! * run.pace)
    await run.task(task)
  })
  await Promise.all([...open, ...Array.from({ length: trace.places }, place)])
  const { promptTokens, cachedTokens, taskTimes } = run
  return {
    promptTokens, cachedTokens, seconds: (performance.now() - begin) / 1000,
    taskTime: taskTimes.reduce((sum, time) => sum + time, 0) / Math.max(1, taskTimes.length),
  }
}

class Run {
  promptTokens = 0
  cachedTokens = 0
  readonly taskTimes: number[] = []
  readonly pace: number
  readonly #engine: Engine
  readonly #options: DriveOptions
  readonly #random = new Random(17)
  readonly #keyed = new Map<string, number[]>()

  constructor(engine: Engine, options: DriveOptions) {
    this.#engine = engine
    this.#options = options
    this.pace = options.pace ?? 1
  }

  async task(task: Task): Promise<void> {
    const begin = performance.now()
    await this.#agent(task, task.root)
    this.taskTimes.push((performance.now() - begin) / 1000)
  }

  async #agent(task: Task, script: AgentScript): Promise<void> {
    using session = this.#engine.session({ tenant: task.tenant, priority: task.priority })
    await session.append({ tokens: this.#head(script.head) })
    for (const { append, output, tool, spawn = [] } of script.turns) {
      if (append > 0) await session.append({ tokens: this.#tokens(append) })
      await this.#generate(session, output)
      if (tool === undefined) continue
      session.activity({ kind: 'tool', tool: tool.name })
      if (spawn.length > 0) await Promise.all(spawn.map((child) => this.#agent(task, child)))
      else await sleep(1000 * tool.seconds * this.pace)
    }
  }

  async #generate(session: Session, maxTokens: number): Promise<void> {
    const { usage } = await session.generate({ maxTokens, ignoreEos: true, speculation: 'off', sampling: { temperature: 0 } }).response
    this.promptTokens += usage.promptTokens
    this.cachedTokens += usage.cachedTokens
  }

  #head(head: readonly Segment[]): number[] {
    return head.flatMap(({ key, tokens }) => {
      let ids = this.#keyed.get(key)
      if (ids === undefined) this.#keyed.set(key, (ids = this.#tokens(tokens)))
      return ids
    })
  }

  #tokens(count: number): number[] {
    const { first, end } = this.#options.tokens
    return Array.from({ length: count }, () => this.#random.integer(first, end - 1))
  }
}
