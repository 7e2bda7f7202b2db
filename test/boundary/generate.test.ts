import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import { AgentInferError, Engine } from 'agentinfer'

import { checkpoint, golden } from '../fixtures/paths.js'

const greedy = { temperature: 0 }

let engine: Engine
beforeAll(async () => {
  engine = await Engine.open({ model: checkpoint('pangu'), kvDtype: 'f32', kvTokens: 2048, maxContext: 512 })
})
afterAll(async () => {
  await engine.close()
})

async function code(work: Promise<unknown>): Promise<string | undefined> {
  try {
    await work
  } catch (error) {
    return error instanceof AgentInferError ? error.code : String(error)
  }
  return undefined
}

describe('generation', () => {
  test('greedy tokens equal the reference, all prompts at once', async () => {
    const { prompts, greedy: expected } = golden('pangu')
    const responses = await Promise.all(
      prompts.map((tokens) => engine.generate({ tokens, maxTokens: 64, ignoreEos: true, sampling: greedy }).response),
    )
    expect(responses.map((response) => response.tokens)).toEqual(expected)
    expect(responses.map((response) => response.finishReason)).toEqual(prompts.map(() => 'length'))
  })

  test('a second run of a prompt is served from the cache and says so', async () => {
    const tokens = golden('pangu').prompts[3]!
    const first = await engine.generate({ tokens, maxTokens: 8, ignoreEos: true, sampling: greedy }).response
    const second = await engine.generate({ tokens, maxTokens: 8, ignoreEos: true, sampling: greedy }).response
    expect(second.tokens).toEqual(first.tokens)
    expect(second.usage.cachedTokens).toBe(tokens.length - 1)
  })

  test('sampling with a seed gives the same output alone and in company', async () => {
    const tokens = golden('pangu').prompts[1]!
    const options = { tokens, maxTokens: 40, ignoreEos: true, sampling: { temperature: 1, topP: 0.9, seed: 7 } }
    const alone = await engine.generate(options).response
    const company = await Promise.all(Array.from({ length: 8 }, () => engine.generate(options).response))
    for (const response of company) expect(response.tokens).toEqual(alone.tokens)
  })

  test('deltas join to the response', async () => {
    const stream = engine.generate({ prompt: 'The quick brown fox', maxTokens: 50, ignoreEos: true, sampling: { seed: 3 } })
    let text = ''
    const tokens: number[] = []
    for await (const delta of stream) {
      text += delta.text
      tokens.push(...delta.tokens)
    }
    const response = await stream.response
    expect(text).toBe(response.text)
    expect(tokens).toEqual(response.tokens)
    expect(response.usage.completionTokens).toBe(50)
  })

  test('messages go through the chat template', async () => {
    const response = await engine.generate({ messages: [{ role: 'user', content: 'hi' }], maxTokens: 3, ignoreEos: true }).response
    const plain = await engine.tokenize('[unused9]系统：[unused10][unused9]用户：hi[unused10][unused9]助手：', { parseSpecial: true })
    expect(response.usage.promptTokens).toBe(plain.length + 1)
  })

  test('a stop string ends the output and is not part of it', async () => {
    const options = { prompt: 'abc', maxTokens: 60, ignoreEos: true, sampling: { seed: 5 } }
    const whole = (await engine.generate(options).response).text
    const stop = whole.slice(20, 23)
    const cut = await engine.generate({ ...options, stop }).response
    expect(cut.finishReason).toBe('stop')
    expect(cut.text).toBe(whole.slice(0, whole.indexOf(stop)))
  })

  test('log probabilities are those of the tokens, best first', async () => {
    const stream = engine.generate({ tokens: [5, 6, 7], maxTokens: 4, ignoreEos: true, sampling: { temperature: 0, logprobs: 3 } })
    for await (const delta of stream) {
      for (const [i, entry] of (delta.logprobs ?? []).entries()) {
        expect(entry.token).toBe(delta.tokens[i])
        expect(entry.top).toHaveLength(3)
        expect(entry.top[0]!.token).toBe(entry.token)
        expect(entry.top[0]!.logprob).toBeCloseTo(entry.logprob, 6)
        expect(entry.logprob).toBeLessThanOrEqual(0)
      }
    }
  })
})

