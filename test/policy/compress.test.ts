import { describe, expect, test } from 'vitest'

import {
  costGate,
  defaultCompress,
  expectedTurns,
  memoryTokens,
  paperGate,
  priceAll,
  priceSwap,
} from '../../dist/esm/policy/compress.js'
import type { CompressCosts, ContextPiece } from '../../dist/esm/policy/compress.js'
import { CostMeter, memoryPressure, relativeCosts } from '../../dist/esm/policy/compress_costs.js'
import { cutText, interest, passages, rankResults } from '../../dist/esm/policy/observe.js'

let seed = 1
const random = () => (seed = (seed * 1103515245 + 12345) % 2 ** 31) / 2 ** 31

const costs: CompressCosts = {
  prefill: 1e-3,
  prefillAttend: 0,
  attend: 2e-6,
  distil: 0.02,
  distilAttend: 0,
  distilRead: 0,
  load: 1,
  block: 0,
  blockSize: 32,
  turnSeconds: 5,
  turnTokens: 200,
  turnPrompt: 0,
}
/** Everything costs something. */
const allCosts: CompressCosts = { ...costs, prefillAttend: 3e-7, distilAttend: 1e-6, distilRead: 0.4, load: 1.3, block: 1e-4, turnPrompt: 600 }
const piece = (tokens: number, compressible = false): ContextPiece => ({ tokens, compressible })
/** System, question, then turns of a thought and an observation; the last two observations are recent. */
function conversation(turns: number, observation: number): ContextPiece[] {
  const rounds = Array.from({ length: turns }, (_, i) => [piece(150), piece(observation, i < turns - 2)]).flat()
  return [piece(400), piece(50), ...rounds]
}

