import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'

import { Agent, deepResearch, defineTool, modelScorer, replay, searchTool } from 'agentinfer'
import type { AgentEvent, Tool, ToolContext } from 'agentinfer'

import { ScriptedEngine, call, think } from './scripted_engine.js'
import type { Script } from './scripted_engine.js'

async function events(run: AsyncIterable<AgentEvent>): Promise<AgentEvent[]> {
  const all: AgentEvent[] = []
  for await (const event of run) all.push(event)
  return all
}

const fact = defineTool({
  name: 'fact', description: 'a fact', parameters: z.object({ of: z.string() }), run: ({ of }) => `The fact of ${of}.`,
})

/** The part of a prompt that is the question. */
const question = (prompt: string): string => /用户：(.*?)\[unused10\]/s.exec(prompt)![1]!

/** Planner, seekers and writer on one model, told apart by their system turns. */
const researcher: Script = ({ prompt }) => {
  const observations = prompt.split('工具：').length - 1
  if (prompt.includes('You plan research'))
    return observations === 0 ? call(['seek', { task: 'find A' }], ['seek', { task: 'find B' }]) : call(['write', { task: 'Report.' }])
  if (prompt.includes('You find information')) {
    const [, of] = /find (\w)/.exec(question(prompt))!
    return observations === 0 ? think('look') + call(['fact', { of: of! }]) : `${of!} is found.`
  }
  return `The report on ${question(prompt).replaceAll('\n', ' ')}`
}

describe('agents that call agents', () => {
  test('planner, seekers beside each other, writer with their findings; its report is the answer', async () => {
    const engine = new ScriptedEngine(researcher)
    const agent = deepResearch({ models: { small: engine }, tools: [fact] })
    const run = agent.run('What about A and B?')
    const list = await events(run)
    expect((await run.result).answer).toBe('The report on Report.  o1 = seek(task: "find A"): A is found.  o2 = seek(task: "find B"): B is found.')
    const inner = list.flatMap((event) => (event.type === 'agent' ? [`${event.agent} ${event.id} ${event.event.type}`] : []))
    expect(inner).toContain('seeker c1.1 tool-call')
    expect(inner).toContain('seeker c1.2 answer')
    expect(inner).toContain('writer c2.1 answer')
    expect(engine.live.size + engine.running).toBe(0)
  })

  test('deltas of those that are called are shown as they come, and are in no record', async () => {
    const agent = deepResearch({ models: { small: new ScriptedEngine(researcher) }, tools: [fact] })
    const [read, unread] = [agent.run('What about A and B?'), agent.run('What about A and B?')]
    const shown = (await events(read)).filter((event) => event.type === 'agent' && event.event.type === 'delta')
    expect(shown.length).toBeGreaterThan(2)
    for (const run of [read, unread]) {
      const { record } = await run.result
      const inner = record.events.flatMap(({ event }) => (event.type === 'agent' ? [event.event.type] : []))
      expect(inner).toContain('answer')
      expect(inner).not.toContain('delta')
    }
    const late = await events(unread)
    expect(late.filter((event) => event.type === 'agent' && event.event.type === 'delta')).toEqual([])
  })

  test('siblings find the KV of what they share', async () => {
    const engine = new ScriptedEngine(researcher)
    const list = await events(deepResearch({ models: { small: engine }, tools: [fact] }).run('What about A and B?'))
    const first = list.flatMap((event) =>
      event.type === 'agent' && event.agent === 'seeker' && event.event.type === 'usage' && event.event.turn === 1 ? [event.event] : [],
    )
    expect(first).toHaveLength(2)
    const [, second] = first
    expect(second!.promptTokens - second!.cachedTokens).toBeLessThan(60) // its task
  })

  test('an abort ends all of them before the run is over', async () => {
    const never = new Promise<string>(() => undefined)
    const waiting = new Set<unknown>()
    const script: Script = (asked) => {
      if (!asked.prompt.includes('You find information')) return researcher(asked)
      waiting.add(asked)
      return never
    }
    const engine = new ScriptedEngine(script)
    const controller = new AbortController()
    const run = deepResearch({ models: { small: engine }, tools: [fact] }).run('What about A and B?', { signal: controller.signal })
    while (waiting.size < 2) await new Promise((resolve) => setTimeout(resolve, 1))
    expect(engine.live.size).toBe(3)
    controller.abort(new Error('enough'))
    await expect(run.result).rejects.toThrow('enough')
    expect(engine.live.size + engine.running).toBe(0)
  })

  test('budgets are divided: siblings get equal parts, and the tree keeps the limit of its root', async () => {
    const chatty: Script = (asked) => (asked.prompt.includes('You find information') ? call(['fact', { of: 'x'.repeat(80) }]) : researcher(asked))
    const engine = new ScriptedEngine(chatty)
    const run = deepResearch({ models: { small: engine }, tools: [fact], limits: { tokens: 3000 } }).run('What about A and B?')
    const list = await events(run)
    const ends = list.flatMap((event) => (event.type === 'agent' && event.agent === 'seeker' && event.event.type === 'end' ? [event.event] : []))
    expect(ends.map(({ reason }) => reason)).toEqual(['tokens', 'tokens'])
    for (const { spent } of ends) expect(spent.tokens).toBeLessThanOrEqual(1200)
    expect((await run.result).record.spent.tokens).toBeLessThanOrEqual(3000)
  })
})

