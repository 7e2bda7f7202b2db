import { describe, expect, test } from 'vitest'
import { z } from 'zod'

import { Agent, AgentInferError, defineTool } from 'agentinfer'
import type { AgentEvent, AgentOptions, AgentRun } from 'agentinfer'

import { ScriptedEngine, call, think, turns } from './scripted_engine.js'
import type { Script } from './scripted_engine.js'

const echo = defineTool({
  name: 'echo',
  description: 'says it again',
  parameters: z.object({ text: z.string() }),
  run: ({ text }) => `echo: ${text}`,
})

function small(script: Script | readonly string[], options: Partial<AgentOptions> = {}): { agent: Agent; engine: ScriptedEngine } {
  const engine = new ScriptedEngine(typeof script === 'function' ? script : turns(script))
  return { engine, agent: new Agent({ models: { small: engine }, tools: [echo], instructions: 'Be brief.', ...options }) }
}

async function events(run: AgentRun): Promise<AgentEvent[]> {
  const all: AgentEvent[] = []
  for await (const event of run) all.push(event)
  return all
}

function only<Type extends AgentEvent['type']>(list: readonly AgentEvent[], type: Type): Extract<AgentEvent, { type: Type }>[] {
  return list.filter((event): event is Extract<AgentEvent, { type: Type }> => event.type === type)
}

const code = async (work: () => unknown): Promise<unknown> => {
  try {
    await work()
  } catch (error) {
    return error instanceof AgentInferError ? error.code : error
  }
  return undefined
}

