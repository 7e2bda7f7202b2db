import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { z } from 'zod'

import { Agent, defineTool } from 'agentinfer'
import type { AgentEvent, AgentOptions, AgentRun, HistoryOptions, RunRecord, Tool } from 'agentinfer'

import { expectedPrompts } from './expected.js'
import { ScriptedEngine, call, think } from './scripted_engine.js'
import type { Script, ScriptedOptions } from './scripted_engine.js'

const pageLength = 600
const page = defineTool({
  name: 'page',
  description: 'opens a page',
  parameters: z.object({ number: z.int() }),
  run: ({ number }) => `Page ${number}. The code of room ${number} is ${7000 + number}. ${`Words of page ${number}. `.repeat(40)}`.slice(0, pageLength),
})

const always: Partial<HistoryOptions> = {
  keepRecent: 1,
  minSaved: 10,
  memoryMin: 10,
  memoryMax: 200,
  rule: 'paper',
  threshold: 1500,
}

interface Setup extends Partial<AgentOptions>, ScriptedOptions {
  readonly turns?: number
  readonly memory?: Script
  readonly history?: Partial<HistoryOptions>
  readonly answer?: string
}

function reader({ turns = 8, memory, history = always, answer = 'done', pause, maxContext, kvTokens, ...options }: Setup = {}) {
  const script: Script = (asked) => {
    if (asked.kind === 'memory') return memory === undefined ? `facts ${asked.index}` : memory(asked)
    if (asked.kind !== 'turn') return asked.kind === 'value' ? 0.9 : 'fine'
    return asked.index < turns ? think(`open ${asked.index}`) + call(['page', { number: asked.index }]) : answer
  }
  const scripted = { ...(pause && { pause }), ...(maxContext !== undefined && { maxContext }), ...(kvTokens !== undefined && { kvTokens }) }
  const engine = new ScriptedEngine(script, scripted)
  const compress = { observations: false, history } as const
  const agent = new Agent({ models: { small: engine }, tools: [page], instructions: 'Read.', compress, ...options })
  return { agent, engine }
}

async function events(run: AgentRun): Promise<AgentEvent[]> {
  const all: AgentEvent[] = []
  for await (const event of run) all.push(event)
  return all
}

type Compress = Extract<AgentEvent, { type: 'compress' }>
const compressions = (list: readonly AgentEvent[]): Compress[] => list.filter((event): event is Compress => event.type === 'compress')
const phases = (list: readonly AgentEvent[]): string[] => compressions(list).map(({ phase }) => phase)

function checkPrompts(engine: ScriptedEngine, record: RunRecord): void {
  expect(engine.prompts).toEqual([...expectedPrompts(record.transcript).values()].map(({ prompt }) => prompt))
}

describe('a swap', () => {
  test('keeps system, question, thinking, calls and recent observations; one memory replaces the older ones', async () => {
    const { agent, engine } = reader()
    const run = agent.run('Which codes?')
    const list = await events(run)
    expect(phases(list).slice(0, 3)).toEqual(['launch', 'ready', 'swap'])
    const { record } = await run.result
    checkPrompts(engine, record)
    const last = engine.prompts.at(-1)!
    for (let turn = 0; turn < 8; ++turn) expect(last).toContain(think(`open ${turn}`))
    expect(last).toContain('系统：Read.')
    expect(last).toContain('用户：Which codes?')
    expect(last).toContain('Page 7.')
    expect(last).not.toContain('Page 0.')
    expect(last).toContain('助手：===MEMORY===\nfacts 0\nSources: o1 = page(number: 0)')
    expect(engine.live.size + engine.running).toBe(0)
  })

  test('later swaps add memories and leave the earlier ones as they are', async () => {
    const { agent, engine } = reader({ turns: 30 })
    const list = await events(agent.run('Which codes?'))
    const swaps = phases(list).filter((phase) => phase === 'swap').length
    expect(swaps).toBeGreaterThan(3)
    const last = engine.prompts.at(-1)!
    const memories = [...last.matchAll(/facts (\d+)/g)].map(([, index]) => Number(index))
    expect(memories).toEqual(Array.from({ length: swaps }, (_, index) => index))
  })

  test('the turn after it computes little, and what was kept is kept token by token', async () => {
    const run = async ({ number }: { number: number }): Promise<string> => {
      await new Promise((resolve) => setTimeout(resolve, 10))
      return `Page ${number}. ${`Words of page ${number}. `.repeat(40)}`.slice(0, pageLength)
    }
    const { agent } = reader({ turns: 12, tools: [defineTool({ name: 'page', description: 'x', parameters: z.object({ number: z.int() }), run })] })
    const list = await events(agent.run('Which codes?'))
    let checked = 0
    for (const [index, event] of list.entries()) {
      if (event.type !== 'compress' || event.phase !== 'swap') continue
      const next = list.slice(index).find((later) => later.type === 'usage' && later.purpose === 'turn')
      if (next?.type !== 'usage') continue
      ++checked
      const appended = pageLength + 40 // the newest observation belongs to the turn, swap or not
      expect(next.cachedTokens / (next.promptTokens - appended)).toBeGreaterThan(0.95)
      expect(event.after).toBeLessThan(event.before)
    }
    expect(checked).toBeGreaterThan(1)
  })

  test('is ready while the agent goes on, and takes along the steps taken meanwhile', async () => {
    const gate: (() => void)[] = []
    const { agent, engine } = reader({ turns: 8, memory: () => new Promise((resolve) => gate.push(() => resolve('late facts'))) })
    let swapped = 0
    for await (const event of agent.run('Which codes?')) {
      if (event.type === 'turn' && event.turn === 6) gate[0]!()
      if (event.type === 'compress' && event.phase === 'swap') swapped = event.turn
    }
    expect(swapped).toBeGreaterThanOrEqual(6)
    const last = engine.prompts.at(-1)!
    expect(last.match(/late facts/g)).toHaveLength(1)
    for (const number of [4, 5, 6, 7]) expect(last).toContain(`Page ${number}.`)
  })
})

