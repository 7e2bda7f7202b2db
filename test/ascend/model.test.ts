/** The model of steps on an NPU: its counts, its limits, and how it moves. */
import { describe, expect, test } from 'vitest'

import { ascend910B3 } from '../../bench/ascend/chip.js'
import { stepLaunches } from '../../bench/ascend/launches.js'
import { captureBucket, dearestLaunch, fits, stepTime, weightBytes } from '../../bench/ascend/model.js'
import type { AscendSetup, SequenceStep } from '../../bench/ascend/model.js'
import { publishedFigures } from '../../bench/ascend/published.js'
import { divides, kvBytesPerToken, parameters, shapes } from '../../bench/ascend/shapes.js'

let seed = 7
function below(bound: number): number {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0
  return (seed >>> 8) % bound
}

function pick<T>(list: readonly T[]): T {
  return list[below(list.length)]!
}

const small = shapes['openpangu-7b']
const all = Object.values(shapes)

function randomSetup(): AscendSetup & { tensorParallel: number; weights: 'bf16' | 'w8a8' } {
  return { shape: pick(all), tensorParallel: pick([1, 2, 4, 8]), weights: pick(['bf16', 'w8a8']), graph: below(2) === 0 }
}

function randomSequences(): SequenceStep[] {
  return Array.from({ length: 1 + below(12) }, () => {
    const query = pick([1, 1, 1, 4, 8, 300])
    return { query, context: query + below(20000) }
  })
}

describe('shapes', () => {
  test('have the published parameters and KV, or those assumed', () => {
    expect(parameters(small) / 8.03e9).toBeCloseTo(1, 2)
    expect(kvBytesPerToken(small, 1)).toBe(139264)
    expect(kvBytesPerToken(small, 8)).toBe(139264 / 8)
    expect(parameters(shapes['qwen3-8b']) / 8.19e9).toBeCloseTo(1, 2)
    expect(parameters(shapes['qwen3-32b']) / 32.8e9).toBeCloseTo(1, 2)
    expect(parameters(shapes['openpangu-38b-assumed']) / 38e9).toBeCloseTo(1, 2)
  })

  test('divide over 1, 2, 4 and 8 cards, not over 3', () => {
    for (const shape of all) {
      for (const ranks of [1, 2, 4, 8]) expect(divides(shape, ranks)).toBe(true)
      expect(divides(shape, 3)).toBe(false)
    }
  })

  test('fit where their weights do: the assumed 38B in bf16 needs two cards', () => {
    expect(fits(small, 1, 'bf16')).toBe(true)
    const large = shapes['openpangu-38b-assumed']
    expect([1, 2, 4, 8].map((ranks) => fits(large, ranks, 'bf16'))).toEqual([false, true, true, true])
    expect(fits(large, 1, 'w8a8')).toBe(true)
  })
})

describe('launches', () => {
  test('of a decode step of 34 layers: 11 a layer in bf16, 13 in w8a8, and a handful around them', () => {
    const bf16 = stepLaunches(small, { tensorParallel: 1, weights: 'bf16', logits: true })
    const w8a8 = stepLaunches(small, { tensorParallel: 1, weights: 'w8a8', logits: true })
    expect(bf16.launches).toBe(11 * 34 + 9)
    expect(w8a8.launches).toBe(13 * 34 + 10)
    expect(bf16).toMatchObject({ plans: 1, allReduces: 0, allGathers: 0 })
  })

  test('of ranks add two collectives a layer, the embedding and the logits', () => {
    const one = stepLaunches(small, { tensorParallel: 1, weights: 'bf16', logits: true })
    const four = stepLaunches(small, { tensorParallel: 4, weights: 'bf16', logits: true })
    expect(four).toMatchObject({ launches: one.launches, allReduces: 69, allGathers: 1 })
    expect(stepLaunches(small, { tensorParallel: 4, weights: 'bf16', logits: false }).allGathers).toBe(0)
  })
})

