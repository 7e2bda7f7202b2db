import { describe, expect, test } from 'vitest'
import { z } from 'zod'

import { Agent, defineTool } from 'agentinfer'
import type { AgentEvent, AgentOptions, AgentRun, HistoryOptions, Which } from 'agentinfer'

import { expectedPrompts } from './expected.js'
import { ScriptedEngine, call, think } from './scripted_engine.js'
import type { Script } from './scripted_engine.js'

const page = defineTool({
  name: 'page',
  description: 'opens a page',
  parameters: z.object({ number: z.int() }),
  run: ({ number }) => `Page ${number}. ${`Words of page ${number}. `.repeat(20)}`,
})

const cheap: Partial<HistoryOptions> = { rule: 'gate', minSaved: 1e9, memoryMin: 10, extraTurns: 0, keepRecent: 2 }

interface Setup extends Omit<Partial<AgentOptions>, 'models'> {
  readonly history?: Partial<HistoryOptions>
  readonly turns?: number
  /** Who writes: a letter per turn. */
  readonly models: string
  readonly one?: boolean
  readonly pause?: (what: string) => Promise<void>
}

function reader({ history = cheap, models, one = false, pause, turns = models.length - 1, ...rest }: Setup) {
  let turn = 0
  const script: Script = ({ kind, index }) => {
    if (kind !== 'turn') return kind === 'value' ? 0.9 : `facts ${index}`
    return ++turn > turns ? 'done' : think(`open ${turn}`) + call(['page', { number: turn }])
  }
  const scripted = pause === undefined ? {} : { pause }
  const small = new ScriptedEngine(script, scripted)
  const large = one ? small : new ScriptedEngine(script, scripted)
  const which = (at: number): Which => (models[Math.min(at, models.length - 1)] === 'L' ? 'large' : 'small')
  const agent = new Agent({
    models: { small, large }, tools: [page], instructions: 'Read.', limits: { turns: 100 },
    collab: { route: (steps) => which(steps.length), warmFrom: false }, compress: { observations: false, history }, ...rest,
  })
  return { agent, small, large }
}

async function events(run: AgentRun): Promise<AgentEvent[]> {
  const all: AgentEvent[] = []
  for await (const event of run) all.push(event)
  return all
}

const pagesIn = (prompt: string): number[] => [...prompt.matchAll(/Page (\d+)\./g)].map(([, number]) => Number(number))

