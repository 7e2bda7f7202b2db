import { describe, expect, test } from 'vitest'

import { defaultCompress } from '../../dist/esm/policy/compress.js'
import type { CompressCosts, ContextPiece } from '../../dist/esm/policy/compress.js'
import { handoverGate } from '../../dist/esm/policy/handover.js'

const costs: CompressCosts = { prefill: 0.001, attend: 0, distil: 1, load: 1, block: 0, blockSize: 16, turnSeconds: 2, turnTokens: 50, turnPrompt: 0, prefillAttend: 0, distilAttend: 0, distilRead: 0 }
const options = { ...defaultCompress, memoryMin: 50 }

function pieces(...tokens: readonly number[]): ContextPiece[] {
  // Negative: may be left out.
  return tokens.map((count) => ({ tokens: Math.abs(count), compressible: count < 0 }))
}

describe('leaving out what a model has not read', () => {
  test('saves the computation of it; costs the turns that knowing less adds', () => {
    const verdict = handoverGate(pieces(100, -1000, 30, -500, 400), 10, costs, options)
    expect(verdict).toEqual({ omit: true, saved: 1450, gain: expect.closeTo(1.45), cost: expect.closeTo(0.05 * 10 * 2) })
  })

  test('needs something old that costs more than the note in its place', () => {
    expect(handoverGate([], 1, costs, options).omit).toBe(false)
    expect(handoverGate(pieces(100, 2000), 1, costs, options).omit).toBe(false)
    expect(handoverGate(pieces(-50), 0, costs, options).omit).toBe(false)
    expect(handoverGate(pieces(-51), 0, costs, options).omit).toBe(true)
  })

  test('is not worth it without a measured price of computing, nor where many turns are to come', () => {
    expect(handoverGate(pieces(-1450), 1, { ...costs, prefill: 0 }, options).omit).toBe(false)
    expect(handoverGate(pieces(-1450), 100, costs, options).omit).toBe(false)
  })

  test('more to leave out, dearer attention and scarcer memory speak for it, more turns and a wider margin against it', () => {
    let state = 1
    const draw = (): number => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32
    const worth = (verdict: ReturnType<typeof handoverGate>): number => verdict.gain - verdict.cost
    for (let round = 0; round < 200; ++round) {
      const unread = pieces(...Array.from({ length: 1 + Math.floor(8 * draw()) }, () => Math.round(2000 * (draw() - 0.6))), -100)
      const remaining = Math.floor(20 * draw())
      const random = { ...costs, prefill: draw() / 100, attend: draw() / 1e6, block: draw() / 100, turnSeconds: 5 * draw() }
      const base = handoverGate(unread, remaining, random, options)
      expect(base.saved).toBeGreaterThan(0)
      expect(worth(handoverGate([...unread, ...pieces(-100)], remaining, random, options))).toBeGreaterThanOrEqual(worth(base))
      expect(handoverGate(unread, remaining, { ...random, attend: 2 * random.attend, block: 2 * random.block }, options).gain).toBeGreaterThanOrEqual(base.gain)
      expect(handoverGate(unread, remaining, random, { ...options, extraTurns: 1 }).cost).toBeGreaterThanOrEqual(base.cost)
      if (!base.omit) expect(handoverGate(unread, remaining, random, { ...options, margin: 2 * options.margin }).omit).toBe(false)
    }
  })
})
