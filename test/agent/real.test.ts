/** The whole path on real engines: tiny random weights write noise, so a script decides the words and the engine does all its work. */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { z } from 'zod'

import { Agent, Engine, defineTool } from 'agentinfer'
import type { AgentEngine, AgentEvent, AgentGenerateOptions, AgentRun, AgentSession, AgentStream } from 'agentinfer'

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

/** The engine, but each generation of a turn writes the next text of the script, token by token, through the real model. */
function forced(engine: Engine, script: readonly string[]): AgentEngine {
  let next = 0
  const wrap = (session: AgentSession): AgentSession => ({
    get length() {
      return session.length
    },
    append: (input) => session.append(input),
    prefill: (options) => session.prefill(options),
    mark: () => session.mark(),
    fork: (options) => wrap(session.fork(options)),
    activity: (state) => session.activity(state),
    release: () => session.release(),
    generate: (options = {}) => (options.lead === undefined ? write(engine, session, options, script[next++] ?? 'the end') : session.generate(options)),
  })
  return { info: engine.info, detokenize: (ids) => engine.detokenize(ids), stats: () => engine.stats(), session: (options) => wrap(engine.session(options)) }
}

function write(engine: Engine, session: AgentSession, options: AgentGenerateOptions, text: string): AgentStream {
  const work = async () => {
    const ids = [...(await engine.tokenize(text, { parseSpecial: true })), engine.info.config.eosTokenIds[0]!]
    const responses = []
    for (const id of ids) {
      const sampling = { temperature: 1, seed: 1, allowedIds: [id] }
      responses.push(await session.generate({ ...options, maxTokens: 1, sampling }).response)
    }
    const [first, last] = [responses[0]!, responses.at(-1)!]
    const tokens = responses.flatMap((response) => response.tokens)
    return { ...last, text: engine.detokenize(tokens), tokens, usage: { ...first.usage, completionTokens: tokens.length } }
  }
  const response = work()
  response.catch(() => undefined)
  return {
    response,
    async *[Symbol.asyncIterator]() {
      const { text: whole, tokens } = await response
      yield { text: whole, tokens }
    },
  }
}

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
const look = (page: number): string => think(`I look at page ${page}.`) + call(['open', { page }])

describe('one model', () => {
  test('an engine fits, noise ends, and nothing is left', async () => {
    const plain: AgentEngine = small
    const agent = new Agent({ models: { small: plain }, tools: [open], limits: { turns: 3 }, turnTokens: 24, sampling: { temperature: 0.8, seed: 3 } })
    const { end } = await agent.run('How many steps?').result
    expect(['answer', 'turns', 'silent']).toContain(end)
    expect(small.stats()).toMatchObject({ running: 0, waiting: 0 })
  })

  test('each turn computes only what was appended since the last', async () => {
    const agent = new Agent({ models: { small: forced(small, [look(1), look(2), look(3), '21 steps']) }, tools: [open], compress: false })
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
