// Aborts and closes at every point of a request's life: before it is known, while it waits, in each step, between steps.
import { expect, test } from 'vitest'

import { AgentInferError, Engine } from 'agentinfer'
import type { EngineOptions } from 'agentinfer'

import { checkpoint } from '../fixtures/paths.js'

const open = (options: Partial<EngineOptions> = {}) =>
  Engine.open({ model: checkpoint('pangu'), kvDtype: 'f32', maxContext: 128, kvTokens: 512, blockSize: 16, maxBatchTokens: 16, ...options })
const ask = (seed: number) => ({
  tokens: Array.from({ length: 50 }, (_, i) => 5 + ((i * seed * 31) % 4000)),
  maxTokens: 12,
  ignoreEos: true,
  sampling: { seed, temperature: 0.9 },
})
/** Turns of the event loop. */
async function ticks(count: number): Promise<void> {
  for (let i = 0; i < count; ++i) await new Promise((resolve) => setImmediate(resolve))
}

test('an abort at any time ends one request; the others do not notice, and its blocks come back', async () => {
  const engine = await open()
  const expected = (await engine.generate({ ...ask(2), tenant: 'alone' }).response).tokens
  const ends = new Set<string>()
  for (let after = 0; after < 40; ++after) {
    const controller = new AbortController()
    const victim = engine.generate({ ...ask(1), signal: controller.signal })
    const other = engine.generate(ask(2))
    const session = engine.session()
    void session.append({ tokens: ask(3).tokens })
    const released = session.generate({ maxTokens: 12, ignoreEos: true })
    await ticks(after * after)
    controller.abort(new Error('enough'))
    session.release()
    ends.add(await victim.response.then((response) => response.finishReason, (error: Error) => error.message))
    await Promise.allSettled([released.response])
    expect((await other.response).tokens).toEqual(expected)
    await engine.generate({ tokens: [5], maxTokens: 1 }).response
    expect(engine.stats()).toMatchObject({ running: 0, waiting: 0, sessions: 0 })
    expect(engine.stats().pool.used).toBe(0)
  }
  expect(ends).toContain('enough')
  await engine.close()
})

test('a close at any time, in mid-step too, settles everything that was asked', async () => {
  for (let after = 0; after < 12; ++after) {
    const engine = await open()
    const session = engine.session()
    void session.append({ tokens: ask(3).tokens }).catch(() => undefined)
    const asked = [engine.generate(ask(1)).response, session.generate({ maxTokens: 5 }).response, session.prefill(), engine.generate(ask(2)).response]
    const settled = Promise.allSettled(asked)
    await ticks(after * 3)
    await engine.close()
    for (const result of await settled)
      if (result.status === 'rejected') expect((result.reason as AgentInferError).code).toMatch(/ERR_CLOSED/)
    expect(() => engine.generate(ask(1))).toThrow(AgentInferError)
  }
})

test('several engines in one process keep to their own budgets and sessions', async () => {
  const engines = await Promise.all([open({ kvTokens: 256 }), open({ kvTokens: 1024, scheduler: 'lpm' })])
  const responses = await Promise.all(
    engines.flatMap((engine) => Array.from({ length: 8 }, (_, i) => engine.generate(ask(i + 1)).response)),
  )
  for (let i = 0; i < 8; ++i) expect(responses[i]!.tokens).toEqual(responses[8 + i]!.tokens)
  const [small, large] = engines.map((engine) => engine.stats())
  expect(small!.pool.total).toBeLessThan(large!.pool.total)
  expect([small!.requests.finished, large!.requests.finished]).toEqual([8, 8])
  await engines[0].close()
  expect((await engines[1].generate(ask(9)).response).tokens).toHaveLength(12)
  await engines[1].close()
})
