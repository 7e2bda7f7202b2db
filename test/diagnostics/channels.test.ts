// What listeners of the channels hear: the whole life of a request, a step and an agent's run, and nothing that costs when nobody listens.
import diagnostics from 'node:diagnostics_channel'

import { afterEach, beforeAll, afterAll, describe, expect, test } from 'vitest'
import { z } from 'zod'

import { Agent, Engine, defineTool, diagnosticsChannels } from 'agentinfer'
import type { DiagnosticsChannelName, DiagnosticsMessages, Scheduler } from 'agentinfer'

import { ScriptedEngine, call, think, turns } from '../agent/scripted_engine.js'
import { checkpoint, golden } from '../fixtures/paths.js'

type Heard = { [Name in DiagnosticsChannelName]: { readonly name: Name; readonly message: DiagnosticsMessages[Name] } }[DiagnosticsChannelName]

const undo: (() => void)[] = []
afterEach(() => {
  for (const one of undo.splice(0)) one()
})

function listen(): Heard[] {
  const heard: Heard[] = []
  for (const name of diagnosticsChannels) {
    const listener = (message: unknown): void => void heard.push({ name, message } as Heard)
    diagnostics.subscribe(name, listener)
    undo.push(() => diagnostics.unsubscribe(name, listener))
  }
  return heard
}

function only<Name extends DiagnosticsChannelName>(heard: readonly Heard[], name: Name): DiagnosticsMessages[Name][] {
  return heard.filter((one) => one.name === name).map(({ message }) => message as DiagnosticsMessages[Name])
}

const options = { maxTokens: 6, ignoreEos: true, sampling: { temperature: 0 } } as const

describe('an engine', () => {
  let engine: Engine
  beforeAll(async () => {
    engine = await Engine.open({ model: checkpoint('pangu'), kvTokens: 1024, maxContext: 256 })
  })
  afterAll(() => engine.close())

  test('tells start, first token and end of a request, with the figures of its response', async () => {
    const heard = listen()
    const tokens = golden('pangu').prompts[2]!
    const response = await engine.generate({ tokens, tenant: 'library', ...options }).response
    const names = heard.map(({ name }) => name).filter((name) => name.startsWith('agentinfer:request:'))
    expect(names).toEqual(['agentinfer:request:start', 'agentinfer:request:first-token', 'agentinfer:request:end'])
    const [start] = only(heard, 'agentinfer:request:start')
    expect(start).toMatchObject({ tenant: 'library', promptTokens: tokens.length, maxTokens: 6, priority: 0, session: undefined, run: undefined })
    const [first] = only(heard, 'agentinfer:request:first-token')
    expect(first).toMatchObject({ engine: start!.engine, request: start!.request, queued: response.timings.queued, prefill: response.timings.prefill })
    const [end] = only(heard, 'agentinfer:request:end')
    const { usage, timings, speculation, preemptions } = response
    expect(end).toMatchObject({ engine: start!.engine, request: start!.request, finishReason: 'length', usage, timings, speculation, preemptions })
  })

  test('tells of sessions, and of the run they belong to', async () => {
    const heard = listen()
    using session = engine.session({ run: 'run 7', role: 'seeker', priority: 2 })
    await session.append({ tokens: golden('pangu').prompts[1]! })
    await session.generate(options).response
    expect(only(heard, 'agentinfer:request:start')).toMatchObject([{ session: session.id, run: 'run 7', role: 'seeker', priority: 2 }])
  })

  test('steps come in pairs and add up to what was generated', async () => {
    const before = engine.stats()
    const heard = listen()
    const prompts = golden('pangu').prompts.slice(0, 3)
    await Promise.all(prompts.map((tokens) => engine.generate({ tokens, ...options, speculation: 'off' }).response))
    const starts = only(heard, 'agentinfer:step:start')
    // A step that only frees blocks may still be on its way.
    const ends = only(heard, 'agentinfer:step:end').filter(({ step }) => step >= starts[0]!.step)
    expect(ends.map(({ step }) => step)).toEqual(starts.slice(0, ends.length).map(({ step }) => step))
    expect(starts[0]!.step - before.steps).toBeLessThanOrEqual(1)
    expect(ends.reduce((sum, { emitted }) => sum + emitted, 0)).toBe(engine.stats().tokens.generated - before.tokens.generated)
    expect(Math.max(...starts.map(({ rows }) => rows))).toBe(3)
    expect(starts.every(({ scheduler, tokens, rows }) => scheduler === 'agent-sched' && tokens >= rows)).toBe(true)
    expect(ends.every(({ native, pool }) => native > 0 && pool.total === before.pool.total)).toBe(true)
  })

  test('tells of failures: before there is a request, by a signal, by leaving', async () => {
    const heard = listen()
    await engine.generate({ prompt: 'x', maxTokens: 100_000 }).response.catch(() => undefined)
    expect(only(heard, 'agentinfer:request:error')).toMatchObject([{ request: undefined, error: { code: 'ERR_CONTEXT_LENGTH' } }])
    const controller = new AbortController()
    const stream = engine.generate({ prompt: 'x', ignoreEos: true, signal: controller.signal })
    for await (const _delta of stream) break
    expect(only(heard, 'agentinfer:request:end').at(-1)?.finishReason).toBe('abort')
    const other = engine.generate({ prompt: 'x', ignoreEos: true, signal: controller.signal })
    controller.abort(new Error('enough'))
    await other.response.catch(() => undefined)
    expect(only(heard, 'agentinfer:request:error').at(-1)?.error).toMatchObject({ message: 'enough' })
  })
})