describe('the loop', () => {
  test('thinks, calls, observes, answers, and tells all of it in order', async () => {
    const { agent, engine } = small([think('look') + call(['echo', { text: 'a' }]), think('done') + 'It is a.'])
    const list = await events(agent.run('What is it?'))
    expect(list.filter(({ type }) => type !== 'delta').map(({ type }) => type)).toEqual([
      'turn', 'think', 'usage', 'tool-call', 'observation', 'turn', 'think', 'usage', 'answer', 'end',
    ])
    expect(only(list, 'observation')[0]).toMatchObject({ text: 'echo: a', ok: true, ref: 'o1' })
    expect(only(list, 'answer')[0]!.text).toBe('It is a.')
    const shown = (channel: string): string => only(list, 'delta').filter((d) => d.channel === channel).map((d) => d.text).join('|')
    expect(shown('thinking')).toContain('look')
    expect(shown('text')).toContain('It is a.')
    expect(engine.live.size).toBe(0)
  })

  test('the prompt is the chat format, and each turn reads only what was appended', async () => {
    const { agent, engine } = small([think('look') + call(['echo', { text: 'a' }]), call(['echo', { text: 'b' }]), 'b'], { compress: false })
    const list = await events(agent.run('What is it?'))
    const last = engine.prompts.at(-1)!
    expect(last).toMatch(/^\[unused9\]系统：Be brief\.\n\nYou can call these tools:\n<tools>\n\[\{"type":"function","function":\{"name":"echo"/)
    expect(last.endsWith(
      '[unused10][unused9]用户：What is it?[unused10][unused9]助手：[unused16]look[unused17][unused11][{"name":"echo","arguments":{"text":"a"}}][unused12][unused10]' +
        '[unused9]工具：echo: a[unused10][unused9]助手：[unused11][{"name":"echo","arguments":{"text":"b"}}][unused12][unused10][unused9]工具：echo: b[unused10][unused9]助手：',
    )).toBe(true)
    const usage = only(list, 'usage')
    const appended = '[unused10][unused9]工具：echo: a[unused10][unused9]助手：'.length
    expect(usage[1]!.promptTokens - usage[1]!.cachedTokens).toBe(appended)
    expect(usage[2]!.promptTokens - usage[2]!.cachedTokens).toBe(appended)
  })

  test('fast thinking marks what users and tools say', async () => {
    const { agent, engine } = small([call(['echo', { text: 'a' }]), 'a'], { thinking: false })
    await agent.run('What?').result
    expect(engine.prompts[1]).toContain('用户：What? /no_think[unused10]')
    expect(engine.prompts[1]).toContain('工具：echo: a /no_think[unused10]')
  })

  test('several calls of a turn run at once, and are observed in their order', async () => {
    const order: string[] = []
    let second = (): void => undefined
    const ended = new Promise<void>((resolve) => (second = resolve))
    const wait = defineTool({
      name: 'wait',
      description: 'the first waits for the second',
      parameters: z.object({ which: z.string() }),
      run: async ({ which }) => {
        order.push(`begin ${which}`)
        if (which === 'first') await ended
        order.push(`end ${which}`)
        if (which === 'second') second()
        return which
      },
    })
    const { agent } = small([call(['wait', { which: 'first' }], ['wait', { which: 'second' }]), 'done'], { tools: [wait] })
    const list = await events(agent.run('go'))
    expect(order).toEqual(['begin first', 'begin second', 'end second', 'end first'])
    expect(only(list, 'observation').map(({ text }) => text)).toEqual(['first', 'second'])
  })

  test('every way a call can go wrong is an observation, and the run goes on', async () => {
    let tries = 0
    const tools = [
      echo,
      defineTool({ name: 'fails', description: 'x', parameters: z.object({}), run: () => Promise.reject(new Error('no luck')) }),
      defineTool({ name: 'hangs', description: 'x', parameters: z.object({}), timeout: 0.02, run: () => new Promise<string>(() => undefined) }),
      defineTool({
        name: 'flaky', description: 'x', parameters: z.object({}), retries: 1,
        run: () => (++tries < 2 ? Promise.reject(new Error('later')) : 'at last'),
      }),
      defineTool({ name: 'picky', description: 'x', parameters: z.object({ text: z.string().refine(async () => await Promise.resolve(false)) }), run: () => 'never' }),
      defineTool({ name: 'big', description: 'x', parameters: z.object({}), final: true, run: () => ({ count: 1n }) }),
      defineTool({ name: 'blank', description: 'x', parameters: z.object({}), render: () => undefined as never, run: () => 1 }),
      defineTool({ name: 'odd', description: 'x', parameters: z.object({}), run: () => Symbol('odd') }),
    ]
    const script = [
      call(['echo', { words: 1 }]), call(['nothing', {}]), '[unused11]{{{[unused12]', call(['fails', {}]), call(['hangs', {}]), call(['flaky', {}]),
      call(['picky', { text: 'x' }]), call(['big', {}]), call(['blank', {}]), call(['odd', {}]), 'done',
    ]
    const { agent } = small(script, { tools })
    const list = await events(agent.run('go'))
    const texts = only(list, 'observation').map(({ text }) => text)
    expect(texts[0]).toMatch(/^Error: arguments of echo: text: /)
    expect(texts[1]).toMatch(/^Error: there is no tool "nothing": expected one of echo, fails/)
    expect(texts[2]).toMatch(/^Error: the tool call/)
    expect(texts.slice(3, 6)).toEqual(['Error: no luck', 'Error: hangs took more than 0.02 s', 'at last'])
    expect(texts[6]).toMatch(/^Error: arguments of picky: /)
    expect(texts[7]).toMatch(/^Error: the result of big cannot be shown: .*BigInt/)
    expect(texts[8]).toBe('Error: the result of blank cannot be shown: render: expected a string, got undefined')
    expect(texts[9]).toBe('a symbol')
    expect(only(list, 'answer')).toHaveLength(1)
  })
})

describe('ends', () => {
  test('of turns: the last one is told so', async () => {
    const { agent, engine } = small([call(['echo', { text: 'a' }])], { limits: { turns: 3 } })
    const { end, answer } = await agent.run('go').result
    expect({ end, answer }).toEqual({ end: 'turns', answer: undefined })
    expect(engine.prompts).toHaveLength(3)
    expect(engine.prompts[1]).not.toContain('last turn')
    expect(engine.prompts[2]).toContain('用户：This is the last turn.')
  })

  test('of tokens', async () => {
    const { agent } = small([call(['echo', { text: 'a' }])], { limits: { tokens: 150 } })
    const result = await agent.run('go').result
    expect(result.end).toBe('tokens')
    expect(result.record.spent.tokens).toBe(150)
  })

  test('of seconds, in the middle of a generation and of a tool', async () => {
    const never = new Promise<string>(() => undefined)
    const stuck = small(() => never, { limits: { seconds: 0.03 } })
    expect((await stuck.agent.run('go').result).end).toBe('seconds')
    const hang = defineTool({ name: 'hang', description: 'x', parameters: z.object({}), run: () => never })
    const waits = small([call(['hang', {}])], { tools: [hang], limits: { seconds: 0.03 } })
    expect((await waits.agent.run('go').result).end).toBe('seconds')
    expect(waits.engine.live.size + stuck.engine.live.size + waits.engine.running + stuck.engine.running).toBe(0)
  })

  test('of context', async () => {
    const engine = new ScriptedEngine(turns([call(['echo', { text: 'x'.repeat(500) }])]), { maxContext: 4000 })
    const agent = new Agent({ models: { large: engine }, tools: [echo], compress: false })
    expect((await agent.run('go').result).end).toBe('context')
  })

  test('a context that the question alone fills is an error that says so, not an empty run', async () => {
    const engine = new ScriptedEngine(turns(['never']), { maxContext: 300 })
    const agent = new Agent({ models: { small: engine }, tools: [echo] })
    const error: unknown = await agent.run('why? '.repeat(200)).result.catch((cause: unknown) => cause)
    expect(error).toMatchObject({ code: 'ERR_CONTEXT_LENGTH', details: { maxContext: 300 } })
    expect(String(error)).toMatch(/take \d+ of the 300 tokens of the small model's context/)
    expect(engine.live.size + engine.running).toBe(0)
  })

  test('of silence: a model that neither calls nor answers is asked to go on, and given up', async () => {
    const { agent, engine } = small([think('hm')], { silentTurns: 3 })
    expect((await agent.run('go').result).end).toBe('silent')
    expect(engine.prompts).toHaveLength(3)
    expect(engine.prompts[2]!.match(/Go on: call a tool/g)).toHaveLength(2)
  })
})

describe('aborting', () => {
  test.each(['turn', 'tool'])('by signal during a %s: rejects with its reason and leaves nothing', async (where) => {
    const controller = new AbortController()
    const reason = new Error('enough')
    const never = new Promise<string>((resolve) => {
      setTimeout(() => controller.abort(reason), 20)
      setTimeout(() => resolve('late'), 40)
    })
    const hang = defineTool({ name: 'hang', description: 'x', parameters: z.object({}), run: () => never })
    const { agent, engine } = small(where === 'turn' ? () => never : [call(['hang', {}])], { tools: [hang] })
    const run = agent.run('go', { signal: controller.signal })
    expect(await code(() => events(run))).toBe(reason)
    expect(await code(() => run.result)).toBe(reason)
    expect(engine.live.size + engine.running).toBe(0)
  })

  test('while a failed call waits for its next attempt: no timer stays', async () => {
    const timers = (): number => process.getActiveResourcesInfo().filter((what) => what === 'Timeout').length
    const before = timers()
    const controller = new AbortController()
    const attempt = (): Promise<never> => {
      setImmediate(() => controller.abort(new Error('enough')))
      return Promise.reject(new Error('later'))
    }
    const flaky = defineTool({ name: 'flaky', description: 'x', parameters: z.object({}), retries: 9, run: attempt })
    const { agent } = small([call(['flaky', {}])], { tools: [flaky], limits: { seconds: 1000 } })
    await expect(agent.run('go', { signal: controller.signal }).result).rejects.toThrow('enough')
    expect(timers()).toBeLessThanOrEqual(before)
  })

  test('by leaving the loop: ends with abort', async () => {
    const { agent, engine } = small([call(['echo', { text: 'a' }])])
    const run = agent.run('go')
    for await (const event of run) if (event.type === 'observation') break
    expect((await run.result).end).toBe('abort')
    expect(engine.live.size + engine.running).toBe(0)
  })

  test('an engine that fails is told to both', async () => {
    const { agent, engine } = small([call(['echo', { text: 'a' }])])
    engine.failures = { generate: 1 }
    const run = agent.run('go')
    expect(await code(() => run.result)).toMatchObject({ message: 'generate failed' })
    expect(await code(() => events(run))).toMatchObject({ message: 'generate failed' })
    expect(engine.live.size + engine.running).toBe(0)
  })
})

test('one signal for many runs, and many calls of one turn, are nothing to be warned of', async () => {
  const warnings: Error[] = []
  const warn = (warning: Error): void => void warnings.push(warning)
  process.on('warning', warn)
  const controller = new AbortController()
  const calls = Array.from({ length: 16 }, (_, index): [string, Record<string, unknown>] => ['echo', { text: String(index) }])
  const runs = Array.from({ length: 16 }, () => small([call(...calls), 'done']).agent.run('go', { signal: controller.signal }).result)
  await Promise.all(runs)
  await new Promise((resolve) => setTimeout(resolve, 5))
  process.off('warning', warn)
  expect(warnings.filter(({ name }) => name === 'MaxListenersExceededWarning')).toEqual([])
})

describe('events that nobody reads', () => {
  const turn = (index: number): string => `${think(`look ${index}`)}${call(['echo', { text: String(index) }])}`
  const script = [...Array.from({ length: 30 }, (_, index) => turn(index)), think('it is clear') + 'It is a.']

  test('are kept without the deltas of turns that are over; whoever comes late reads all the others', async () => {
    const { agent } = small(script)
    const run = agent.run('go')
    const { record } = await run.result
    const list = await events(run)
    expect(list.filter(({ type }) => type !== 'delta')).toEqual(record.events.map(({ event }) => event))
    const deltas = only(list, 'delta')
    expect(new Set(deltas.map((delta) => delta.turn))).toEqual(new Set([31]))
    expect(deltas.map(({ text }) => text).join('')).toContain('It is a.')
  })

  test('whoever comes in the middle reads that turn from its beginning, and every delta from then on', async () => {
    let arrive = (): void => undefined
    const there = new Promise<void>((resolve) => (arrive = resolve))
    let go = (): void => undefined
    const wait = new Promise<void>((resolve) => (go = resolve))
    const { agent } = small(script, {
      tools: [defineTool({
        name: 'echo', description: 'x', parameters: z.object({ text: z.string() }),
        run: async ({ text }) => (text === '10' ? (arrive(), await wait, text) : text),
      })],
    })
    const run = agent.run('go')
    await there
    const list: AgentEvent[] = []
    for await (const event of run) {
      list.push(event)
      go()
    }
    const { record } = await run.result
    expect(list.filter(({ type }) => type !== 'delta')).toEqual(record.events.map(({ event }) => event))
    expect([...new Set(only(list, 'delta').map((delta) => delta.turn))]).toEqual(Array.from({ length: 21 }, (_, index) => 11 + index))
  })
})

describe('options', () => {
  test.each([
    [{ models: {} }, /expected small, large or both/],
    [{ tools: [echo, echo] }, /two tools are called "echo"/],
    [{ collab: { route: 'collab' as const } }, /collab needs both models/],
    [{ limits: { turns: 0 } }, /limits.turns/],
    [{ nonsense: 1 }, /unknown option nonsense/],
  ])('%o is refused', (options, message) => {
    expect(() => small(['x'], options as Partial<AgentOptions>)).toThrow(message)
    expect(() => small(['x'], options as Partial<AgentOptions>)).toThrow(AgentInferError)
  })
})