describe('what fails leaves the run as it was', () => {
  test.each<[string, Setup, (engine: ScriptedEngine) => void, RegExp]>([
    ['the distillation', { memory: () => Promise.reject(new Error('no memory')) }, () => undefined, /no memory/],
    ['an empty memory', { memory: () => '  ' }, () => undefined, /empty/],
    ['a memory that saves nothing', { memory: () => 'x'.repeat(2000), history: { ...always, memoryMin: 1000, memoryMax: 1000 } }, () => undefined, /tokens/],
    ['the precomputation', {}, (engine) => (engine.failures = { prefill: 1 }), /prefill failed/],
  ])('%s', async (_, setup, prepare, reason) => {
    const { agent, engine } = reader(setup)
    prepare(engine)
    const run = agent.run('Which codes?')
    const list = await events(run)
    const failed = compressions(list).find(({ phase }) => phase === 'fail')
    if (failed !== undefined && 'reason' in failed) expect(failed.reason).toMatch(reason)
    else expect(phases(list)).not.toContain('swap')
    const { record, end } = await run.result
    expect(end).toBe('answer')
    checkPrompts(engine, record)
    expect(engine.live.size + engine.running).toBe(0)
  })

  test('a run that ends first', async () => {
    const { agent, engine } = reader({ turns: 4, memory: () => new Promise(() => undefined) })
    const list = await events(agent.run('Which codes?'))
    expect(phases(list)).toEqual(['launch', 'late'])
    expect(engine.live.size + engine.running).toBe(0)
  })
})