describe('a model that takes over', () => {
  test('does not read old observations that it had not read: it sees thoughts, calls, the latest two, and where the others are', async () => {
    const { agent, small, large } = reader({ models: 'SSSSSSL' })
    const list = await events(agent.run('Which codes?'))
    const prompt = large.prompts.at(-1)!
    expect(pagesIn(prompt)).toEqual([5, 6])
    for (let turn = 1; turn <= 6; ++turn) expect(prompt).toContain(think(`open ${turn}`))
    expect(prompt).toContain('o1 = page(number: 1); o2 = page(number: 2); o3 = page(number: 3); o4 = page(number: 4)\nAny of them in full: call recall with {"id": "<its id>"}.\n===END_MEMORY===')
    expect(pagesIn(small.prompts.at(-1)!)).toEqual([1, 2, 3, 4, 5])
    const omitted = list.filter((event) => event.type === 'compress')
    expect(omitted).toMatchObject([{ phase: 'omit', turn: 6, model: 'large', saved: expect.any(Number) }])
  })

  test('keeps what it has read, and leaves out only what came since', async () => {
    const { agent, large } = reader({ models: 'LLSSSSLSSSSSL' })
    const run = agent.run('Which codes?')
    await events(run)
    const [, , third, fourth] = large.prompts.map(pagesIn)
    expect(third).toEqual([1, 5, 6])
    expect(fourth).toEqual([...third!, 11, 12])
    const { record } = await run.result
    expect(record.transcript.steps.filter(({ kind }) => kind === 'omission')).toHaveLength(2)
  })

  test('computes nothing twice: its context only grows', async () => {
    const { agent } = reader({ models: 'LSSSSLLSSSSSLL' })
    const usage = (await events(agent.run('Which codes?'))).filter((event) => event.type === 'usage' && event.model === 'large')
    const turns = usage.flatMap((event) => (event.type === 'usage' && event.purpose === 'turn' ? [event] : []))
    expect(turns.length).toBeGreaterThan(3)
    for (const [index, { promptTokens }] of turns.slice(0, -1).entries())
      expect(turns[index + 1]!.cachedTokens).toBeGreaterThanOrEqual(promptTokens)
  })

  test.each<[string, Partial<Setup>]>([
    ['it is told to', { history: { ...cheap, handover: false } }],
    ['the rule is the paper\'s', { history: { ...cheap, rule: 'paper', threshold: 1e9 } }],
    ['both models are one engine, whose KV has it', { one: true }],
    ['knowing less would cost more turns than that', { history: { ...cheap, extraTurns: 1000 } }],
  ])('reads all where %s', async (_, setup) => {
    const { agent, large } = reader({ models: 'SSSSSSL', ...setup })
    await events(agent.run('Which codes?'))
    expect(pagesIn(large.prompts.at(-1)!)).toEqual([1, 2, 3, 4, 5, 6])
  })

  test.each([
    ['what it will leave out it does not read ahead', 0, [5, 6]],
    ['what it will read it reads ahead', 1000, [1, 2, 3, 4, 5, 6]],
  ])('%s', async (_, extraTurns, pages) => {
    const models = 'SSSSSSL'
    const route = (steps: readonly unknown[]): Which => (models[steps.length] === 'L' ? 'large' : 'small')
    const { agent, large } = reader({ models, history: { ...cheap, extraTurns }, collab: { route, warmFrom: 0 } })
    const list = await events(agent.run('Which codes?'))
    expect(pagesIn(large.prompts.at(-1)!)).toEqual(pages)
    const ahead = list.flatMap((event) => (event.type === 'usage' && event.purpose === 'warm' && event.model === 'large' ? [event.promptTokens] : []))
    // One token per character; the last page comes when it takes over.
    const places = [...large.prompts.at(-1)!.matchAll(/Page \d/g)].map(({ index }) => index)
    if (extraTurns === 0) expect(Math.max(...ahead)).toBeLessThan(places[0]!)
    else expect(Math.max(...ahead)).toBeGreaterThan(places.at(-2)!)
  })

  test('reads the same after the run was saved and resumed', async () => {
    const first = reader({ models: 'SSSSSSLLLL', limits: { turns: 8 } })
    const { record } = await first.agent.run('Which codes?').result
    const { record: plain } = JSON.parse(JSON.stringify({ record })) as { record: typeof record }
    const second = reader({ models: 'L', turns: 1 })
    await events(second.agent.resume(plain))
    const after = second.large.prompts[0]!
    expect(pagesIn(after)).toEqual([5, 6, 7])
    expect(after).toContain('o4 = page(number: 4)\nAny of them in full: call recall with {"id": "<its id>"}.\n===END_MEMORY===')
  })

  test('under every interleaving of swaps, reading ahead and tools, prompts are what the log says, and nothing stays behind', async () => {
    let [swaps, omissions] = [0, 0]
    for (let seed = 1; seed <= 40; ++seed) {
      let state = seed
      const draw = (): number => ((state = (Math.imul(state, 1664525) + 1013904223) >>> 0) >>> 8) / 2 ** 24
      const pause = async (): Promise<void> => {
        for (let ticks = Math.floor(7 * draw()); ticks > 0; --ticks) await new Promise((resolve) => setImmediate(resolve))
      }
      const models = Array.from({ length: 16 }, () => (draw() < 0.3 ? 'L' : 'S')).join('')
      const { agent, small, large } = reader({
        models,
        pause,
        history: { ...cheap, minSaved: seed % 3 === 0 ? 1e9 : 10, memoryMax: 100, lambda: () => 1, margin: 0.01, keepRecent: 1 + (seed % 2) },
        collab: { route: (steps) => (models[steps.length] === 'L' ? 'large' : 'small'), ...(seed % 4 > 1 && { warmFrom: 0 }) },
      })
      const { record, end } = await agent.run('Which codes?').result
      expect(end, `seed ${seed}`).toBe('answer')
      const { steps } = record.transcript
      swaps += steps.filter(({ kind }) => kind === 'memory').length
      omissions += steps.filter(({ kind }) => kind === 'omission').length
      const expected = [...expectedPrompts(record.transcript).values()]
      for (const [model, engine] of Object.entries({ small, large })) {
        expect(engine.prompts, `seed ${seed}`).toEqual(expected.filter((one) => one.model === model).map(({ prompt }) => prompt))
        expect(engine.live.size + engine.running, `seed ${seed}`).toBe(0)
      }
    }
    expect(swaps).toBeGreaterThan(10)
    expect(omissions).toBeGreaterThan(12)
  })
})