describe('what sessions say they do', () => {
  test('tools by name, elsewhere while the other model works, released at the end', async () => {
    let turn = 0
    const script: Script = ({ kind }) => (kind === 'value' ? 0.9 : kind === 'reason' ? 'x' : ++turn > 4 ? 'done' : call(['fact', { of: `Thing${turn}` }]))
    const engines = { small: new ScriptedEngine(script), large: new ScriptedEngine(script) }
    await new Agent({ models: engines, tools: [fact], compress: false }).run('go').result
    expect(engines.large.announced).toContain('tool fact')
    expect(engines.small.announced).toContain('elsewhere')
    expect(engines.small.announced.at(-1)).toBe('released')
  })
})

describe('a record', () => {
  const script: Script = ({ kind, prompt }) => {
    if (kind !== 'turn') return kind === 'value' ? 0.9 : 'x'
    const done = prompt.split('工具：').length - 1
    return prompt.includes('And then?') ? 'Then nothing.' : done >= 5 ? 'Five facts.' : call(['fact', { of: `Thing${done}` }])
  }
  const make = () => {
    const engines = { small: new ScriptedEngine(script), large: new ScriptedEngine(script) }
    return { engines, agent: new Agent({ models: engines, tools: [fact], compress: { history: false } }) }
  }

  test('saved in the middle, as JSON, it goes on in another process as if nothing had happened', async () => {
    const whole = make()
    const { record: expected } = await whole.agent.run('Go?').result
    const first = make()
    const run = first.agent.run('Go?')
    let saved = ''
    for await (const event of run) {
      if (event.type === 'turn' && event.turn === 4) saved = JSON.stringify(run.save())
      if (saved !== '') break
    }
    const second = make()
    const result = await second.agent.resume(JSON.parse(saved) as never).result
    expect(result.answer).toBe('Five facts.')
    expect(result.record.transcript.steps).toEqual(expected.transcript.steps)
    expect(result.record.archive).toEqual(expected.archive)
    expect(result.record.turn).toBe(expected.turn)
    expect(second.engines.small.prompts.at(-1)).toBe(whole.engines.small.prompts.at(-1))
  })

  test('goes on with another question', async () => {
    const { agent } = make()
    const { record } = await agent.run('Go?').result
    const { answer, transcript } = await agent.resume(record, { question: 'And then?' }).result
    expect(answer).toBe('Then nothing.')
    expect(transcript.log.filter((step) => step.kind === 'query').map((step) => step.text)).toEqual(['Go?', 'And then?'])
  })

  test('replays its events, at once or in time', async () => {
    const { agent } = make()
    const run = agent.run('Go?')
    const list = (await events(run)).filter(({ type }) => type !== 'delta')
    const { record } = await run.result
    expect(await events(replay(record))).toEqual(list)
    const controller = new AbortController()
    const slow = replay({ ...record, events: record.events.map((one, index) => ({ ...one, at: index * 1000 })) }, { speed: 1, signal: controller.signal })
    await slow.next()
    setTimeout(() => controller.abort(new Error('enough')), 5)
    await expect(slow.next()).rejects.toThrow('enough')
  })
})

