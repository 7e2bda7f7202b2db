/** Runs of agents with trained models, recorded on the spot: what they wrote and what their tools gave, as traces to do again. */
import { existsSync } from 'node:fs'

import type { RunRecord } from 'agentinfer'

import { traceOf } from './agent_traces.js'
import type { Trace } from './agent_traces.js'

/** Runs are recorded with the large model alone and nothing left out, so that every observation is in them as it was. */
const kvTokens = 16384

/** The models and their world are not in the package. */
export function canRecord(): boolean {
  return existsSync(new URL('research-world/arena.js', import.meta.url))
}

/**
 * The demo's models answer questions of the research world (bench/models, bench/research-world): `agents` traces of `questions` runs
 * each, one behind the other. A run of theirs has a dozen turns of some fifty tokens; joined they are as long as one of a large model.
 */
export async function recordTraces(agents: number, questions: number, seed: number, progress: (text: string) => void): Promise<Trace[]> {
  const { agentFor, modelFolder, openEngines } = await import('./research-world/arena.js')
  const { makeTasks } = await import('./research-world/tasks.js')
  const machine = { small: modelFolder('small'), large: modelFolder('large'), threads: 2, kvTokens, timeScale: 0 }
  const engines = await openEngines(machine, {})
  try {
    const tasks = makeTasks({ seed, count: agents * questions, split: 'eval', hops: [0, 0, 1, 1, 1, 1] })
    const records: RunRecord[] = []
    for (const [index, task] of tasks.entries()) {
      progress(`recording run ${index + 1} of ${tasks.length}`)
      const run = agentFor(task, engines, machine, {}).run(task.question.text)
      records.push((await run.result).record)
    }
    return Array.from({ length: agents }, (_, agent) => joinTraces(records.slice(agent * questions, (agent + 1) * questions).map(traceOf)))
  } finally {
    await engines.close()
  }
}

/** Work on several questions as one run: the answers between are left out, for an answer ends a run. */
function joinTraces(traces: readonly Trace[]): Trace {
  const calls = traces.map(({ turns }) => turns.filter((turn) => turn.includes('[unused11]')))
  const last = traces.at(-1)?.turns.findLast((turn) => !turn.includes('[unused11]'))
  return {
    question: traces.map(({ question }) => question).join('\n'),
    turns: [...calls.flat(), ...(last === undefined ? [] : [last])],
    values: traces.flatMap(({ values }) => values),
  }
}
