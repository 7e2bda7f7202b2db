// A short soak of what `npm run bench -- soak` does for minutes: random work from random seeds on each scheduler.
import { expect, test } from 'vitest'

import { Engine, schedulerNames } from 'agentinfer'

import { Random } from '../../bench/random.js'
import { randomWork } from '../../bench/workload.js'
import { checkpoint } from '../fixtures/paths.js'

const maxContext = 128

test.each(schedulerNames)('%s: random work leaks nothing and every answer is the one it always is', async (scheduler) => {
  const engine = await Engine.open({
    model: checkpoint('pangu'), scheduler, maxContext, kvDtype: 'f32', kvTokens: 3 * maxContext, hostKvBytes: 2 ** 19, blockSize: 16,
    maxSequences: 6, maxBatchTokens: 48, maxQueue: 5,
  })
  let things = 0
  const result = await randomWork({
    engine, maxContext, workers: 12, random: new Random(7), vocabulary: 4000, goesOn: () => ++things <= 260,
  })
  await engine.generate({ tokens: [5], maxTokens: 1 }).response // the figures are those of the last step
  const stats = engine.stats()
  expect(stats).toMatchObject({ running: 0, waiting: 0, sessions: 0 })
  expect(stats.pool.used).toBe(0)
  expect(stats.pool.free + stats.pool.cached).toBe(stats.pool.total)
  expect(result.differences).toBe(0)
  expect(stats.pool.evicted).toBeGreaterThan(10)
  await engine.close()
})