describe('under every interleaving', () => {
  /** Each asynchronous operation waits a random number of turns of the event loop. */
  function randomly(seed: number): (what: string) => Promise<void> {
    let state = seed
    return async () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0
      for (let ticks = (state >>> 16) % 7; ticks > 0; --ticks) await new Promise((resolve) => setImmediate(resolve))
    }
  }

  /** A call that is under way for a while, with its timer running. */
  const slowPage = (pause: (what: string) => Promise<void>): Tool =>
    defineTool({
      name: 'page',
      description: 'opens a page',
      parameters: z.object({ number: z.int() }),
      run: async ({ number }) => {
        await pause('tool')
        return `Page ${number}. ${`Words of page ${number}. `.repeat(40)}`.slice(0, pageLength)
      },
    })

  test('every prompt is the log up to its turn, on both models, and nothing stays behind', async () => {
    let [swaps, withdrawn] = [0, 0]
    for (let seed = 1; seed <= 24; ++seed) {
      const pause = randomly(seed)
      let [turn, judged] = [0, 0]
      const script: Script = ({ kind, index }) => {
        if (kind === 'memory') return seed % 5 === 0 && index === 0 ? Promise.reject(new Error('no')) : `facts ${index}`
        if (kind === 'value') return (Math.imul(++judged + seed, 2654435761) >>> 0) % 3 === 0 ? 0.02 : 0.9
        if (kind === 'reason') return 'so it is'
        return ++turn > 11 ? 'done' : think(`open ${turn}`) + call(['page', { number: turn }])
      }
      // In every third run the small model is unsure of every fourth turn, and the large one writes it again.
      const confidence = (reply: string): number => (seed % 3 === 0 && /open \d*[048]\b/.test(reply) ? 0.5 : 1)
      const engines = { small: new ScriptedEngine(script, { pause, confidence }), large: new ScriptedEngine(script, { pause }) }
      const agent = new Agent({
        models: engines, tools: [page], instructions: 'Read.', compress: { observations: false, history: always },
        collab: { warmFrom: seed % 2 === 0 ? 0 : 0.3, redoBelow: 0.9 },
      })
      const { record, end } = await agent.run('Which codes?').result
      expect(end).toBe('answer')
      swaps += record.transcript.steps.filter((step) => step.kind === 'memory').length
      const expected = [...expectedPrompts(record.transcript).values()]
      for (const [model, { prompts }] of Object.entries(engines)) {
        const kept = expected.filter((one) => one.model === model).map(({ prompt }) => prompt)
        // What was withdrawn was asked with the same words as what stands in its place.
        const others = prompts.filter((prompt) => !kept.includes(prompt))
        expect(prompts.filter((prompt) => kept.includes(prompt)), `seed ${seed}`).toEqual(kept)
        for (const prompt of others) expect(expected.map((one) => one.prompt), `seed ${seed}`).toContain(prompt)
        withdrawn += others.length
      }
      for (const engine of Object.values(engines)) expect(engine.live.size + engine.running, `seed ${seed}`).toBe(0)
    }
    expect(swaps).toBeGreaterThan(30)
    expect(withdrawn).toBeGreaterThan(5)
  })

  test('an abort at any moment leaves nothing, and no timer', async () => {
    const timers = (): number => process.getActiveResourcesInfo().filter((what) => what === 'Timeout').length
    const before = timers()
    for (let seed = 1; seed <= 40; ++seed) {
      const controller = new AbortController()
      const inner = randomly(seed)
      let operations = 0
      const pause = async (what: string): Promise<void> => {
        if (++operations === 4 * seed) controller.abort(new Error('enough'))
        await inner(what)
      }
      const { agent, engine } = reader({ turns: 14, pause, tools: [slowPage(pause)], limits: { seconds: 1000 } })
      const run = agent.run('Which codes?', { signal: controller.signal })
      const ended = await run.result.then(({ end }) => end, (error: Error) => error.message)
      expect(['enough', 'answer']).toContain(ended)
      expect(engine.live.size + engine.running, `seed ${seed}`).toBe(0)
      expect(timers(), `seed ${seed}`).toBeLessThanOrEqual(before)
    }
  })
})

describe('when', () => {
  const gate: Partial<HistoryOptions> = { ...always, rule: 'gate', keepRecent: 1, usualTurns: 40, load: 1, extraTurns: 0 }

  test('the gate swaps where scarce KV is lost and leaves the context alone where it is not', async () => {
    // A turn takes a millisecond by a clock of its own: what holding a block costs is counted by the second, and a machine may stand still.
    vi.useFakeTimers({ toFake: ['performance'] })
    onTestFinished(() => void vi.useRealTimers())
    const tick = (what: string): Promise<void> => {
      if (what === 'turn') vi.advanceTimersByTime(1)
      return Promise.resolve()
    }
    // Whoever has a turn finds that others' KV took the place of its own.
    const pause = (what: string): Promise<void> => {
      if (what === 'turn') scarce.engine.forget()
      return tick(what)
    }
    const scarce = reader({ turns: 30, history: gate, kvTokens: 4000, pause })
    const run = scarce.agent.run('Which codes?')
    const list = await events(run)
    expect(await run.result).toMatchObject({ end: 'answer', answer: 'done' })
    expect(phases(list)).toContain('swap')
    const enough = reader({ turns: 30, history: gate, kvTokens: 4000, pause: tick })
    expect(phases(await events(enough.agent.run('Which codes?')))).toEqual([])
    const plenty = reader({ turns: 30, history: gate, pause: tick })
    expect(phases(await events(plenty.agent.run('Which codes?')))).toEqual([])
  })

  test('a context that is nearly full is compressed whatever the gate says, and the run goes on', async () => {
    const options = { turns: 12, maxContext: 5000, turnTokens: 200 }
    const kept = reader({ ...options, history: gate })
    const run = kept.agent.run('Which codes?')
    const list = await events(run)
    expect(compressions(list).find(({ phase }) => phase === 'launch')).toMatchObject({ rule: 'context full' })
    expect((await run.result).end).toBe('answer')
    const off = reader({ ...options, compress: false })
    expect((await off.agent.run('Which codes?').result).end).toBe('context')
  })

  test('history: false never swaps', async () => {
    const { agent } = reader({ compress: { observations: false, history: false } })
    expect(phases(await events(agent.run('Which codes?')))).toEqual([])
  })

  test("a rule of one's own", async () => {
    const seen: number[] = []
    const rule: HistoryOptions['rule'] = (pieces) => {
      seen.push(pieces.filter(({ compressible }) => compressible).length)
      return { swap: false, reason: 'nothing to replace', plan: undefined }
    }
    const { agent } = reader({ turns: 5, history: { rule, keepRecent: 2 } })
    await agent.run('Which codes?').result
    expect(seen).toEqual([0, 0, 1, 2, 3])
  })
})

