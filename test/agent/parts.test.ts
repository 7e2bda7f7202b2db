/** Each part of the agent layer can be turned off by itself, and only what it does goes with it. */
import { expect, test } from 'vitest'
import { z } from 'zod'

import { Agent, defineTool } from 'agentinfer'
import type { AgentCollabOptions, AgentCompressOptions } from 'agentinfer'

import { ScriptedEngine, call, think } from './scripted_engine.js'
import type { Script } from './scripted_engine.js'

const history = { rule: 'paper', threshold: 1500, keepRecent: 1, minSaved: 10, memoryMin: 10 } as const
const observations = { characters: 600 } as const

interface Parts {
  readonly collab?: AgentCollabOptions | false
  readonly compress?: AgentCompressOptions | false
}

/** What showed of each part in a run of twelve turns. */
async function shown({ collab = { warmFrom: 0 }, compress = { observations, history } }: Parts) {
  let turn = 0
  const script: Script = ({ kind, index }) => {
    if (kind === 'value') return 0.9
    if (kind === 'reason') return 'something new'
    if (kind === 'memory') return `facts ${index}`
    return ++turn > 12 ? 'done' : think(`open ${turn}`) + call(['page', { number: turn }])
  }
  const page = defineTool({
    name: 'page', description: 'opens a page', parameters: z.object({ number: z.int() }),
    run: ({ number }) => `Page ${number}. ${`Words of page ${number}. `.repeat(60)}`,
  })
  const engines = { small: new ScriptedEngine(script), large: new ScriptedEngine(script) }
  const agent = new Agent({ models: engines, tools: [page], collab, compress })
  const found = { switches: false, verdicts: false, warmed: false, cut: false, swaps: false }
  for await (const event of agent.run('Which codes?')) {
    if (event.type === 'escalate') found.switches = true
    if (event.type === 'progress') found.verdicts = true
    if (event.type === 'usage' && event.purpose === 'warm') found.warmed = true
    if (event.type === 'observation' && event.text.length < 700) found.cut = true
    if (event.type === 'compress' && event.phase === 'swap') found.swaps = true
  }
  return found
}

const everything = { switches: true, verdicts: true, warmed: true, cut: true, swaps: true }

test.each<[string, Parts, Partial<typeof everything>]>([
  ['nothing', {}, {}],
  ['routing', { collab: false }, { switches: false, verdicts: false, warmed: false }],
  ['warm KV', { collab: { warmFrom: false } }, { warmed: false }],
  ['the observation filter', { compress: { observations: false, history } }, { cut: false }],
  ['distillation', { compress: { observations, history: false } }, { swaps: false }],
  ['compression', { compress: false }, { cut: false, swaps: false }],
])('off: %s', async (_, parts, gone) => {
  expect(await shown(parts)).toEqual({ ...everything, ...gone })
})
