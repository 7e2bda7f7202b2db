/**
 * What trained models do: agents with the real tools on questions that they have not met.
 *
 *   node dist/bench/models/rollout.js --small DIR --large DIR --route collab [--split tune --seed 1 --count 60 --agents 8]
 *
 * Prints accuracy with its standard error, by hops, turns, tokens, the share of valid calls, and how runs ended. Seeds of the
 * split `eval` are for figures that are reported; for trying things out there is `tune`.
 */
import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'

import { Agent, Engine } from 'agentinfer'
import type { AgentCollabOptions, RouteName } from 'agentinfer'

import { instructions, worldPrompts } from '../research-world/format.js'
import { runTasks, summarise } from '../research-world/measure.js'
import type { Split } from '../research-world/names.js'
import { makeTasks } from '../research-world/tasks.js'
import type { Task } from '../research-world/tasks.js'
import { worldTools } from '../research-world/tools.js'

const { values } = parseArgs({
  options: {
    small: { type: 'string' },
    large: { type: 'string' },
    route: { type: 'string' },
    /** Options of the collaboration, as JSON: `{"redoBelow": 0.8}`. */
    collab: { type: 'string', default: '{}' },
    split: { type: 'string', default: 'tune' },
    seed: { type: 'string', default: '1' },
    count: { type: 'string', default: '60' },
    agents: { type: 'string', default: '8' },
    turns: { type: 'string', default: '32' },
    threads: { type: 'string', default: '2' },
    /** Of the tools' latencies; 0: they answer at once. */
    'time-scale': { type: 'string', default: '0' },
    compress: { type: 'boolean', default: false },
    /** Wrong answers to print. */
    show: { type: 'string', default: '0' },
    json: { type: 'string' },
  },
})

async function open(model: string | undefined): Promise<Engine | undefined> {
  return model === undefined
    ? undefined
    : await Engine.open({ model, threads: Number(values.threads), kvTokens: 65536, maxContext: 4096 })
}

const [small, large] = [await open(values.small), await open(values.large)]
const models = { ...(small !== undefined && { small }), ...(large !== undefined && { large }) }
const route = values.route as RouteName | undefined

function agentOf(task: Task): Agent {
  const { search, open: openPage } = worldTools(task.world, task.index, { seed: 1, timeScale: Number(values['time-scale']) })
  return new Agent({
    models,
    tools: [search, openPage],
    instructions,
    prompts: worldPrompts,
    sampling: { temperature: 0 },
    turnTokens: 128,
    limits: { turns: Number(values.turns) },
    ...(route !== undefined && { collab: { route, ...(JSON.parse(values.collab) as AgentCollabOptions) } }),
    compress: values.compress ? { recall: 'listed' } : false,
  })
}

const tasks = makeTasks({ seed: Number(values.seed), count: Number(values.count), split: values.split as Split })
const started = performance.now()
const outcomes = await runTasks(tasks, agentOf, Number(values.agents))
const seconds = (performance.now() - started) / 1000
const result = {
  route,
  split: values.split,
  seed: Number(values.seed),
  agents: Number(values.agents),
  seconds,
  ...summarise(outcomes),
}
process.stdout.write(`${JSON.stringify(result, null, 1)}\n`)
for (const { task, answer, end, turns } of outcomes.filter(({ right }) => !right).slice(0, Number(values.show)))
  process.stdout.write(
    `${task.question.text} -> ${String(answer)} (expected ${task.question.answers.join(' or ')}; ${turns} turns, ${end})\n`,
  )
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(result, null, 2)}\n`)
await small?.close()
await large?.close()
