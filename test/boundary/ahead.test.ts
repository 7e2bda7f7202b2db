// Steps that native code repeats without being asked: fewer plans, the same tokens, and nobody waits longer for it.
import diagnostics from 'node:diagnostics_channel'

import { afterEach, expect, test } from 'vitest'

import { Engine, firstCome } from 'agentinfer'
import type { EngineOptions, Plan, Scheduler, Snapshot, StepStartMessage } from 'agentinfer'

import { checkpoint } from '../fixtures/paths.js'

const open: Engine[] = []
async function engine(options: Partial<EngineOptions> = {}): Promise<Engine> {
  const made = await Engine.open({ model: checkpoint('pangu'), kvDtype: 'f32', maxContext: 512, kvTokens: 4096, blockSize: 16, ...options })
  open.push(made)
  return made
}
const undo: (() => void)[] = []
afterEach(async () => {
  for (const one of undo.splice(0)) one()
  await Promise.all(open.splice(0).map((one) => one.close()))
})

const ask = (seed: number, maxTokens = 100) => ({
  tokens: Array.from({ length: 10 + seed }, (_, i) => 5 + ((i * seed * 31) % 4000)),
  maxTokens,
  ignoreEos: true,
  sampling: { seed, temperature: 0.9 },
})

/** First come, first served; counts its plans, and lets each hold for `ahead` steps more if it holds at all. */
class Counting implements Scheduler {
  readonly name = 'counting'
  plans = 0
  readonly #inner = firstCome()
  constructor(readonly ahead: number) {}
  plan(snapshot: Snapshot): Plan {
    this.plans += 1
    const plan = this.#inner.plan(snapshot)
    return { ...plan, ahead: plan.ahead === 0 ? 0 : this.ahead }
  }
}

/** Every step from now on: whether it was repeated, and how many waited then. */
function steps(): Pick<StepStartMessage, 'repeated' | 'waiting' | 'rows'>[] {
  const heard: StepStartMessage[] = []
  const listener = (message: unknown): void => void heard.push(message as StepStartMessage)
  diagnostics.subscribe('agentinfer:step:start', listener)
  undo.push(() => diagnostics.unsubscribe('agentinfer:step:start', listener))
  return heard
}

test('the same tokens with and without, drafts and stops by text included; fewer plans, and every step counts', async () => {
  const results: unknown[] = []
  const plans: number[] = []
  for (const ahead of [0, 8]) {
    const scheduler = new Counting(ahead)
    const one = await engine({ scheduler })
    const whole = (await one.generate(ask(2)).response).text
    const stop = whole.slice(30, 33)
    const responses = await Promise.all([
      ...[1, 2, 3, 4].map((seed) => one.generate(ask(seed)).response),
      one.generate({ ...ask(2), stop }).response,
      one.generate({ ...ask(5), speculation: { drafter: ({ output }) => output.slice(-3) } }).response,
    ])
    results.push(responses.map(({ text, tokens, finishReason, usage: { completionTokens } }) => ({ text, tokens, finishReason, completionTokens })))
    expect(responses[4]!.text).toBe(whole.slice(0, whole.indexOf(stop)))
    expect(one.stats().steps).toBeGreaterThanOrEqual(150)
    plans.push(scheduler.plans)
  }
  expect(results[1]).toEqual(results[0])
  expect(plans[1]).toBeLessThan(0.9 * plans[0]!)
})

test('an event loop that is held up gets no more results than the plan allowed', async () => {
  const one = await engine({ scheduler: new Counting(5) })
  const heard = steps()
  let held = 0
  for await (const { tokens } of one.generate({ ...ask(1, 400), speculation: 'off' })) {
    void tokens
    if (++held % 40 !== 0) continue
    const until = performance.now() + 30
    while (performance.now() < until);
  }
  let run = 0
  let longest = 0
  for (const { repeated } of heard) longest = Math.max(longest, (run = repeated ? run + 1 : 0))
  expect(longest).toBe(5)
})

test('a newcomer does not wait for a plan to run out', async () => {
  const one = await engine({ scheduler: new Counting(200) })
  const running = one.generate({ ...ask(1, 450), speculation: 'off' })
  const heard = steps()
  const repeated: number[] = []
  let seen = 0
  for await (const _delta of running) {
    if (++seen % 100 !== 0 || seen > 300) continue
    const from = heard.length
    await one.generate({ ...ask(2 + repeated.length, 1), speculation: 'off' }).response
    repeated.push(heard.slice(from, heard.findIndex(({ rows }, i) => i >= from && rows === 2)).length)
  }
  expect(repeated).toHaveLength(3)
  // Those of this small model that were over before the event loop saw the newcomer; otherwise there would be 200 of them. The middle of
  // three: a busy machine may hold the event loop up for a hundred steps once.
  expect(repeated.toSorted((a, b) => a - b)[1]).toBeLessThan(100)
})

test('a session’s tokens are those of its answer, when text ended it in the middle of a plan', async () => {
  const one = await engine({ scheduler: new Counting(8) })
  const company = one.generate({ ...ask(9, 400), speculation: 'off' })
  const whole = (await one.generate({ ...ask(3), speculation: 'off' }).response).text
  for (const at of [5, 20, 41]) {
    using session = one.session()
    await session.append({ tokens: ask(3).tokens })
    const { maxTokens, ignoreEos, sampling } = ask(3)
    const response = await session.generate({ maxTokens, ignoreEos, sampling, stop: whole.slice(at, at + 4), speculation: 'off' }).response
    expect(Array.from(await session.tokens())).toEqual([...ask(3).tokens, ...response.tokens])
    expect(response.finishReason).toBe('stop')
    expect(response.usage.completionTokens).toBe(response.tokens.length)
    expect(response.tokens.length).toBeLessThan(maxTokens)
  }
  await company.response
})
