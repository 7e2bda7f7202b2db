/**
 * npm run demo -- [--record FILE | --replay FILE [--speed N]] [--questions N] [--agents N] [--seconds N]
 *
 * One question with everything shown, then many at once with and without the four parts. Questions are of the split `eval`: no name in
 * them was met in training.
 */
import os from 'node:os'
import { parseArgs } from 'node:util'

import { agentFor, maxContext, measure, modelFolder, openEngines } from '../research-world/arena.js'
import type { Figures, Machine, Parts } from '../research-world/arena.js'
import { isRight } from '../research-world/questions.js'
import { makeTasks } from '../research-world/tasks.js'
import { tuned, whole } from '../research-world/tuned.js'
import { readRecording, Recorder, replay } from './events.js'
import type { BatchName, DemoEvent } from './events.js'
import { View } from './view.js'
import type { Screen } from './view.js'

const options = {
  record: { type: 'string' },
  replay: { type: 'string' },
  /** Of a replay; 0: at once. */
  speed: { type: 'string', default: '1' },
  questions: { type: 'string', default: '96' },
  agents: { type: 'string', default: '16' },
  /** No question is begun after so many seconds of a batch: slow machines answer fewer. */
  seconds: { type: 'string', default: '25' },
  threads: { type: 'string', default: `${Math.min(2, os.availableParallelism())}` },
  seed: { type: 'string', default: '7' },
  small: { type: 'string' },
  large: { type: 'string' },
} as const

/** The live run is alone and short of nothing, so its compression is told to happen early; the large model plans, and verdicts are shown. */
const live: Parts = {
  ...whole,
  collab: { redoBelow: tuned.collab.collab.redoBelow },
  compress: { history: { rule: 'paper', threshold: 450, minSaved: 50, memoryMin: 16 } },
}
const none: Parts = {}

async function oneQuestion(machine: Machine, seed: number, tell: (event: DemoEvent) => void): Promise<void> {
  const [task] = makeTasks({ seed, count: 1, split: 'eval', hops: [0, 0, 1] })
  const { question } = task!
  tell({ type: 'question', text: question.text, hops: question.chain.length })
  const engines = await openEngines(machine, live)
  try {
    const started = performance.now()
    const run = agentFor(task!, engines, machine, live).run(question.text)
    const lambda = (): number =>
      Math.max(...[engines.small, engines.large].map((engine) => engine?.stats().sched.figures['lambda'] ?? 0))
    for await (const event of run) tell({ type: 'agent', event, lambda: event.type === 'observation' ? lambda() : 0 })
    const { answer } = await run.result
    const right = answer !== undefined && isRight(question, answer)
    tell({ type: 'verdict', answer, right, expected: question.answers[0]!, seconds: (performance.now() - started) / 1000 })
  } finally {
    await engines.close()
  }
}

export async function demo(args: readonly string[], screen: Screen): Promise<void> {
  const { values } = parseArgs({ args: [...args], options })
  const view = new View(screen)
  if (values.replay !== undefined) return replay(readRecording(values.replay), (event) => view.show(event), Number(values.speed))
  const recorder = new Recorder((event) => view.show(event))
  const tell = (event: DemoEvent): void => recorder.tell(event)
  const [seed, agents, count] = [Number(values.seed), Number(values.agents), Number(values.questions)]
  const machine: Machine = {
    small: values.small ?? modelFolder('small'),
    large: values.large ?? modelFolder('large'),
    threads: Number(values.threads),
    kvTokens: Math.max(maxContext, 192 * agents),
    timeScale: 0.003,
  }
  tell({
    type: 'start',
    machine: `${os.cpus()[0]?.model ?? 'unknown processor'}, ${machine.threads} threads, Node ${process.versions.node}`,
    models: 'A small and a large model of a made-up encyclopedia, trained for it and for nothing else (bench/models).',
    world: 'Tools search and read it: thirty times as fast as the web would for the first question, 300 times for the batches.',
  })
  await oneQuestion({ ...machine, kvTokens: 8192, timeScale: 0.03 }, seed, tell)
  const tasks = makeTasks({ seed: seed + 1, count, split: 'eval' })
  const batch = async (name: BatchName, parts: Parts): Promise<Figures> => {
    tell({ type: 'batch', name, questions: count, agents, kvTokens: machine.kvTokens })
    const progress = { progress: (now: Extract<DemoEvent, { type: 'progress' }>['progress']): void => tell({ type: 'progress', name, progress: now }) }
    const { figures } = await measure(machine, parts, tasks, agents, { ...progress, seconds: Number(values.seconds) })
    return figures
  }
  const without = await batch('without', none)
  tell({ type: 'table', without, with: await batch('with', whole) })
  tell({ type: 'end', seconds: recorder.seconds })
  if (values.record !== undefined) recorder.write(values.record)
}
