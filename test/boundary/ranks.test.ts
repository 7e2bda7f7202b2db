/** Tensor parallelism on the CPU, as a user meets it. */
import { expect, test } from 'vitest'

import { Engine } from 'agentinfer'

import { checkpoint } from '../fixtures/paths.js'

const options = { model: checkpoint('pangu'), device: 'cpu', kvDtype: 'f32', maxContext: 256, threads: 2 } as const
const prompt = Int32Array.from({ length: 40 }, (_, i) => 3 + ((i * 37) % 300))

async function tokens(engine: Engine, sampling: object): Promise<number[]> {
  const response = await engine.generate({ tokens: prompt, maxTokens: 24, ignoreEos: true, sampling }).response
  return [...response.tokens]
}

test('2 and 4 ranks generate the tokens of one, greedy and sampled', async () => {
  await using one = await Engine.open(options)
  for (const tensorParallel of [2, 4]) {
    await using engine = await Engine.open({ ...options, tensorParallel })
    expect(engine.info).toMatchObject({ tensorParallel, threads: Math.max(2, tensorParallel), device: 'cpu' })
    // Their logits differ by rounding alone, and none of these choices is that close.
    expect(await tokens(engine, { temperature: 0 })).toEqual(await tokens(one, { temperature: 0 }))
    expect(await tokens(engine, { seed: 5 })).toEqual(await tokens(one, { seed: 5 }))
  }
})

test('a number of ranks that does not divide the model is refused with the key that does not', async () => {
  await expect(Engine.open({ ...options, tensorParallel: 3 })).rejects.toMatchObject({
    code: 'ERR_INVALID_ARGUMENT',
    message: expect.stringContaining('num_attention_heads to divide by it, got 4') as string,
  })
  await expect(Engine.open({ ...options, tensorParallel: 0 })).rejects.toMatchObject({ code: 'ERR_INVALID_ARGUMENT' })
})

test('loading on several ranks can be aborted', async () => {
  const abort = new AbortController()
  const opening = Engine.open({ ...options, tensorParallel: 2, signal: abort.signal })
  abort.abort(new Error('enough'))
  await expect(opening).rejects.toThrow('enough')
})