describe('the price of a swap', () => {
  test('adds up as a slow count does', () => {
    const options = { ...defaultCompress, extraTurns: 0.05 }
    for (let round = 0; round < 300; ++round) {
      const pieces = Array.from({ length: 3 + Math.floor(random() * 20) }, () => piece(Math.floor(random() * 900), random() < 0.5))
      const from = Math.floor(random() * pieces.length)
      const to = from + 1 + Math.floor(random() * (pieces.length - from))
      const plan = priceSwap(pieces, from, to, 7, allCosts, options)
      const after = [
        ...pieces.slice(0, from),
        ...pieces.slice(from, to).filter((p) => !p.compressible),
        piece(plan.memory),
        ...pieces.slice(to),
      ]
      const sum = (list: readonly ContextPiece[]) => list.reduce((total, p) => total + p.tokens, 0)
      expect(plan.kept).toBe(sum(pieces.slice(0, from)))
      expect(plan.recomputed).toBe(sum(after) - plan.kept)
      expect(plan.saved).toBe(sum(pieces) - sum(after))
      const before = sum(pieces)
      const distil = 0.4 + plan.memory * (0.02 + 1e-6 * before)
      const computed = (first: number, count: number) =>
        Array.from({ length: count }, (_, i) => 1e-3 + 3e-7 * (first + i + 0.5)).reduce((total, seconds) => total + seconds, 0)
      const recompute = computed(plan.kept, plan.recomputed)
      const meanwhile = Math.max(1, Math.min(7, Math.ceil((1.3 * (distil + recompute)) / 5)))
      expect(plan.meanwhile).toBe(meanwhile)
      const twice = computed(sum(after), meanwhile * 800)
      const share = before === 0 ? 0 : plan.replaced / before
      expect(plan.cost).toBeCloseTo(1.3 * (distil + recompute + twice) + 0.05 * share * 7 * 5, 6)
      const tokenTurn = 200 * 2e-6 + 600 * 3e-7 + (1e-4 / 32) * 5
      expect(plan.gain).toBeCloseTo(tokenTurn * plan.saved * (7 - meanwhile), 9)
      // Each turn that passed since a piece was behind the recent ones has cost its tokens, less the memory's.
      let tokenTurns = 0
      pieces.forEach((p, i) => {
        if (!p.compressible || i < from || i >= to) return
        tokenTurns += p.tokens * pieces.slice(i, to).filter(({ compressible }) => compressible).length
      })
      if (plan.replaced > 0) expect(plan.waited).toBeCloseTo((tokenTurn * tokenTurns * plan.saved) / plan.replaced, 9)
    }
  })

  test('what a memory says of each result beside facts is not saved, and not written', () => {
    const pieces = conversation(12, 1500)
    const named = pieces.map((p) => (p.compressible ? { ...p, stays: 30 } : p))
    const count = pieces.filter(({ compressible }) => compressible).length
    const [plain, plan] = [priceAll(pieces, 10, costs)!, priceAll(named, 10, costs)!]
    expect([plan.memory, plan.saved]).toEqual([plain.memory + 30 * count, plain.saved - 30 * count])
    expect(plan.gain / plan.saved).toBeCloseTo(plain.gain / plain.saved, 9)
    const distil = (of: typeof plan) => of.cost - (of.recomputed - plain.recomputed) * costs.prefill
    expect(distil(plan)).toBeCloseTo(distil(plain), 6)
    const allStays = pieces.map((p) => (p.compressible ? { ...p, stays: p.tokens } : p))
    expect(costGate(allStays, 40, costs).reason).toBe('too little to replace')
  })

  test('the gate takes the best beginning there is', () => {
    for (let round = 0; round < 200; ++round) {
      const pieces = conversation(4 + Math.floor(random() * 20), 200 + Math.floor(random() * 2000))
      const options = { ...defaultCompress, extraTurns: random() * 0.05, margin: 1 }
      const verdict = costGate(pieces, 20, costs, options)
      const to = pieces.findLastIndex((p) => p.compressible) + 1
      const plans = pieces.flatMap((p, from) => (p.compressible ? [priceSwap(pieces, from, to, 20, costs, options)] : []))
      const best = Math.max(...plans.filter((plan) => plan.saved >= options.minSaved).map((plan) => plan.gain - plan.cost))
      if (verdict.plan === undefined) expect(best).toBe(-Infinity)
      else expect(verdict.plan.gain - verdict.plan.cost).toBeCloseTo(best, 9)
      expect(verdict.swap).toBe(verdict.plan !== undefined && best > 0 && verdict.plan.waited >= verdict.plan.cost)
      if (verdict.plan !== undefined && !verdict.swap) expect(verdict.reason).toBe(best > 0 ? 'pays later' : 'costs more than it saves')
    }
  })

  test('no swap near the end, without costs of length, or with nothing old enough', () => {
    const pieces = conversation(12, 1500)
    expect(costGate(pieces, 40, costs).swap).toBe(true)
    expect(costGate(pieces, 1, costs).swap).toBe(false)
    expect(costGate(pieces, 40, { ...costs, attend: 0 })).toMatchObject({ swap: false, reason: 'costs more than it saves' })
    expect(costGate(conversation(4, 1500), 40, costs)).toMatchObject({ swap: false, reason: 'pays later' })
    expect(costGate(conversation(2, 1500), 40, costs).reason).toBe('nothing to replace')
    expect(costGate(conversation(4, 100), 40, costs).reason).toBe('too little to replace')
  })

  test('attention of the prompts that are appended counts, and a cheap model to distil', () => {
    const pieces = conversation(20, 1500)
    const short = { ...costs, attend: 0, prefillAttend: 4e-7 }
    expect(costGate(pieces, 30, { ...short, turnPrompt: 0 }).reason).toBe('costs more than it saves')
    expect(costGate(pieces, 30, { ...short, turnPrompt: 1500 }).swap).toBe(true)
    expect(costGate(pieces, 30, { ...short, turnPrompt: 1500, distil: 0.2 }).swap).toBe(false)
  })

  /** A run whose rule is asked after each turn: what all of it costs in the gate's own terms. */
  function wholeRun(due: (waited: number, cost: number) => boolean): number {
    let seconds = 0
    let total = [piece(400), piece(50)]
    for (let turn = 1; turn <= 60; ++turn) {
      total.push(piece(100), piece(1200))
      const recent = total.length - 4
      const seen = total.map((p, i) => (p.tokens === 1200 && i < recent ? piece(1200, true) : p))
      const context = seen.reduce((sum, { tokens }) => sum + tokens, 0)
      seconds += 200 * context * 2e-6
      const { plan, reason } = costGate(seen, 60 - turn, costs, { ...defaultCompress, extraTurns: 0 })
      if (plan === undefined || reason === 'costs more than it saves' || !due(plan.waited, plan.cost)) continue
      seconds += plan.cost
      const kept = seen.filter(({ compressible }, i) => !(compressible && i >= plan.from && i < plan.to))
      total = [...kept.slice(0, -4), piece(plan.memory), ...kept.slice(-4)]
    }
    return seconds
  }

  test('waiting until what gathered has cost as much as a swap is cheaper than to swap whenever it pays, or eight times as late', () => {
    const ours = wholeRun((waited, cost) => waited >= cost)
    for (const other of [0, 0.1, 8]) expect(ours, `${other}`).toBeLessThan(wholeRun((waited, cost) => waited >= other * cost))
    expect(ours).toBeLessThan(wholeRun(() => false))
  })

  test('pressure on memory alone makes a swap pay', () => {
    const pieces = conversation(14, 2000)
    const calm = costGate(pieces, 20, { ...costs, attend: 0 })
    const pressed = costGate(pieces, 20, { ...costs, attend: 0, block: 1e-3 })
    expect([calm.swap, pressed.swap]).toEqual([false, true])
  })

  test('where recomputing is dear, the swap begins later and keeps more', () => {
    const pieces = [piece(400), piece(200, true), ...Array.from({ length: 10 }, () => piece(1000)), piece(4000, true), piece(100)]
    const cheap = costGate(pieces, 100, { ...costs, prefill: 1e-6, attend: 2e-5 })
    const dear = costGate(pieces, 100, { ...costs, prefill: 2e-2, attend: 2e-5 })
    expect(cheap.plan!.from).toBe(1)
    expect(dear.plan!.from).toBe(12)
    expect(dear.plan!.kept).toBeGreaterThan(cheap.plan!.kept)
  })

  test("the paper's rule looks at 5000 tokens and nothing else", () => {
    const dear = { ...costs, prefill: 10 }
    expect(paperGate(conversation(12, 1500), true, 1, dear)).toMatchObject({ swap: true, reason: 'rule' })
    expect(paperGate(conversation(12, 1500), false, 30, costs).swap).toBe(false)
    expect(paperGate(conversation(4, 700), true, 30, costs).swap).toBe(false)
  })

  test('turns to come', () => {
    expect(expectedTurns(0, 20, 40)).toBe(20)
    expect(expectedTurns(19, 20, 40)).toBe(9.5)
    expect(expectedTurns(30, 20, 40)).toBe(10)
    expect(expectedTurns(40, 20, 40)).toBe(0)
    expect(memoryTokens(1e6)).toBe(defaultCompress.memoryMax)
  })
})