test('preemption and a scheduler that throws are told', async () => {
  let plans = 0
  const scheduler: Scheduler = {
    name: 'shaky',
    plan: ({ requests }) => {
      if (++plans === 6) throw new Error('lost the thread')
      const rows = requests.map(({ id, known, computed }) => ({ id, tokens: Math.max(1, known - computed) }))
      return plans === 3 ? { rows: [], preempt: requests.map(({ id }) => id), retain: [], reasons: new Map() } : { rows, preempt: [], retain: [], reasons: new Map() }
    },
  }
  await using engine = await Engine.open({ model: checkpoint('pangu'), kvTokens: 512, maxContext: 128, scheduler })
  const heard = listen()
  await engine.generate({ tokens: [5, 6, 7], ...options, speculation: 'off' }).response.catch(() => undefined)
  expect(only(heard, 'agentinfer:request:preempt')).toMatchObject([{ preemptions: 1 }])
  expect(only(heard, 'agentinfer:step:error')).toMatchObject([{ error: { code: 'ERR_SCHEDULER' } }])
  expect(only(heard, 'agentinfer:request:error')).toMatchObject([{ error: { code: 'ERR_SCHEDULER' } }])
})

describe('an agent', () => {
  const echo = defineTool({ name: 'echo', description: 'says it again', parameters: z.object({ text: z.string() }), run: ({ text }) => text })

  test('tells its run: start, the events of its reader without deltas, end', async () => {
    const engine = new ScriptedEngine(turns([think('look') + call(['echo', { text: 'a' }]), 'It is a.']))
    const agent = new Agent({ name: 'finder', models: { small: engine }, tools: [echo] })
    const heard = listen()
    const run = agent.run('What is it?')
    const read = []
    for await (const event of run) read.push(event)
    const [start] = only(heard, 'agentinfer:agent:start')
    expect(start).toMatchObject({ agent: 'finder', question: 'What is it?', resumed: false, called: false })
    const told = only(heard, 'agentinfer:agent:event')
    expect(told.map(({ event }) => event)).toEqual(read.filter(({ type }) => type !== 'delta'))
    expect(new Set(told.map((message) => message.run))).toEqual(new Set([start!.run]))
    expect(only(heard, 'agentinfer:agent:end')).toMatchObject([{ run: start!.run, end: 'answer', answer: 'It is a.' }])
  })

  test('tells what broke it', async () => {
    const agent = new Agent({ models: { small: new ScriptedEngine(turns(['never'])) }, tools: [echo] })
    const heard = listen()
    const reason = new Error('stop')
    await agent.run('What?', { signal: AbortSignal.abort(reason) }).result.catch(() => undefined)
    expect(only(heard, 'agentinfer:agent:error')).toMatchObject([{ error: reason }])
  })
})