describe('steps', () => {
  test('never beat the roofline, and their parts are the whole', () => {
    for (let i = 0; i < 500; i++) {
      const setup = randomSetup()
      const time = stepTime(setup, randomSequences())
      expect(time.device).toBeGreaterThanOrEqual(time.roofline * (1 - 1e-12))
      expect(time.products + time.attention + time.activations + time.collectives + time.gaps).toBeCloseTo(time.device, 12)
      expect(time.total).toBeGreaterThanOrEqual(Math.max(time.host, time.device))
    }
  })

  test('take no less time with more context, more rows or another sequence', () => {
    for (let i = 0; i < 500; i++) {
      const setup = { ...randomSetup(), graph: false }
      const sequences = randomSequences()
      const base = stepTime(setup, sequences).device
      const [first, ...rest] = sequences as [SequenceStep, ...SequenceStep[]]
      const longer = { ...first, context: first.context + 1000 }
      const wider = { query: first.query + 5, context: first.context + 5 }
      expect(stepTime(setup, [longer, ...rest]).device).toBeGreaterThan(base)
      expect(stepTime(setup, [wider, ...rest]).device).toBeGreaterThan(base)
      expect(stepTime(setup, [...sequences, { query: 1, context: 50 }]).device).toBeGreaterThan(base)
    }
  })

  test('read half the weights in w8a8, and share them between cards', () => {
    expect(weightBytes(small, 1, 'bf16') / 16.06e9).toBeCloseTo(1, 2)
    const tables = 2 * 2 * small.vocabSize * small.hiddenSize
    expect(weightBytes(small, 1, 'bf16') - tables).toBe(2 * (weightBytes(small, 1, 'w8a8') - tables))
    expect(weightBytes(small, 4, 'bf16')).toBe(weightBytes(small, 1, 'bf16') / 4)
  })

  test('cost a row of verification next to nothing, a prefill its operations', () => {
    const decode = stepTime({ shape: small }, [{ query: 1, context: 4096 }])
    const verify = stepTime({ shape: small }, [{ query: 8, context: 4096 }])
    expect(verify.total / decode.total).toBeLessThan(1.05)
    const prefill = stepTime({ shape: small }, [{ query: 4096, context: 4096 }])
    expect(prefill.captured).toBe(false)
    const operations = 2 * 4096 * (parameters(small) - 2 * small.vocabSize * small.hiddenSize)
    expect(prefill.total).toBeGreaterThan(operations / ascend910B3.peak.bf16)
  })

  test('are captured in buckets of batch and query, and pay for the padding', () => {
    const of = (count: number, query: number): unknown => captureBucket(Array.from({ length: count }, () => ({ query, context: 99 })))
    expect(of(1, 1)).toEqual({ batch: 1, query: 1 })
    expect(of(3, 5)).toEqual({ batch: 4, query: 8 })
    expect(of(5, 16)).toEqual({ batch: 8, query: 16 })
    expect(of(17, 2)).toEqual({ batch: 24, query: 2 })
    expect(of(1, 17)).toBe(undefined)
    expect(stepTime({ shape: small }, Array.from({ length: 3 }, () => ({ query: 5, context: 99 }))).rows).toBe(32)
  })

  test('from graphs leave the host almost idle; eager ones cost it their launches', () => {
    const one = [{ query: 1, context: 4096 }]
    const eager = stepTime({ shape: small, graph: false }, one)
    const graph = stepTime({ shape: small }, one)
    expect(graph.host).toBeLessThan(eager.host / 3)
    const dearest = dearestLaunch({ shape: small }, 4e-3)
    const chip = { ...ascend910B3, host: { ...ascend910B3.host, launch: dearest } }
    expect(stepTime({ shape: small, graph: false, chip }, one).host).toBeCloseTo(4e-3, 9)
  })
})

test('the model is within half of everything published, and where it was fitted within 5 %', () => {
  for (const { name, published, modelled, source } of publishedFigures()) {
    expect(modelled / published, name).toBeGreaterThan(1 / 1.5)
    expect(modelled / published, name).toBeLessThan(1.5)
    if (source.includes('fitted')) expect(Math.abs(modelled / published - 1), name).toBeLessThan(0.05)
  }
})
