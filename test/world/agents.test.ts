import { Agent } from 'agentinfer'
import type { AgentEvent } from 'agentinfer'
import { describe, expect, test } from 'vitest'

import { callText, instructions, plannerInstructions, worldPrompts } from '../../bench/research-world/format.js'
import { runTasks, summarise } from '../../bench/research-world/measure.js'
import { plannedAnswer, rightParts } from '../../bench/research-world/questions.js'
import type { Question } from '../../bench/research-world/questions.js'
import { Random } from '../../bench/research-world/random.js'
import { recordRun } from '../../bench/research-world/runs.js'
import type { SearchIndex } from '../../bench/research-world/search.js'
import { makePlannedTasks, makeTasks } from '../../bench/research-world/tasks.js'
import { worldTools } from '../../bench/research-world/tools.js'
import type { World } from '../../bench/research-world/world.js'
import { ScriptedEngine } from '../agent/scripted_engine.js'
import type { Script } from '../agent/scripted_engine.js'

interface Asked {
  readonly world: World
  readonly index: SearchIndex
  readonly question: Question
}

/** A model that writes what the oracle would: it finds its question in the prompt and goes on behind the turns that are there. */
function oracleScript(tasks: readonly Asked[]): Script {
  const texts = new Map<string, string[]>()
  for (const { world, index, question } of tasks) {
    const { turns } = recordRun(world, index, question, new Random(1), { useless: 0, slips: 0, filtered: 0 })
    texts.set(
      question.text,
      turns.map(({ think, call, answer }) => {
        const act = call === undefined ? answer! : `[unused11]${callText(call.name, call.argument)}[unused12]`
        return `[unused16]${think}[unused17]${act}`
      }),
    )
  }
  return ({ kind, prompt }) => {
    if (kind === 'value') return 0.9
    if (kind === 'reason') return ' Sought the way. '
    if (kind === 'memory') return 'Facts.'
    const question = /\[unused9\]用户：(.*?)\[unused10\]/s.exec(prompt)![1]!
    const done = prompt.split('[unused9]助手：[unused16]').length - 1
    return texts.get(question)![done]!
  }
}

describe('agents in the world', () => {
  const tasks = makeTasks({ seed: 21, count: 24 })
  const script = oracleScript(tasks)
  const agentOf =
    (models: { small?: ScriptedEngine; large?: ScriptedEngine }, more = {}) =>
    (task: (typeof tasks)[number]) => {
      const { search, open } = worldTools(task.world, task.index, { seed: 1, timeScale: 0 })
      return new Agent({ models, tools: [search, open], instructions, prompts: worldPrompts, ...more })
    }

  test('who think as the oracle does answer every question, in as many turns', async () => {
    const large = new ScriptedEngine(script)
    const done: number[] = []
    const outcomes = await runTasks(tasks, agentOf({ large }, { compress: false }), 4, { done: (_, count) => done.push(count) })
    const summary = summarise(outcomes)
    expect(summary).toMatchObject({
      questions: tasks.length,
      accuracy: 1,
      standardError: 0,
      validCalls: 1,
      ends: { answer: tasks.length },
      largeTurnShare: 1,
    })
    expect(summary.turns).toBe(summary.taughtTurns)
    expect(outcomes.map(({ task }) => task.id)).toEqual(tasks.map(({ id }) => id))
    expect(done).toEqual(tasks.map((_, i) => i + 1))
    expect(large.live.size).toBe(0)
  })

  test('also on two models, with filtered results and memories in between', async () => {
    const models = { small: new ScriptedEngine(script), large: new ScriptedEngine(script) }
    const outcomes = await runTasks(
      tasks,
      agentOf(models, { compress: { history: { rule: 'paper', threshold: 1500, minSaved: 50 } } }),
      8,
    )
    const summary = summarise(outcomes)
    expect(summary.accuracy).toBe(1)
    expect(summary.largeTurnShare).toBeLessThan(1)
    expect(outcomes.every(({ verdicts, calls }) => verdicts.length === calls)).toBe(true)
    expect(summary.swaps).toBeGreaterThan(0)
  })

  test('are wrong where their model is, and calls that cannot be made are counted', async () => {
    const large = new ScriptedEngine(({ kind, prompt }) => {
      if (kind !== 'turn') return 0.5
      return prompt.includes('Error: ') ? 'Nobody' : '[unused11][{"name":"find","arguments":{"query":"a"}}][unused12]'
    })
    const [outcome] = await runTasks(tasks.slice(0, 1), agentOf({ large }), 1)
    expect(outcome).toMatchObject({ right: false, answer: 'Nobody', calls: 1, badCalls: 1 })
    expect(summarise([outcome!])).toMatchObject({ accuracy: 0, validCalls: 0 })
  })

  test('answer questions that were asked together, a seeker for each', async () => {
    for (const { world, index, question } of makePlannedTasks({ seed: 22, count: 3 })) {
      const seekers = oracleScript(question.parts.map((part) => ({ world, index, question: part })))
      const small = new ScriptedEngine(seekers)
      const large = new ScriptedEngine(({ prompt }) => {
        const answers = [...prompt.matchAll(/工具：(.*?)\[unused10\]/gs)].map((match) => match[1]!)
        if (answers.length > 0) return `[unused16]Done.[unused17]${plannedAnswer(answers)}`
        const calls = callText('seeker', ...question.parts.map(({ text }) => text))
        return `[unused16]Ask for each.[unused17][unused11]${calls}[unused12]`
      })
      const { search, open } = worldTools(world, index, { seed: 1, timeScale: 0 })
      const seeker = new Agent({
        models: { small },
        tools: [search, open],
        instructions,
        prompts: worldPrompts,
        name: 'seeker',
        compress: false,
      })
      const planner = new Agent({
        models: { large },
        tools: [seeker.asTool({ description: 'Answers one question.' })],
        instructions: plannerInstructions,
        prompts: worldPrompts,
        compress: false,
      })
      const events: AgentEvent[] = []
      const run = planner.run(question.text)
      for await (const event of run) events.push(event)
      expect(rightParts(question, (await run.result).answer!)).toBe(question.parts.length)
      expect(events.filter(({ type }) => type === 'tool-call')).toHaveLength(question.parts.length)
    }
  })
})