describe('the meter', () => {
  test('finds the slope of decode time by context length', () => {
    const meter = new CostMeter()
    for (let i = 0; i < 60; ++i) {
      const context = 500 + 400 * i
      meter.add({
        computedTokens: 100,
        prefillSeconds: 0.25,
        contextTokens: context,
        decodedTokens: 50,
        decodeSeconds: 50 * (0.01 + 3e-7 * context),
      })
    }
    expect(meter.attend).toBeCloseTo(3e-7, 9)
    expect(meter.decode).toBeCloseTo(0.01, 9)
    expect(meter.prefill).toBeCloseTo(2.5e-3, 9)
    expect(meter.prefillAttend).toBe(0)
  })

  test('finds what each token before a prompt adds to it, by the middle of what was computed', () => {
    const meter = new CostMeter()
    for (let i = 0; i < 30; ++i) {
      const [context, computed] = [800 + 500 * i, i % 3 === 0 ? 500 : 200]
      const seconds = Array.from({ length: computed }, (_, k) => 2e-4 + 6e-8 * (context - computed + k + 0.5)).reduce((sum, s) => sum + s, 0)
      meter.add({ contextTokens: context, computedTokens: computed, prefillSeconds: seconds, decodedTokens: 0, decodeSeconds: 0 })
    }
    expect(meter.prefill).toBeCloseTo(2e-4, 9)
    expect(meter.prefillAttend).toBeCloseTo(6e-8, 12)
    expect(meter.measured).toBe(false)
  })

  test('counts what turns append, and which share of what a session had was gone while memory was short', () => {
    const meter = new CostMeter()
    const turn = { prefillSeconds: 1, decodedTokens: 0, decodeSeconds: 0 }
    for (let i = 0; i < 100; ++i) meter.add({ ...turn, contextTokens: 1300, computedTokens: 300, knownTokens: 1000 })
    // Nothing was lost, but there was room.
    expect(meter.appended).toBeCloseTo(300, 6)
    expect(meter.loss).toBeCloseTo(0.1, 6)
    for (let i = 0; i < 100; ++i) meter.add({ ...turn, contextTokens: 1400, computedTokens: 650, knownTokens: 1000, pressure: 1 })
    expect(meter.appended).toBeCloseTo(400, 0)
    expect(meter.loss).toBeCloseTo((10 * 0.25 + 2 * 0.1) / 12, 3)
    meter.add({ ...turn, contextTokens: 5000, computedTokens: 5000, pressure: 1 })
    expect(meter.loss).toBeCloseTo((10 * 0.25 + 2 * 0.1) / 12, 3)
    for (let i = 0; i < 100; ++i) meter.add({ ...turn, contextTokens: 1300, computedTokens: 300, knownTokens: 1000, pressure: 1 })
    expect(meter.loss).toBeLessThan(0.02)
  })

  test('times that only scatter have next to no slope, whatever a fit through them says', () => {
    let [fitted, taken] = [0, 0]
    for (let round = 0; round < 200; ++round) {
      const meter = new CostMeter()
      for (let i = 0; i < 20; ++i)
        meter.add({ computedTokens: 0, prefillSeconds: 0, contextTokens: 500 + 400 * i, decodedTokens: 20 + Math.floor(random() * 40), decodeSeconds: 1 + random() })
      if (meter.attend > 0) taken += 1
      fitted += meter.attend
    }
    expect(taken).toBeLessThan(20)
    expect(fitted / 200).toBeLessThan(1e-7)
  })

  test('one context length, or none, has no slope', () => {
    const meter = new CostMeter()
    expect([meter.attend, meter.prefill, meter.prefillAttend, meter.decode, meter.appended]).toEqual([0, 0, 0, 0, 0])
    for (let i = 0; i < 5; ++i) {
      meter.add({ computedTokens: 0, prefillSeconds: 0, contextTokens: 900, decodedTokens: 10, decodeSeconds: 0.1 + i * 0.01 })
    }
    expect(meter.attend).toBe(0)
    expect(meter.decode).toBeGreaterThan(0)
  })
})

