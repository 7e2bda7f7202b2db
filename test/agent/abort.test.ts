/** A run that is stopped at any of its operations leaves nothing behind, and what it saved goes on. */
import { expect, test } from 'vitest'
import { z } from 'zod'

import { Agent, defineTool } from 'agentinfer'
import type { RunRecord } from 'agentinfer'

import { expectedPrompts } from './expected.js'
import { ScriptedEngine, call, think } from './scripted_engine.js'
import type { Script } from './scripted_engine.js'

const history = { rule: 'paper', threshold: 1500, keepRecent: 1, minSaved: 10, memoryMin: 10, memoryMax: 200 } as const

function pair(pause: (what: string) => Promise<void>) {
  let turn = 0
  const script: Script = ({ kind, index }) => {
    if (kind === 'memory') return `facts ${index}`
    if (kind === 'value') return index % 3 === 0 ? 0.02 : 0.9
    if (kind === 'reason') return 'so it is'
    return ++turn > 9 ? 'done' : think(`open ${turn}`) + call(['page', { number: turn }], ['page', { number: turn + 100 }])
  }
  const engines = { small: new ScriptedEngine(script, { pause }), large: new ScriptedEngine(script, { pause }) }
  const page = defineTool({
    name: 'page', description: 'opens a page', parameters: z.object({ number: z.int() }),
    run: async ({ number }) => {
      await pause('tool')
      return `Page ${number}. ${`Words of page ${number}. `.repeat(20)}`
    },
  })
  const agent = new Agent({ models: engines, tools: [page], compress: { observations: false, history }, collab: { warmFrom: 0 }, limits: { seconds: 1000 } })
  return { agent, engines, page }
}

test('two models, switches, reading along and a swap: stopped at any operation', async () => {
  let total = 0
  const first = pair(async () => { ++total; await new Promise((resolve) => setImmediate(resolve)) })
  const { end, record } = await first.agent.run('Which codes?').result
  expect(end).toBe('answer')
  expect(record.transcript.steps.some(({ kind }) => kind === 'memory')).toBe(true)
  const timers = (): number => process.getActiveResourcesInfo().filter((what) => what === 'Timeout').length
  const before = timers()
  for (let at = 1; at <= total; at += 2) {
    const controller = new AbortController()
    let count = 0
    const { agent, engines } = pair(async () => {
      if (++count === at) controller.abort(new Error('enough'))
      await new Promise((resolve) => setImmediate(resolve))
    })
    const run = agent.run('Which codes?', { signal: controller.signal })
    const outcome = await run.result.then(({ end: how }) => how, (error: Error) => error.message)
    expect(['enough', 'answer'], `${at}`).toContain(outcome)
    for (const engine of Object.values(engines)) expect(engine.live.size + engine.running, `${at}`).toBe(0)
    expect(timers(), `${at}`).toBeLessThanOrEqual(before)
    // What was saved goes on, and every prompt is the log up to its turn.
    if (outcome !== 'enough' || at % 7 !== 3) continue
    const saved = JSON.parse(JSON.stringify(run.save())) as RunRecord
    const again = pair(() => Promise.resolve())
    const resumed = await again.agent.resume(saved).result
    expect(resumed.end).toBe('answer')
    const expected = [...expectedPrompts(resumed.record.transcript).values()]
    for (const [model, { prompts }] of Object.entries(again.engines))
      for (const prompt of prompts) expect(expected.filter((one) => one.model === model).map((one) => one.prompt), `${at}`).toContain(prompt)
  }
})
