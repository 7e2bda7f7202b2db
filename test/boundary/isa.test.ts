import { expect, test } from 'vitest'

import { Engine } from 'agentinfer'

import { native } from '../../dist/esm/native.js'
import { checkpoint, golden } from '../fixtures/paths.js'

// Whatever this machine can run: at least the portable kernels.
const { isas } = native().cpu()

test.each(isas)('%s, forced, gives the reference tokens, and the same ones on any number of threads', async (isa) => {
  const { prompts, greedy } = golden('pangu')
  for (const threads of [1, 2, 5]) {
    await using engine = await Engine.open({ model: checkpoint('pangu'), isa, threads, kvDtype: 'f32', kvTokens: 2048, maxContext: 512 })
    expect(engine.info).toMatchObject({ isa, threads })
    const options = { maxTokens: 32, ignoreEos: true, sampling: { temperature: 0 } }
    const responses = await Promise.all(prompts.map((tokens) => engine.generate({ tokens, ...options }).response))
    expect(responses.map(({ tokens }) => tokens)).toEqual(greedy.map((tokens) => tokens.slice(0, 32)))
  }
})

test('an instruction set that is not there is refused with those that are', async () => {
  await expect(Engine.open({ model: checkpoint('pangu'), isa: 'sse9' })).rejects.toMatchObject({ code: 'ERR_INVALID_ARGUMENT' })
})
