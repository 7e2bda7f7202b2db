import { expect, test } from 'vitest'

import { planFirstCome, preemptionVictim } from '../../lib/policy/first_come.js'
import type { PlanRequest } from '../../lib/policy/first_come.js'

function request(id: number, computed: number, known: number, more: Partial<PlanRequest> = {}): PlanRequest {
  return { id, computed, known, started: computed > 0, priority: 0, ...more }
}

test('decodes go first, the rest of the budget is one chunk of the first prefill', () => {
  const rows = planFirstCome([request(1, 0, 1000), request(2, 10, 11), request(3, 20, 21)], { maxBatchTokens: 100, maxSequences: 8 })
  expect(rows).toEqual([
    { id: 2, tokens: 1 },
    { id: 3, tokens: 1 },
    { id: 1, tokens: 98 },
  ])
})

test('a prefill that has begun comes before new ones, and priority before arrival', () => {
  const rows = planFirstCome(
    [request(1, 0, 50), request(2, 0, 50, { priority: 1 }), request(3, 10, 60)],
    { maxBatchTokens: 120, maxSequences: 8 },
  )
  expect(rows.map((row) => row.id)).toEqual([3, 2, 1])
  expect(rows.map((row) => row.tokens)).toEqual([50, 50, 20])
})

test('never more rows than the budget, never more sequences than allowed, no id twice: random snapshots', () => {
  let state = 1
  const random = (n: number): number => (state = (state * 48271) % 2147483647) % n
  for (let round = 0; round < 2000; ++round) {
    const requests = Array.from({ length: random(40) }, (_, id) => {
      const known = 1 + random(300)
      const computed = random(known)
      return request(id, computed, known, { priority: random(3) })
    })
    const limits = { maxBatchTokens: 1 + random(200), maxSequences: 1 + random(20) }
    const rows = planFirstCome(requests, limits)
    expect(rows.reduce((sum, row) => sum + row.tokens, 0)).toBeLessThanOrEqual(limits.maxBatchTokens)
    expect(rows.length).toBeLessThanOrEqual(limits.maxSequences)
    expect(new Set(rows.map((row) => row.id)).size).toBe(rows.length)
    for (const row of rows) {
      const { known, computed } = requests[row.id]!
      expect(row.tokens).toBeGreaterThan(0)
      expect(row.tokens).toBeLessThanOrEqual(known - computed)
    }
    if (requests.length > 0) expect(rows.length).toBeGreaterThan(0)
  }
})

test('the last of the least important is preempted, but never the only one', () => {
  const running = [request(1, 5, 6), request(2, 5, 6, { priority: 1 }), request(3, 5, 6)]
  expect(preemptionVictim(running)?.id).toBe(3)
  expect(preemptionVictim(running.slice(0, 1))).toBeUndefined()
})