describe('what nothing is left out of', () => {
  test.each([4, 9])('costs not a token: %i turns read, word for word, what they read without compression', async (turns) => {
    const never = () => ({ swap: false, reason: 'below the rule', plan: undefined }) as const
    const without = reader({ turns, compress: false })
    await without.agent.run('Which codes?').result
    for (const history of [{ rule: 'gate' }, { rule: never }] as const) {
      const { agent, engine } = reader({ turns, compress: { history } })
      const list = await events(agent.run('Which codes?'))
      expect(phases(list)).toEqual([])
      expect(engine.prompts).toEqual(without.engine.prompts)
      expect(new Set(list.flatMap((event) => (event.type === 'usage' ? [event.purpose] : [])))).toEqual(new Set(['turn']))
    }
  })

  test('lists recall among the tools where models were trained so, and takes it anyhow', async () => {
    for (const recall of ['told', 'listed'] as const) {
      const engine = new ScriptedEngine(({ index }) => (index === 0 ? call(['page', { number: 3 }]) : index === 1 ? call(['recall', { id: 'o1' }]) : 'done'))
      const agent = new Agent({ models: { small: engine }, tools: [page], compress: { recall } })
      const list = await events(agent.run('Which codes?'))
      const [first, again] = list.flatMap((event) => (event.type === 'observation' ? [event.text] : []))
      expect(again).toBe(first)
      expect(engine.prompts[0]!.includes('"name":"recall"')).toBe(recall === 'listed')
    }
  })
})

describe('nothing is lost', () => {
  test('a detail that the memory left out comes back by recall', async () => {
    let answered = ''
    const script: Script = ({ kind, prompt, index }) => {
      if (kind === 'memory') return 'Room 0 has a code (o1).'
      if (index < 6) return call(['page', { number: index }])
      const code = /The code of room 0 is (\d+)/.exec(prompt)?.[1]
      if (code !== undefined) return (answered = `It is ${code}.`)
      expect(prompt).toContain('Room 0 has a code (o1).')
      expect(prompt).toContain('page(number: 0)\nAny of them in full: call recall with {"id": "<its id>"}.\n===END_MEMORY===')
      return call(['recall', { id: 'o1' }])
    }
    const engine = new ScriptedEngine(script)
    const agent = new Agent({ models: { small: engine }, tools: [page], compress: { observations: false, history: always } })
    const { answer } = await agent.run('What is the code of room 0?').result
    expect(answer).toBe('It is 7000.')
    expect(answered).toBe(answer)
  })

  test('poor search results and long texts are cut with a pointer, and recall gives all of it', async () => {
    const results = Array.from({ length: 9 }, (_, index) => ({
      title: index === 4 ? 'The lighthouse of Orrin' : `Bargain shoes ${index}`,
      snippet: index === 4 ? 'Built by Mara Venn' : `Buy now ${index}`,
      url: `w:${index}`,
    }))
    const tools = [
      defineTool({ name: 'search', description: 'x', parameters: z.object({ query: z.string() }), run: () => results }),
      defineTool({
        name: 'open', description: 'x', parameters: z.object({}),
        run: () => `A page. ${'Nothing of interest here. '.repeat(100)}The lighthouse was built by Mara Venn. ${'More of nothing. '.repeat(100)}`,
      }),
    ]
    const script = [call(['search', { query: 'lighthouse' }]), call(['open', {}]), call(['recall', { id: 'o1' }]), call(['recall', { id: 'o2', find: 'Mara Venn' }]), 'Mara Venn']
    const engine = new ScriptedEngine(({ index }) => script[index]!)
    const compress = { observations: { characters: 600, rank: { max: 3 } }, history: false } as const
    const agent = new Agent({ models: { small: engine }, tools, compress })
    const list = await events(agent.run('Who built the lighthouse of Orrin?'))
    const [found, opened, all, again] = list.flatMap((event) => (event.type === 'observation' ? [event.text] : []))
    expect(found).toMatch(/^\[\{"title":"The lighthouse of Orrin"/)
    expect(found).toMatch(/\n\(o1: 3 of 9 results; for all call recall with {"id": "o1"}\)$/)
    expect(opened).toContain('built by Mara Venn')
    expect(opened).toMatch(/\(o2: \d+ of \d+ characters; for the rest call recall with {"id": "o2", "find": "<words>"}\)$/)
    expect(opened!.length).toBeLessThan(700)
    expect(all).toContain('Bargain shoes 8')
    expect(again).toContain('Mara Venn')
  })
})
