/**
 * What trained models do: agents with the real tools on questions that they have not met.
 *
 *   node dist/bench/models/rollout.js --small DIR --large DIR --route collab [--split tune --seed 1 --count 60 --agents 8 --json FILE]
 *
 * Prints accuracy with its standard error, by hops, turns, tokens, the share of well-formed calls, and how runs ended. Seeds of the split
 * `eval` are for figures that are reported; for trying things out there is `tune`.
 */
import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'

import { Agent, Engine } from 'agentinfer'
import type { AgentEvent, RouteName } from 'agentinfer'

import { instructions, worldPrompts } from '../research-world/format.js'
import type { Split } from '../research-world/names.js'
import { isRight } from '../research-world/questions.js'
import { makeTasks } from '../research-world/tasks.js'
import type { Task } from '../research-world/tasks.js'
import { worldTools } from '../research-world/tools.js'

const { values } = parseArgs({
  options: {
    small: { type: 'string' },
    large: { type: 'string' },
    route: { type: 'string' },
    split: { type: 'string', default: 'tune' },
    seed: { type: 'string', default: '1' },
    count: { type: 'string', default: '60' },
    agents: { type: 'string', default: '8' },
    turns: { type: 'string', default: '32' },
    threads: { type: 'string', default: '2' },
    compress: { type: 'boolean', default: false },
    show: { type: 'string', default: '0' },
    json: { type: 'string' },
  },
})

interface Outcome {
  readonly task: Task
  readonly answer: string | undefined
  readonly right: boolean
  readonly end: string
  readonly turns: number
  readonly tokens: number
  readonly calls: number
  readonly badCalls: number
  readonly verdicts: readonly number[]
}

async function open(model: string | undefined): Promise<Engine | undefined> {
  return model === undefined ? undefined : await Engine.open({ model, threads: Number(values.threads), kvTokens: 65536, maxContext: 4096 })
}

async function runTask(models: { small?: Engine; large?: Engine }, task: Task): Promise<Outcome> {
  const { search, open: openPage } = worldTools(task.world, task.index, { seed: 1, timeScale: 0 })
  const route = values.route as RouteName | undefined
  const agent = new Agent({
    models,
    tools: [search, openPage],
    instructions,
    prompts: worldPrompts,
    sampling: { temperature: 0 },
    turnTokens: 128,
    limits: { turns: Number(values.turns) },
    ...(route !== undefined && { collab: { route } }),
    ...(!values.compress && { compress: false as const }),
  })
  const events: AgentEvent[] = []
  const run = agent.run(task.question.text)
  for await (const event of run) events.push(event)
  const { answer, end } = await run.result
  const malformed = events.filter((event) => event.type === 'observation' && !event.ok && event.call.call !== undefined && 'error' in event.call.call)
  return {
    task,
    answer,
    right: answer !== undefined && isRight(task.question, answer),
    end,
    turns: events.filter(({ type }) => type === 'turn').length,
    tokens: events.reduce((sum, event) => sum + (event.type === 'usage' ? event.completionTokens : 0), 0),
    calls: events.filter(({ type }) => type === 'tool-call').length,
    badCalls: malformed.length,
    verdicts: events.flatMap((event) => (event.type === 'progress' && event.probability !== undefined ? [event.probability] : [])),
  }
}

const mean = (list: readonly number[]): number => list.reduce((sum, value) => sum + value, 0) / Math.max(1, list.length)

async function main(): Promise<void> {
  const [small, large] = [await open(values.small), await open(values.large)]
  const tasks = makeTasks({ seed: Number(values.seed), count: Number(values.count), split: values.split as Split })
  const models = { ...(small !== undefined && { small }), ...(large !== undefined && { large }) }
  const waiting = [...tasks]
  const outcomes: Outcome[] = []
  const started = performance.now()
  const worker = async (): Promise<void> => {
    for (let task = waiting.shift(); task !== undefined; task = waiting.shift()) outcomes.push(await runTask(models, task))
  }
  await Promise.all(Array.from({ length: Number(values.agents) }, worker))
  const seconds = (performance.now() - started) / 1000
  const rights = outcomes.map(({ right }) => (right ? 1 : 0))
  const accuracy = mean(rights)
  const hops = [1, 2, 3, 4, 5, 6].map((count) => mean(outcomes.filter(({ task }) => task.question.chain.length === count).map(({ right }) => (right ? 1 : 0))))
  const calls = outcomes.reduce((sum, one) => sum + one.calls, 0)
  const result = {
    route: values.route,
    questions: outcomes.length,
    accuracy,
    standardError: Math.sqrt((accuracy * (1 - accuracy)) / outcomes.length),
    accuracyByHops: hops,
    turns: mean(outcomes.map(({ turns }) => turns)),
    turnsTaught: mean(outcomes.map(({ task }) => task.calls + 1)),
    tokens: mean(outcomes.map(({ tokens }) => tokens)),
    validCalls: 1 - outcomes.reduce((sum, one) => sum + one.badCalls, 0) / Math.max(1, calls),
    ends: Object.fromEntries([...new Set(outcomes.map(({ end }) => end))].map((end) => [end, outcomes.filter((one) => one.end === end).length])),
    progress: mean(outcomes.flatMap(({ verdicts }) => verdicts)),
    seconds,
  }
  process.stdout.write(`${JSON.stringify(result, null, 1)}\n`)
  for (const { task, answer, right, turns } of outcomes.filter((one) => !one.right).slice(0, Number(values.show))) {
    process.stdout.write(`${task.question.text} -> ${String(answer)} (${right ? 'right' : `expected ${task.question.answers.join(' or ')}`}, ${turns} turns)\n`)
  }
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(result, null, 2)}\n`)
  await small?.close()
  await large?.close()
}

await main()