describe('bad input gets a clear error, and later requests still work', () => {
  const cases: [string, () => Promise<unknown>, string][] = [
    ['token outside the vocabulary', () => engine.generate({ tokens: [999999] }).response, 'ERR_INVALID_ARGUMENT'],
    ['empty prompt', () => engine.generate({ tokens: [] }).response, 'ERR_INVALID_ARGUMENT'],
    ['prompt longer than the context', () => engine.generate({ tokens: Array(600).fill(5) }).response, 'ERR_CONTEXT_LENGTH'],
    ['unknown option', async () => engine.generate({ prompt: 'x', nonsense: 1 } as never).response, 'ERR_INVALID_ARGUMENT'],
    ['two prompts', async () => engine.generate({ prompt: 'x', tokens: [1] }).response, 'ERR_INVALID_ARGUMENT'],
    ['temperature below 0', async () => engine.generate({ prompt: 'x', sampling: { temperature: -1 } }).response, 'ERR_INVALID_ARGUMENT'],
    ['broken template', () => engine.generate({ messages: [{ role: 'user', content: 'x' }], chatTemplate: '{% for %}' }).response, 'ERR_CHAT_TEMPLATE'],
    ['bias outside the vocabulary', () => engine.generate({ prompt: 'x', sampling: { logitBias: { 999999: 1 } } }).response, 'ERR_INVALID_ARGUMENT'],
  ]
  test.each(cases)('%s', async (_name, run, expected) => {
    expect(await code(run())).toBe(expected)
    const response = await engine.generate({ tokens: [5, 6], maxTokens: 2, ignoreEos: true }).response
    expect(response.tokens).toHaveLength(2)
  })

  test('a folder that is not there', async () => {
    expect(await code(Engine.open({ model: '/nonexistent' }))).toBe('ERR_IO')
  })

  test('a layout that only NPUs have', async () => {
    await expect(Engine.open({ model: checkpoint('pangu'), device: 'cpu', nz: true })).rejects.toMatchObject({
      code: 'ERR_INVALID_ARGUMENT', message: expect.stringContaining('nz') as unknown,
    })
  })
})

describe('stopping', () => {
  test('abort rejects stream and response with the reason, and frees the blocks', async () => {
    const abort = new AbortController()
    const stream = engine.generate({ tokens: [5, 6, 7], maxTokens: 400, ignoreEos: true, signal: abort.signal })
    const reason = new Error('enough')
    const iterate = async (): Promise<void> => {
      let count = 0
      for await (const delta of stream) if ((count += delta.tokens.length) > 3) abort.abort(reason)
    }
    await expect(iterate()).rejects.toBe(reason)
    await expect(stream.response).rejects.toBe(reason)
    await engine.generate({ tokens: [5], maxTokens: 1 }).response
    expect(engine.stats().running).toBe(0)
    expect(engine.stats().pool.used).toBe(0)
  })

  test('leaving the loop early aborts, and the response says so', async () => {
    const stream = engine.generate({ tokens: [5, 6, 7], maxTokens: 400, ignoreEos: true })
    for await (const _delta of stream) break
    const response = await stream.response
    expect(response.finishReason).toBe('abort')
    expect(response.tokens.length).toBeLessThan(400)
  })

  test('an aborted signal starts nothing', async () => {
    const stream = engine.generate({ tokens: [5], signal: AbortSignal.abort(new Error('before')) })
    await expect(stream.response).rejects.toThrow('before')
  })

  test('close in mid-generation fails it with ERR_CLOSED; close is idempotent; two engines are independent', async () => {
    const second = await Engine.open({ model: checkpoint('pangu'), maxContext: 256 })
    const running = second.generate({ tokens: [5, 6], maxTokens: 200, ignoreEos: true })
    const failure = code(running.response)
    await Promise.all([second.close(), second.close()])
    expect(await failure).toBe('ERR_CLOSED')
    expect(() => second.generate({ tokens: [5] })).toThrow(AgentInferError)
    const response = await engine.generate({ tokens: [5, 6], maxTokens: 2, ignoreEos: true }).response
    expect(response.tokens).toHaveLength(2)
  })

  test('loading can be aborted', async () => {
    const abort = new AbortController()
    const opening = Engine.open({ model: checkpoint('pangu'), signal: abort.signal, onProgress: () => abort.abort(new Error('stop')) })
    await expect(opening).rejects.toThrow('stop')
  })
})

describe('under pressure', () => {
  test('a pool that holds two contexts serves twenty requests, each as if alone', async () => {
    const small = await Engine.open({ model: checkpoint('pangu'), maxContext: 128, kvTokens: 256, blockSize: 16, maxBatchTokens: 32 })
    const ask = (seed: number) => ({
      tokens: Array.from({ length: 10 + seed * 4 }, (_, i) => 5 + ((i * seed * 31) % 4000)),
      maxTokens: 30,
      ignoreEos: true,
      sampling: { seed },
    })
    const alone: number[][] = []
    for (let seed = 1; seed <= 20; ++seed) alone.push((await small.generate(ask(seed)).response).tokens)
    const together = await Promise.all(Array.from({ length: 20 }, (_, i) => small.generate(ask(i + 1)).response))
    expect(together.map((response) => response.tokens)).toEqual(alone)
    expect(small.stats().pool.used).toBe(0)
    await small.close()
  })

  test('a full queue refuses with ERR_BUSY', async () => {
    const small = await Engine.open({ model: checkpoint('pangu'), maxContext: 128, maxSequences: 1, maxQueue: 2 })
    const results = await Promise.all(
      Array.from({ length: 8 }, () => code(small.generate({ tokens: [5, 6], maxTokens: 5, ignoreEos: true }).response)),
    )
    expect(results.filter((result) => result === 'ERR_BUSY').length).toBe(5)
    expect(results.filter((result) => result === undefined).length).toBe(3)
    await small.close()
  })
})
