// The step loop where something goes wrong, or is over before it was said: nobody waits for ever, and nothing is left behind.
import { expect, test } from 'vitest'

import { firstCome } from 'agentinfer'
import type { Scheduler } from 'agentinfer'

import { onAbort } from '../../dist/esm/engine/abort.js'
import { StepLoop } from '../../dist/esm/engine/loop.js'
import { Sessions } from '../../dist/esm/engine/sessions.js'
import { contract, Finish } from '../../dist/esm/native.js'
import { FakeNative, makeRequest } from './fake_native.js'

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

function loopOn(native: FakeNative, scheduler: Scheduler = firstCome()): StepLoop {
  const limits = { maxBatchTokens: 16, maxSequences: 4, blockSize: 16 }
  return new StepLoop(native, new Sessions(), { limits, blocks: 100, hostBlocks: 0, maxQueue: 10, scheduler })
}

test('a request that native code refuses at once was never there', () => {
  class Refusing extends FakeNative {
    override add(): void {
      throw new TypeError('not such a one')
    }
  }
  const loop = loopOn(new Refusing())
  expect(() => loop.add(makeRequest(1).request)).toThrow('not such a one')
  expect(loop.health().queued).toBe(0)
})

test('what was to be retained for a session that is closed before the step is not said', async () => {
  const native = new FakeNative()
  const loop = loopOn(native)
  for (const session of [4, 5, 6]) loop.retain(session, 2, 1000 + session)
  loop.forget(5)
  loop.add(makeRequest(1).request)
  await turn()
  expect(Array.from(native.plans[0]!.retain!)).toEqual([4, 2, 1004, 6, 2, 1006])
  expect(contract.planRetain).toEqual(['session', 'retentionClass', 'expiresAt'])
})

test('the figures of the scheduler have the hit rate', async () => {
  const native = new FakeNative()
  const loop = loopOn(native)
  expect(loop.stats().sched.hitRate).toBe(0)
  loop.add(makeRequest(1, { promptTokens: 4 }).request)
  await turn()
  loop.result(native.result()) // of the step that looks hits up
  loop.result(native.result({ cached: 3 }))
  const { sched, hitRate, tokens } = loop.stats()
  expect([sched.hitRate, hitRate, tokens.cached, tokens.prompt]).toEqual([0.75, 0.75, 3, 4])
})

test('a fault while a result is handled fails what runs, and what had ended gets its response', async () => {
  const native = new FakeNative()
  let broken = false
  const inner = firstCome()
  const scheduler: Scheduler = {
    name: 'breaks',
    get wants() {
      if (broken) throw new Error('no wishes')
      return {}
    },
    plan: (snapshot) => inner.plan(snapshot),
  }
  const loop = loopOn(native, scheduler)
  const [ends, runs] = [makeRequest(1), makeRequest(2)]
  for (const { request } of [ends, runs]) loop.add(request)
  await turn()
  broken = true
  loop.result(native.result({ ends: { 1: Finish.length } }))
  expect((await ends.stream.response).finishReason).toBe('length')
  await expect(runs.stream.response).rejects.toMatchObject({ code: 'ERR_INTERNAL', message: 'a result could not be handled: no wishes' })
  expect(loop.health()).toMatchObject({ healthy: false, queued: 0 })
})

test('one signal for many: each is told once, whatever the others throw, and whoever has stopped listening is not', () => {
  let abort: () => void = () => undefined
  const signal = { addEventListener: (_: string, listener: () => void) => (abort = listener) } as unknown as AbortSignal
  const told: string[] = []
  onAbort(signal, () => told.push('first'))
  onAbort(signal, () => {
    throw new Error('second')
  })
  onAbort(signal, () => told.push('third'))
  onAbort(signal, () => told.push('never'))()
  expect(() => abort()).toThrow('second')
  abort()
  expect(told).toEqual(['first', 'third'])
})