describe('observations', () => {
  test('results that answer the question come first; adverts and duplicates go', () => {
    const results = [
      { title: 'Cheap flights', snippet: 'Book now, best offers' },
      { title: 'Velmora Institute', snippet: 'founded by Tara Quill in 1911 in Ostrava' },
      { title: 'Velmora Institute', snippet: 'founded by Tara Quill in 1911 in Ostrava' },
      { title: 'Tara Quill', snippet: 'engineer, founder of the Velmora Institute' },
      { title: 'Win a phone', snippet: 'click here' },
    ]
    const ranked = rankResults(results, interest('Who founded the Velmora Institute?'), { min: 1, max: 10, relative: 0.2 })
    expect(ranked.kept).toEqual(expect.arrayContaining([1, 3]))
    expect(ranked.kept).toHaveLength(2)
    expect(ranked.dropped).toEqual([0, 2, 4])
    expect(rankResults(results, interest('Velmora'), { min: 3, max: 3, relative: 1 }).kept).toHaveLength(3)
    expect(rankResults([], interest('x')).kept).toEqual([])
  })

  test('Chinese is ranked by pairs of characters', () => {
    const ranked = rankResults(
      [{ snippet: '今天的天气很好' }, { snippet: '小米公司由雷军创立于北京' }],
      interest('小米公司的创始人是谁'),
      { min: 1, max: 1, relative: 0 },
    )
    expect(ranked.kept).toEqual([1])
  })

  test('passages join to the text', () => {
    for (let round = 0; round < 200; ++round) {
      const text = Array.from({ length: Math.floor(random() * 40) }, () =>
        ['Word ', 'end. ', '\n\n', '句子。', 'x'.repeat(Math.floor(random() * 90)), '? '][Math.floor(random() * 6)],
      ).join('')
      const pieces = passages(text, 50)
      expect(pieces.join('')).toBe(text)
      expect(Math.max(0, ...pieces.map((p) => p.length))).toBeLessThanOrEqual(50)
    }
  })

  test('a cut text keeps its head and the passage that answers, within its size', () => {
    const filler = Array.from({ length: 200 }, (_, i) => `Sentence number ${i} says nothing of use. `)
    filler[150] = 'The lighthouse of Kessel was built by Ida Brandt in 1874. '
    const text = filler.join('')
    for (const size of [200, 500, 2000]) {
      const cut = cutText(text, interest('Who built the lighthouse of Kessel?'), size)
      expect(cut.text).toContain('Ida Brandt')
      expect(cut.text.startsWith('Sentence number 0')).toBe(true)
      expect(cut.text.length).toBeLessThanOrEqual(size + 10)
      expect(cut.omitted).toBeGreaterThan(0)
    }
    const silent = cutText(text, interest('Who built the lighthouse of Kessel?'), 200, '')
    expect(silent.text).not.toContain('…')
    for (const sentence of silent.text.split(/(?<=\.) /)) expect(filler.map((one) => one.trim())).toContain(sentence)
    expect(cutText('short', interest('x'), 100)).toEqual({ text: 'short', omitted: 0 })
  })
})