describe('a search that nobody waits for', () => {
  const results = ['apple pie', 'pear tart', 'apple cake', 'shoes'].map((title, index) => ({ title, snippet: '', url: `w:${index}` }))
  const invoke = async (tool: Tool, signal = new AbortController().signal): Promise<{ url: string; text?: string }[]> => {
    const context: ToolContext = { signal, callId: 'c1' }
    return (await tool.invoke({ query: 'apple' }, context)) as { url: string; text?: string }[]
  }

  test('opens the best at once; the scorer changes what is opened, and losers are cancelled', async () => {
    const opened: string[] = []
    const cancelled: string[] = []
    const tool = searchTool({
      search: () => results,
      top: 1,
      open: ({ url }, { signal }) => {
        opened.push(url!)
        return new Promise((resolve, reject) => {
          const timer = setTimeout(() => resolve(`text of ${url!}`), 30)
          signal.addEventListener('abort', () => {
            clearTimeout(timer)
            cancelled.push(url!)
            reject(signal.reason as Error)
          })
        })
      },
      scorer: async () => [0.2, 0.9, 0.1, 0],
    })
    const found = await invoke(tool)
    expect(opened).toEqual(['w:0', 'w:1'])
    expect(cancelled).toContain('w:0')
    expect(found.map(({ url, text }) => [url, text])).toEqual([['w:1', 'text of w:1'], ['w:0', undefined], ['w:2', undefined]])
  })

  test.each([
    ['late', () => new Promise<number[]>(() => undefined)],
    ['failing', () => Promise.reject(new Error('no'))],
  ])('a %s scorer changes nothing', async (_, scorer) => {
    const tool = searchTool({ search: () => results, top: 2, open: async ({ url }) => `text of ${url!}`, scorer })
    const found = await invoke(tool)
    expect(found.map(({ text }) => text)).toEqual(['text of w:0', 'text of w:2'])
  })

  test('a page that fails says so, and an abort reaches all pages', async () => {
    const tool = searchTool({ search: () => results, top: 1, open: () => Promise.reject(new Error('gone')) })
    expect((await invoke(tool))[0]).toMatchObject({ url: 'w:0', text: 'Error: gone' })
    const controller = new AbortController()
    const seen: AbortSignal[] = []
    const hanging = searchTool({
      search: () => results, top: 2,
      open: (_, { signal }) => {
        seen.push(signal)
        return new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)))
      },
    })
    const pending = invoke(hanging, controller.signal)
    await new Promise((resolve) => setTimeout(resolve, 1))
    controller.abort(new Error('enough'))
    await pending
    expect(seen.map(({ aborted }) => aborted)).toEqual([true, true])
  })

  test('a small model scores each result by the probability of TRUE, sharing the question', async () => {
    const engine = new ScriptedEngine(({ prompt }) => (prompt.includes('pear') ? 0.8 : 0.1))
    const scores = await modelScorer(engine)('apple', results, { signal: new AbortController().signal })
    expect(scores.map((score) => Math.round(score * 10))).toEqual([0, 8, 0, 0])
    expect(engine.live.size + engine.running).toBe(0)
  })
})

describe('for long', () => {
  /** 200 turns in `AGENTS_LONG=200`; fewer where every test counts. */
  const length = Number(process.env['AGENTS_LONG'] ?? 40)

  test(`${length} turns of 8 agents at once: memory stays flat`, { timeout: 120_000 }, async () => {
    setFlagsFromString('--expose-gc')
    const gc = runInNewContext('gc') as () => void
    const pages = defineTool({ name: 'page', description: 'x', parameters: z.object({ n: z.int() }), run: ({ n }) => `Page ${n}. ${'word '.repeat(40)}` })
    const done = new Map<string, number>()
    const script: Script = ({ kind, prompt }) => {
      if (kind === 'memory') return 'some facts'
      const at = prompt.indexOf('Question ')
      const asked = prompt.slice(at, at + 12)
      const n = (done.get(asked) ?? 0) + 1
      done.set(asked, n)
      return n > length ? 'done' : call(['page', { n }])
    }
    const engine = new ScriptedEngine(script, { cache: false })
    engine.keepsPrompts = false
    const history = { rule: 'paper', threshold: 3000, keepRecent: 2, memoryMin: 10 } as const
    const agent = new Agent({ models: { small: engine }, tools: [pages], compress: { observations: false, history }, limits: { turns: length + 10 } })
    const heap: number[] = []
    for (let round = 0; round < 4; ++round) {
      done.clear()
      const runs = Array.from({ length: 8 }, (_, index) => agent.run(`Question ${index}?`))
      const ends = await Promise.all(runs.map(async (run) => (await run.result).end))
      expect(ends).toEqual(Array.from({ length: 8 }, () => 'answer'))
      engine.forget()
      gc()
      heap.push(process.memoryUsage().heapUsed / 2 ** 20)
    }
    expect(engine.live.size + engine.running).toBe(0)
    expect(heap[3]! - heap[1]!).toBeLessThan(4)
  })
})
