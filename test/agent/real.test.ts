/** The whole path on real engines: tiny random weights write noise, so a script decides the words and the engine does all its work. */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { z } from 'zod'

import { Agent, Engine, defineTool } from 'agentinfer'
import type { AgentEngine, AgentEvent, AgentRun, Tool } from 'agentinfer'

import { Script, forcedEngine } from '../../bench/forced_engine.js'
import { checkpoint } from '../fixtures/paths.js'
import { call, think } from './scripted_engine.js'

let folder: string
let small: Engine
let large: Engine
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'agents-'))
  const model = join(folder, 'pangu')
  cpSync(checkpoint('pangu'), model, { recursive: true })
  const config = JSON.parse(readFileSync(join(model, 'config.json'), 'utf8')) as Record<string, unknown>
  writeFileSync(join(model, 'config.json'), JSON.stringify({ ...config, max_position_embeddings: 8192 }))
  const options = { model, threads: 1, kvTokens: 16384, maxContext: 4096, blockSize: 16 }
  small = await Engine.open(options)
  large = await Engine.open(options)
})
afterAll(async () => {
  await Promise.all([small.close(), large.close()])
  rmSync(folder, { recursive: true, force: true })
})

async function events(run: AgentRun): Promise<AgentEvent[]> {
  const all: AgentEvent[] = []
  for await (const event of run) all.push(event)
  return all
}

const open = defineTool({
  name: 'open',
  description: 'opens a page',
  parameters: z.object({ page: z.int() }),
  run: ({ page }) => `Page ${page} says that the lighthouse has ${page * 7} steps. `.repeat(4),
})
const look = (page: number): string => think(`${page}?`) + call(['open', { page }])

describe('one model', () => {
  test('an engine fits, noise ends, and nothing is left', async () => {
    const plain: AgentEngine = small
    const agent = new Agent({ models: { small: plain }, tools: [open], limits: { turns: 3 }, turnTokens: 24, sampling: { temperature: 0.8, seed: 3 } })
    const { end } = await agent.run('How many steps?').result
    expect(['answer', 'turns', 'silent']).toContain(end)
    expect(small.stats()).toMatchObject({ running: 0, waiting: 0 })
  })

  test('each turn computes only what was appended since the last', async () => {
    const agent = new Agent({ models: { small: forcedEngine(small, new Script([look(1), look(2), look(3), '21 steps'])) }, tools: [open], compress: false })
    const list = await events(agent.run('How many steps?'))
    const usage = list.filter((event) => event.type === 'usage')
    expect(usage).toHaveLength(4)
    for (const [index, { promptTokens, cachedTokens }] of usage.entries()) {
      if (index === 0) continue
      const observation = `Page ${index} says that the lighthouse has ${index * 7} steps. `.repeat(4)
      const appended = await small.tokenize(`[unused9]工具：${observation}[unused10][unused9]助手：`, { parseSpecial: true })
      expect(promptTokens - cachedTokens).toBe(appended.length + 1) // and the end token of the turn before, which nobody had read
    }
    expect(list.at(-2)).toMatchObject({ type: 'answer', text: '21 steps' })
  })
})

/** Until neither engine has had anything to do for a while: a tool that takes as long as the work in the background. */
async function quiet(...engines: readonly Engine[]): Promise<void> {
  for (let calm = 0; calm < 6; ++calm) {
    await new Promise((resolve) => setTimeout(resolve, 10))
    if (engines.map((engine) => engine.stats()).some(({ running, waiting }) => running + waiting > 0)) calm = 0
  }
}

