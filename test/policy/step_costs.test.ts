import { expect, test } from 'vitest'

import { StepCosts } from '../../lib/policy/step_costs.js'
import { seeded, snapshot } from './snapshots.js'

/** Steps that take `fixed` and so much per prompt token; sometimes the engine idles between two of them. */
function learn(fixed: number, perToken: number, options: { noise?: number; tokens?: (at: number) => number; idle?: boolean } = {}): StepCosts {
  const costs = new StepCosts()
  const random = seeded(5)
  let [now, prefilled] = [0, 0]
  for (let step = 0; step < 400; ++step) {
    costs.update(snapshot([], { now, step, prefilled }))
    const idles = options.idle === true && step % 3 === 0
    if (idles) {
      now += 10
      continue
    }
    costs.planned()
    const tokens = options.tokens?.(step) ?? random(4) * 100
    prefilled += tokens
    now += (fixed + perToken * tokens) * (1 + (options.noise ?? 0) * (random(201) / 100 - 1))
  }
  return costs
}

test('what a prompt token adds to a step is told from what every step takes', () => {
  expect(learn(0.02, 1e-5).prefill(1000)).toBeCloseTo(0.01, 6)
  expect(learn(0.001, 1e-3).prefill(1000)).toBeCloseTo(1, 6)
})

test('a plan that was repeated is so many steps', () => {
  const costs = new StepCosts()
  let [step, now, prefilled] = [0, 0, 0]
  for (let at = 0; at < 100; ++at) {
    costs.update(snapshot([], { now, step, prefilled }))
    costs.planned()
    const repeats = at % 2 === 0 ? 1 : 20
    step += repeats
    now += repeats === 1 ? 0.02 + 0.05 : 20 * 0.02
    prefilled += repeats === 1 ? 500 : 0
  }
  expect(costs.prefill(500)).toBeCloseTo(0.05, 6)
})

test('time in which nothing runs is nobody’s cost', () => {
  expect(learn(0.02, 1e-4, { idle: true }).prefill(1000)).toBeCloseTo(0.1, 6)
})

test('noise moves it, not far', () => {
  const prefill = learn(0.005, 1e-4, { noise: 0.5 }).prefill(1000)
  expect(prefill).toBeGreaterThan(0.06)
  expect(prefill).toBeLessThan(0.14)
})

test('steps that are all alike tell nothing; it is never more than all of their time, nor nothing', () => {
  expect(learn(0.02, 1e-5, { tokens: () => 100 }).prefill(1)).toBe(1e-4)
  // Steps with more tokens are faster here.
  const odd = learn(0.02, -1e-5, { tokens: (at) => (at % 2) * 500 }).prefill(1)
  expect(odd).toBeGreaterThan(0)
  expect(learn(0, 1e-4, { noise: 0.9 }).prefill(1)).toBeLessThanOrEqual(1.5e-4)
})
