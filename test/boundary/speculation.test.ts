import { mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'

import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import { Engine } from 'agentinfer'
import type { GenerateOptions, GenerationResponse } from 'agentinfer'

import { checkpoint } from '../fixtures/paths.js'

const model = checkpoint('pangu')
const vocabulary = 320
/** Small pool, small chunks: preemption and chunked prefill happen. */
const tight = { model, kvDtype: 'f32', kvTokens: 512, maxContext: 256, maxBatchTokens: 48, blockSize: 16 } as const

/** Requests that repeat themselves and each other, so that there is something to draft from. */
function workload(seed: number): GenerateOptions[] {
  let state = seed
  const below = (count: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return (state >>> 8) % count
  }
  const ids = (count: number): number[] => Array.from({ length: count }, () => 3 + below(vocabulary - 3))
  const first = Array.from({ length: 4 }, (_, i): GenerateOptions => {
    const half = ids(10 + below(30))
    const greedy = below(2) === 0
    return {
      tokens: [...half, ...half],
      maxTokens: 20 + below(40),
      ignoreEos: true,
      sampling: {
        temperature: greedy ? 0 : 1,
        seed: seed + i,
        ...(below(2) === 0 && { repetitionPenalty: 1.2, frequencyPenalty: 0.1 }),
        ...(below(2) === 0 && { logprobs: 2 }),
      },
      speculation: { query: `task ${below(2)}`, role: `role ${below(2)}`, run: `run ${below(2)}` },
    }
  })
  return [...first, ...first.map((request) => ({ ...request, tenant: `tenant ${below(2)}` })), ...first]
}

async function run(engine: Engine, requests: readonly GenerateOptions[]): Promise<GenerationResponse[]> {
  return Promise.all(requests.map((request) => engine.generate(request).response))
}

async function logprobs(engine: Engine, request: GenerateOptions): Promise<unknown[]> {
  const all: unknown[] = []
  for await (const delta of engine.generate(request)) all.push(...(delta.logprobs ?? []))
  return all
}

async function until(condition: () => Promise<boolean>): Promise<void> {
  for (let i = 0; i < 200; ++i) {
    if (await condition()) return
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  throw new Error('it did not come')
}

describe('with and without', () => {
  let plain: Engine
  let speculating: Engine
  beforeAll(async () => {
    plain = await Engine.open({ ...tight, speculation: 'off' })
    speculating = await Engine.open(tight)
  })
  afterAll(async () => {
    await plain.close()
    await speculating.close()
  })

  test('random workloads say the same, token for token, greedy and sampled, in a pool that is too small', async () => {
    for (const seed of [1, 2, 3]) {
      const expected = await run(plain, workload(seed))
      for (let round = 0; round < 2; ++round) {
        const got = await run(speculating, workload(seed))
        expect(got.map(({ tokens, text, finishReason }) => ({ tokens, text, finishReason }))).toEqual(
          expected.map(({ tokens, text, finishReason }) => ({ tokens, text, finishReason })),
        )
      }
    }
  })

  test('log probabilities are the same', async () => {
    const request = { ...workload(5)[0]!, sampling: { temperature: 1, seed: 5, logprobs: 3 } }
    const expected = await logprobs(plain, request)
    expect(expected.length).toBe(request.maxTokens)
    for (let round = 0; round < 3; ++round) expect(await logprobs(speculating, request)).toEqual(expected)
  })

  test('stop strings end the same text', async () => {
    const [request] = workload(6)
    const { text } = await plain.generate(request!).response
    const stop = text.slice(Math.floor(text.length / 2), Math.floor(text.length / 2) + 3)
    const expected = await plain.generate({ ...request!, stop }).response
    for (let round = 0; round < 3; ++round) {
      const got = await speculating.generate({ ...request!, stop }).response
      expect(got.text).toBe(expected.text)
      expect(got.finishReason).toBe('stop')
    }
  })

  test('an engine that does not speculate drafts nothing: one token for each forward pass', async () => {
    const { speculation } = await plain.generate(workload(7)[0]!).response
    expect(speculation).toEqual({ drafted: 0, accepted: 0, bySource: {}, shr: 0, ote: 1, savedSeconds: 0 })
    expect(plain.stats().speculation).toMatchObject({ drafted: 0, memory: { open: 0, storedSessions: 0 }, notice: undefined })
  })

  test('nor does a request that wants none, and it leaves nothing behind', async () => {
    const engine = await Engine.open({ ...tight })
    const { speculation } = await engine.generate({ ...workload(7)[0]!, speculation: 'off' }).response
    expect(speculation.drafted).toBe(0)
    expect(engine.stats().speculation.memory).toMatchObject({ roles: 0, sessions: 0, storedSessions: 0 })
    await engine.close()
  })

  test('the counts of requests add up to those of the engine, by source too', async () => {
    const engine = await Engine.open(tight)
    const responses = [...(await run(engine, workload(8))), ...(await run(engine, workload(8)))]
    const total = engine.stats().speculation
    const sum = (of: (response: GenerationResponse) => number): number => responses.reduce((all, response) => all + of(response), 0)
    expect(sum(({ speculation }) => speculation.drafted)).toBe(total.drafted)
    expect(sum(({ speculation }) => speculation.accepted)).toBe(total.accepted)
    expect(sum(({ speculation }) => speculation.savedSeconds)).toBeCloseTo(total.savedSeconds, 6)
    for (const { speculation } of [...responses, { speculation: total }]) {
      const kinds = Object.values(speculation.bySource)
      expect(kinds.reduce((all, { drafted }) => all + drafted, 0)).toBe(speculation.drafted)
      expect(kinds.reduce((all, { accepted }) => all + accepted, 0)).toBe(speculation.accepted)
      expect(speculation.accepted).toBeLessThanOrEqual(speculation.drafted)
      expect(speculation.ote).toBeGreaterThanOrEqual(1)
    }
    await engine.close()
  })

  test('wrong options are refused by name', async () => {
    expect(() => plain.generate({ tokens: [5], speculation: { maxDraft: 16 } })).toThrow(/maxDraft/)
    expect(() => plain.generate({ tokens: [5], speculation: { sources: ['own' as 'role'] } })).toThrow(/sources/)
    await expect(Engine.open({ ...tight, speculation: { memory: { bytes: -1 } } })).rejects.toThrow(/memory\.bytes/)
  })
})

describe('stored sessions', () => {
  let directory: string
  beforeAll(() => {
    directory = mkdtempSync(path.join(os.tmpdir(), 'agentinfer-memory-'))
  })
  afterAll(() => rmSync(directory, { recursive: true }))

  const chat = (engine: Engine, query: string, tenant = ''): Promise<GenerationResponse> =>
    engine.generate({
      tokens: [5, 6, 7, 8],
      maxTokens: 8,
      ignoreEos: true,
      tenant,
      sampling: { temperature: 0 },
      speculation: { query },
    }).response
  const stored = async (engine: Engine, tenant = ''): Promise<number> => {
    await chat(engine, 'weather in Paris', tenant)
    return engine.stats().speculation.memory.storedSessions
  }

  test('outlive the engine in a file for each tenant', async () => {
    const options = { ...tight, speculation: { memory: { directory } } } as const
    const first = await Engine.open(options)
    for (const query of ['weather in Rome', 'weather in Bern']) await chat(first, query)
    await first.close()
    expect(readdirSync(directory).filter((name) => name.endsWith('.sam'))).toHaveLength(1)

    const second = await Engine.open(options)
    await until(async () => (await stored(second)) === 3)
    await until(async () => (await stored(second, 'another')) === 4)
    expect(second.stats().speculation.notice).toBeUndefined()
    await second.close()
    expect(readdirSync(directory).filter((name) => name.endsWith('.sam'))).toHaveLength(2)
  })

  test('from a damaged file are refused with a notice, and the file is made again', async () => {
    const options = { ...tight, speculation: { memory: { directory } } } as const
    const files = readdirSync(directory).map((name) => path.join(directory, name))
    for (const file of files) truncateSync(file, readFileSync(file).length - 1)
    const engine = await Engine.open(options)
    await until(async () => {
      await stored(engine)
      return engine.stats().speculation.notice !== undefined
    })
    expect(engine.stats().speculation.notice).toMatch(/refused/)
    expect(await stored(engine)).toBe(1)
    await engine.close()
    const again = await Engine.open(options)
    await until(async () => (await stored(again)) === 1)
    expect(again.stats().speculation.notice).toBeUndefined()
    await again.close()
  })

  test('need a directory that can be made', async () => {
    const file = path.join(directory, 'file')
    writeFileSync(file, '')
    const options = { ...tight, speculation: { memory: { directory: path.join(file, 'below') } } } as const
    await expect(Engine.open(options)).rejects.toMatchObject({ code: 'ERR_IO' })
  })

  test('a memory of no bytes keeps nothing', async () => {
    const engine = await Engine.open({ ...tight, speculation: { memory: { bytes: 0 } } })
    for (let i = 0; i < 3; ++i) await stored(engine)
    expect(engine.stats().speculation.memory).toMatchObject({ sessions: 0, roles: 0, storedSessions: 0 })
    await engine.close()
  })
})

describe('teacher forcing and drafts of one’s own', () => {
  let engine: Engine
  beforeAll(async () => {
    engine = await Engine.open(tight)
  })
  afterAll(() => engine.close())

  const forced = Array.from({ length: 40 }, (_, i) => 10 + ((i * 7) % 200))
  const request = { tokens: [5, 6, 7], maxTokens: 40, ignoreEos: true, sampling: { temperature: 0, forced } }

  test('what is forced is said, and behind it the model goes on', async () => {
    const { tokens } = await engine.generate({ ...request, maxTokens: 50 }).response
    expect(tokens.slice(0, 40)).toEqual(forced)
    const behind = await engine.generate({ tokens: [5, 6, 7, ...forced], maxTokens: 10, ignoreEos: true, sampling: { temperature: 0 } }).response
    expect(tokens.slice(40)).toEqual(behind.tokens)
  })

  test('right drafts are all accepted, wrong ones are not, foreign ones are cut off', async () => {
    const right = await engine.generate({
      ...request,
      speculation: { drafter: ({ output }) => forced.slice(output.length, output.length + 9) },
    }).response
    expect(right.tokens).toEqual(forced)
    expect(right.speculation.bySource).toEqual({ supplied: { drafted: right.speculation.drafted, accepted: right.speculation.drafted } })
    expect(right.speculation.drafted).toBe(35) // 1 by the prefill, then 9 + 1 in each of three steps, then 8 + 1
    expect(right.speculation.ote).toBeCloseTo(39 / 4)

    const wrong = await engine.generate({ ...request, speculation: { maxDraft: 3, drafter: () => [300, 300, 300, 300] } }).response
    expect(wrong.tokens).toEqual(forced)
    expect(wrong.speculation).toMatchObject({ accepted: 0, ote: 1 })

    const foreign = await engine.generate({ ...request, speculation: { drafter: () => [vocabulary + 1_000_000, -5] } }).response
    expect(foreign.tokens).toEqual(forced)
    expect(foreign.speculation.drafted).toBe(0)
  })

  test('a drafter that throws fails its request alone', async () => {
    const other = engine.generate({ ...request }).response
    const broken = engine.generate({
      ...request,
      speculation: {
        drafter: () => {
          throw new Error('no idea')
        },
      },
    }).response
    await expect(broken).rejects.toThrow('no idea')
    expect((await other).tokens).toEqual(forced)
  })

  test('forced ids must be the model’s', async () => {
    await expect(engine.generate({ ...request, sampling: { forced: [1_000_000] } }).response).rejects.toThrow(/forced/)
    await expect(engine.generate({ ...request, sampling: { forced: [5], logprobs: 1 } }).response).rejects.toThrow(/logprobs/)
  })
})