describe('two models', () => {
  const slow = (...engines: readonly Engine[]): Tool =>
    defineTool({
      name: 'open',
      description: 'opens a page',
      parameters: z.object({ page: z.int() }),
      run: async ({ page }) => {
        await quiet(...engines)
        return `Page ${page} says that the lighthouse has ${page * 7} steps. `.repeat(8)
      },
    })

  test('plan, work, escalate and swap contexts on both, each switch and each swap finding its KV', async () => {
    const script = new Script([...Array.from({ length: 7 }, (_, index) => look(index + 1)), '49 steps'])
    const history = { rule: 'paper', threshold: 500, keepRecent: 1, minSaved: 50, memoryMin: 16, memoryMax: 32 } as const
    const agent = new Agent({
      models: { small: forcedEngine(small, script), large: forcedEngine(large, script) },
      tools: [slow(small, large)],
      collab: { route: (steps) => (steps.length % 4 === 0 ? 'large' : 'small'), warmFrom: 0, reasonTokens: 8 },
      compress: { observations: false, history },
    })
    const run = agent.run('How many steps?')
    const list = await events(run)
    expect((await run.result).answer).toBe('49 steps')
    const turns = list.flatMap((event) => (event.type === 'usage' && event.purpose === 'turn' ? [event] : []))
    expect(turns.map(({ model }) => model[0]).join('')).toBe('lssslsss')
    const observation = (await small.tokenize('Page 10 says that the lighthouse has 70 steps. '.repeat(8))).length
    // Swapped or switched, a turn reads the newest observation and little else; the first has everything to read.
    const swaps = list.filter((event) => event.type === 'compress' && event.phase === 'swap')
    expect(swaps.length).toBeGreaterThan(1)
    for (const { turn, promptTokens, cachedTokens } of turns.slice(1)) {
      const known = promptTokens - observation
      expect(cachedTokens / known, `turn ${turn}`).toBeGreaterThan(0.95)
    }
    expect([small.stats(), large.stats()]).toMatchObject([{ running: 0, sessions: 0 }, { running: 0, sessions: 0 }])
  })

  test('of different tokenizers: each reads the same text in tokens of its own, and finds its KV', async () => {
    const other = await Engine.open({ model: join(import.meta.dirname, '../../bench/models/small'), threads: 1, kvTokens: 16384, maxContext: 4096, blockSize: 16 })
    try {
      expect(other.info.config.vocabSize).not.toBe(small.info.config.vocabSize)
      const script = new Script([...Array.from({ length: 5 }, (_, index) => look(index + 1)), '35 steps'])
      const agent = new Agent({
        models: { small: forcedEngine(small, script), large: forcedEngine(other, script) },
        tools: [slow(small, other)],
        collab: { route: (steps) => (steps.length % 2 === 0 ? 'large' : 'small'), warmFrom: 0, reasonTokens: 8 },
        compress: false,
      })
      const run = agent.run('How many steps?')
      const turns = (await events(run)).flatMap((event) => (event.type === 'usage' && event.purpose === 'turn' ? [event] : []))
      expect((await run.result).answer).toBe('35 steps')
      expect(turns.map(({ model }) => model[0]).join('')).toBe('lslsls')
      const observation = 'Page 10 says that the lighthouse has 70 steps. '.repeat(8)
      const [ofSmall, ofLarge] = [(await small.tokenize(observation)).length, (await other.tokenize(observation)).length]
      expect(ofLarge).not.toBe(ofSmall)
      for (const { turn, model, promptTokens, cachedTokens } of turns.slice(1))
        expect(cachedTokens / (promptTokens - (model === 'small' ? ofSmall : ofLarge)), `turn ${turn}`).toBeGreaterThan(0.95)
      const { transcript } = await run.result
      expect(transcript.log.filter((step) => step.kind === 'observation')).toHaveLength(5)
    } finally {
      await other.close()
    }
  })

  test('abort at any moment: no session, request, block or timer stays', async () => {
    const timers = (): number => process.getActiveResourcesInfo().filter((what) => what === 'Timeout').length
    const before = timers()
    for (const milliseconds of [0, 3, 10, 25, 60, 120, 200]) {
      const script = new Script(Array.from({ length: 30 }, (_, index) => look(index + 1)))
      const agent = new Agent({
        models: { small: forcedEngine(small, script), large: forcedEngine(large, script) },
        tools: [open],
        collab: { warmFrom: 0, reasonTokens: 8 },
        compress: { observations: false, history: { rule: 'paper', threshold: 400, keepRecent: 1, minSaved: 50, memoryMin: 16, memoryMax: 32 } },
        limits: { seconds: 1000 },
      })
      const run = agent.run('How many steps?', { signal: AbortSignal.timeout(milliseconds) })
      await run.result.catch(() => undefined)
      for (const engine of [small, large]) {
        const { running, waiting, sessions } = engine.stats()
        expect({ running, waiting, sessions }).toEqual({ running: 0, waiting: 0, sessions: 0 })
        await engine.generate({ tokens: [5], maxTokens: 1, ignoreEos: true }).response // the pool is as of the last step
        const { pool } = engine.stats()
        expect(pool.used).toBe(0)
        expect(pool.free + pool.cached).toBe(pool.total)
      }
    }
    expect(timers()).toBeLessThanOrEqual(before)
  })
})