describe('the pressure on KV memory', () => {
  const pool = (filled: number, lambda?: number) => memoryPressure({ blocks: 100, blockSize: 32, sessionTokens: filled * 3200, lambda })

  test('is next to nothing below half, one half at 80 %, and never falls as sessions grow', () => {
    expect(pool(0.5)).toBeLessThan(0.02)
    expect(pool(0.8)).toBeCloseTo(0.5)
    expect(pool(1.2)).toBeGreaterThan(0.99)
    for (let filled = 0; filled < 2; filled += 0.05) expect(pool(filled + 0.05)).toBeGreaterThanOrEqual(pool(filled))
  })

  test("is at least what the scheduler's price says, and at most 1", () => {
    expect(pool(0.1, 0.7)).toBe(0.7)
    expect(pool(0.8, 0.2)).toBeCloseTo(0.5)
    expect(pool(0.1, 3)).toBe(1)
  })
})

describe('what is not measured', () => {
  test('a model costs by its matrices and its heads', () => {
    const small = { layers: 2, hiddenSize: 64, heads: 4, kvHeads: 2, headDim: 16, intermediateSize: 128 }
    const large = { layers: 8, hiddenSize: 256, heads: 8, kvHeads: 4, headDim: 32, intermediateSize: 1024 }
    const { weights, attention } = relativeCosts(small, large)
    expect(weights).toBeCloseTo((2 * (64 * 64 * 2 + 64 * 32 * 2 + 3 * 64 * 128)) / (8 * (256 * 256 * 2 + 256 * 128 * 2 + 3 * 256 * 1024)))
    expect(attention).toBeCloseTo((2 * 4 * 16) / (8 * 8 * 32))
    expect(relativeCosts(small, small)).toEqual({ weights: 1, attention: 1 })
    expect(relativeCosts(undefined, large)).toEqual({ weights: 1, attention: 1 })
  })
})

describe('the swap of everything', () => {
  test("is the paper's plan, and there is none without anything to replace", () => {
    for (let turns = 3; turns < 20; ++turns) {
      const pieces = conversation(turns, 700)
      const all = priceAll(pieces, 10, costs)
      expect(all).toEqual(paperGate(pieces, true, 10, costs).plan)
      expect(all!.replaced).toBe((turns - 2) * 700)
    }
    expect(priceAll([piece(100), piece(200)], 10, costs)).toBeUndefined()
  })
})
