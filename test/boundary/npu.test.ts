import { readFileSync } from 'node:fs'
import path from 'node:path'

import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import { Engine } from 'agentinfer'
import type { EngineOptions } from 'agentinfer'

import { checkpoint } from '../fixtures/paths.js'
import { emulatorBuilt, environment } from './emulator.js'

// The emulator rounds as the device does, to bf16 after every operator; the CPU computes in f32. Where the two highest log
// probabilities are closer than this, the two may choose differently, and what follows is not comparable.
const margin = 0.08
const model = checkpoint('pangu-npu')
const common: EngineOptions = { model, maxContext: 512, kvTokens: 4096 }

interface Run {
  tokens: number[]
  /** Of each token, between its log probability and the next highest. */
  margins: number[]
}

async function generated(engine: Engine, tokens: number[], maxTokens: number, logprobs: boolean): Promise<Run> {
  const sampling = { temperature: 0, ...(logprobs ? { logprobs: 2 } : {}) }
  const found: Run = { tokens: [], margins: [] }
  for await (const delta of engine.generate({ tokens, maxTokens, ignoreEos: true, sampling })) {
    found.tokens.push(...delta.tokens)
    found.margins.push(...(delta.logprobs ?? []).map(({ top }) => top[0]!.logprob - top[1]!.logprob))
  }
  return found
}

function greedy(engine: Engine, prompts: number[][], maxTokens: number, logprobs = true): Promise<Run[]> {
  return Promise.all(prompts.map((tokens) => generated(engine, tokens, maxTokens, logprobs)))
}

/** Tokens in front of the first that bf16 may decide otherwise. */
function comparable(run: Run): number[] {
  const end = run.margins.findIndex((value) => value < margin)
  return end < 0 ? run.tokens : run.tokens.slice(0, end)
}

describe.skipIf(!emulatorBuilt)('an NPU (emulated)', () => {
  const { prompts } = JSON.parse(readFileSync(path.join(model, 'golden.json'), 'utf8')) as { prompts: number[][] }
  const many = [...prompts, ...Array.from({ length: 20 }, (_, i) => Array.from({ length: 5 + i }, (__, j) => 3 + ((i * 977 + j * 131) % 4200)))]
  let npu: Engine
  let cpu: Engine
  beforeAll(async () => {
    Object.assign(process.env, environment())
    npu = await Engine.open({ ...common, device: 'npu:0', deviceTimeout: 60 })
    cpu = await Engine.open({ ...common, device: 'cpu', kvDtype: 'f32' })
  })
  afterAll(async () => {
    await npu.close()
    await cpu.close()
  })

  test('says where it runs', () => {
    expect(npu.info).toMatchObject({ device: 'npu:0', isa: 'Ascend910B3', deviceNote: '', blockSize: 128 })
    expect(cpu.info).toMatchObject({ device: 'cpu', deviceNote: '' })
  })

  test('greedy tokens are the CPU\'s wherever bf16 decides them, all prompts at once', async () => {
    const expected = (await greedy(cpu, many, 24)).map(comparable)
    const got = await greedy(npu, many, 24, false)
    expect(expected.flat().length).toBeGreaterThan(100)
    expect(expected.map((tokens, i) => got[i]!.tokens.slice(0, tokens.length))).toEqual(expected)
  })

  test('tokens chosen on the device are those chosen from its logits', async () => {
    const chosen = await greedy(npu, prompts, 16, false)
    const sampled = await greedy(npu, prompts, 16, true)
    expect(sampled.map((run) => run.tokens)).toEqual(chosen.map((run) => run.tokens))
  })

  test.each(['npu:0,1', 'npu:2,3,4,5'])('tensor parallel on %s: the same rule for tokens', async (device) => {
    const engine = await Engine.open({ ...common, device })
    try {
      expect(engine.info.device).toBe(device)
      const expected = (await greedy(cpu, prompts, 24)).map(comparable)
      const got = await greedy(engine, prompts, 24, false)
      expect(expected.map((tokens, i) => got[i]!.tokens.slice(0, tokens.length))).toEqual(expected)
    } finally {
      await engine.close()
    }
  })

  test('int8 weights generate too', async () => {
    const engine = await Engine.open({ ...common, device: 'npu:6', weights: 'int8' })
    try {
      const response = await engine.generate({ tokens: prompts[1]!, maxTokens: 8, ignoreEos: true, sampling: { temperature: 0 } }).response
      expect(response.tokens).toHaveLength(8)
    } finally {
      await engine.close()
    }
  })

  test('seeded sampling is the same alone and in company, and with top-k on the device', async () => {
    const options = { tokens: prompts[1]!, maxTokens: 12, ignoreEos: true, sampling: { temperature: 1, topK: 20, topP: 0.9, seed: 7 } }
    const alone = (await npu.generate(options).response).tokens
    const again = (await npu.generate(options).response).tokens
    expect(again).toEqual(alone)
    // An allowed list of everything changes no probability, but has the whole row fetched.
    const allowedIds = Array.from({ length: npu.info.config.vocabSize }, (_, id) => id)
    const whole = (await npu.generate({ ...options, sampling: { ...options.sampling, allowedIds } }).response).tokens
    expect(whole).toEqual(alone)
  })

  test('speculation and caching on the device: the tokens of an engine without drafts', async () => {
    const open = (options: Partial<EngineOptions>): Promise<Engine> => Engine.open({ ...common, device: 'npu:7', selfCheck: 'off', ...options })
    const plain = await open({ speculation: 'off' })
    const speculating = await open({})
    let accepted = 0
    for (const [i, temperature] of [0, 1].entries()) {
      const half = many[i + 8]!
      const request = { tokens: [...half, ...half], maxTokens: 24, ignoreEos: true, sampling: { temperature, seed: 5 } }
      const expected = (await plain.generate(request).response).tokens
      for (let round = 0; round < 3; ++round) {
        const got = await speculating.generate({ ...request, speculation: { role: 'planner' } }).response
        expect(got.tokens).toEqual(expected)
        expect(got.usage.cachedTokens > 0).toBe(round > 0)
        accepted += got.speculation.accepted
      }
    }
    expect(accepted).toBeGreaterThan(0)
    await plain.close()
    await speculating.close()
  })

  test('weights in FRACTAL_NZ give the same tokens', async () => {
    const engine = await Engine.open({ ...common, device: 'npu:6', nz: true })
    expect(engine.info.deviceNote).toBe('')
    expect((await greedy(engine, prompts, 12, false)).map(({ tokens }) => tokens)).toEqual((await greedy(npu, prompts, 12, false)).map(({ tokens }) => tokens))
    await engine.close()
  })

  test('auto takes the NPU', async () => {
    const engine = await Engine.open({ ...common, device: 'auto' })
    expect(engine.info.device).toBe('npu:0')
    await engine.close()
  })

  test.each([
    ['npu:8', 'ERR_DEVICE'],
    ['npu:0,0', 'ERR_INVALID_ARGUMENT'],
    ['gpu', 'ERR_INVALID_ARGUMENT'],
  ])('%s is refused', async (device, code) => {
    await expect(Engine.open({ ...common, device })).rejects.toMatchObject({ code })
  })

  test.each([{ blockSize: 32 }, { kvDtype: 'f32' as const }])('what an NPU cannot do is refused: %j', async (option) => {
    await expect(Engine.open({ ...common, device: 'npu:0', ...option })).rejects.toMatchObject({ code: 'ERR_INVALID_ARGUMENT' })
  })
})
