import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import { AgentInferError, Engine, firstCome } from 'agentinfer'
import type { Scheduler, Session, SessionView } from 'agentinfer'

import { checkpoint } from '../fixtures/paths.js'

let engine: Engine
beforeAll(async () => {
  engine = await Engine.open({ model: checkpoint('pangu'), kvDtype: 'f32', kvTokens: 4096, maxContext: 512, blockSize: 16 })
})
afterAll(async () => {
  await engine.close()
})

async function code(work: () => unknown): Promise<string | undefined> {
  try {
    await work()
  } catch (error) {
    return error instanceof AgentInferError ? error.code : String(error)
  }
  return undefined
}

const sampling = { temperature: 0.8, seed: 11 }
const user = (content: string) => ({ role: 'user', content })

/** The ids of a text with markers, with the BOS. */
async function ids(text: string): Promise<number[]> {
  return [1, ...(await engine.tokenize(text, { parseSpecial: true }))]
}

describe('tokens', () => {
  test('turn by turn they are those of the whole chat, and the answer is kept as it was generated', async () => {
    using session = engine.session({ messages: [{ role: 'system', content: 'Be brief.' }, user('hello')] })
    const opening = '[unused9]系统：Be brief.[unused10][unused9]用户：hello[unused10]'
    expect(Array.from(await session.tokens())).toEqual(await ids(opening))
    const { tokens } = await session.generate({ maxTokens: 5, ignoreEos: true, sampling }).response
    const behind = Array.from(await engine.tokenize('[unused9]助手：', { parseSpecial: true }))
    expect(Array.from(await session.tokens())).toEqual([...(await ids(opening)), ...behind, ...tokens])
    // It was cut off, so its turn ends only now.
    await session.append([user('more')])
    const closing = Array.from(await engine.tokenize('[unused10][unused9]用户：more[unused10]', { parseSpecial: true }))
    expect(Array.from(await session.tokens())).toEqual([...(await ids(opening)), ...behind, ...tokens, ...closing])
  })

  test('the end token becomes part of the session, once', async () => {
    using session = engine.session({ messages: [user('hello')] })
    const end = engine.info.config.eosTokenIds[0]!
    const only = { temperature: 1, seed: 1, allowedIds: [end] }
    const response = await session.generate({ maxTokens: 5, sampling: only }).response
    expect(response.finishReason).toBe('stop')
    expect(response.tokens).toEqual([])
    await session.append([user('again')])
    expect(Array.from(await session.tokens())).toEqual(
      await ids('[unused9]系统：[unused10][unused9]用户：hello[unused10][unused9]助手：[unused10][unused9]用户：again[unused10]'),
    )
  })

  test('text in parts and ids are added as they are, in the order of the calls', async () => {
    using session = engine.session()
    void session.append({ tokens: [5, 6] })
    void session.append({ segments: [{ text: '[unused10]', special: true }, { text: '[unused10]', special: false }] })
    const given = Int32Array.of(7)
    void session.append({ tokens: given })
    given.fill(9) // was copied
    expect(session.length).toBe(0)
    const all = Array.from(await session.tokens())
    const [marker] = await engine.tokenize('[unused10]', { parseSpecial: true })
    expect(all.slice(0, 2)).toEqual([5, 6])
    expect(all.filter((id) => id === marker)).toHaveLength(1)
    expect(all.at(-1)).toBe(7)
    expect(session.length).toBe(all.length)
    const response = await session.generate({ maxTokens: 3, ignoreEos: true, sampling }).response
    expect(Array.from(await session.tokens())).toEqual([...all, ...response.tokens])
  })

  test('a lead begins the answer: given, kept, and not part of the output', async () => {
    using session = engine.session({ messages: [user('hello')] })
    const { tokens } = await session.generate({ maxTokens: 3, ignoreEos: true, sampling, lead: '[unused16]so' }).response
    const before = await ids('[unused9]系统：[unused10][unused9]用户：hello[unused10][unused9]助手：[unused16]so')
    expect(Array.from(await session.tokens())).toEqual([...before, ...tokens])
    await session.append([user('more')])
    const closing = Array.from(await engine.tokenize('[unused10][unused9]用户：more[unused10]', { parseSpecial: true }))
    expect(Array.from(await session.tokens())).toEqual([...before, ...tokens, ...closing])
  })

  test('a fork at a mark has the tokens up to there and goes on differently', async () => {
    using session = engine.session({ messages: [user('one')] })
    await session.tokens()
    const opened = session.mark()
    await session.generate({ maxTokens: 4, ignoreEos: true, sampling }).response
    const cut = session.mark()
    const answered = Array.from(await session.tokens())
    await session.append([user('two')])
    const asked = session.mark()
    const all = Array.from(await session.tokens())
    const running = session.generate({ maxTokens: 40, ignoreEos: true, sampling })
    for (const [mark, kept] of [[opened, await ids('[unused9]系统：[unused10][unused9]用户：one[unused10]')], [cut, answered], [asked, all]] as const) {
      using fork = session.fork({ at: mark })
      expect(fork.length).toBe(kept.length) // at once: the running generation is not waited for
      await fork.append([user('three')])
      const closing = mark === cut ? '[unused10]' : ''
      const added = Array.from(await engine.tokenize(`${closing}[unused9]用户：three[unused10]`, { parseSpecial: true }))
      expect(Array.from(await fork.tokens())).toEqual([...kept, ...added])
    }
    await running.response
    expect(await code(() => session.fork({ at: { ...asked, tokens: 1_000_000 } }))).toBe('ERR_INVALID_ARGUMENT')
  })

  test('append: false leaves the session as it was', async () => {
    using session = engine.session({ messages: [user('hello')] })
    const before = await session.tokens()
    const response = await session.generate({ maxTokens: 5, ignoreEos: true, append: false, sampling }).response
    expect(response.tokens).toHaveLength(5)
    expect(await session.tokens()).toEqual(before)
  })

  test('an answer that was cut off goes on where it stopped', async () => {
    using session = engine.session({ messages: [user('hello')] })
    using whole = engine.session({ messages: [user('hello')] })
    const greedy = { temperature: 0 }
    const first = await session.generate({ maxTokens: 4, ignoreEos: true, sampling: greedy }).response
    const second = await session.generate({ maxTokens: 4, ignoreEos: true, sampling: greedy }).response
    const both = await whole.generate({ maxTokens: 8, ignoreEos: true, sampling: greedy }).response
    expect([...first.tokens, ...second.tokens]).toEqual(both.tokens)
    expect(await session.tokens()).toEqual(await whole.tokens())
  })

  test('what a session generates equals a request with the same tokens', async () => {
    using session = engine.session({ messages: [user('one')] })
    for (const question of ['two', 'three', 'four']) {
      const before = Array.from(await session.tokens())
      const opening = Array.from(await engine.tokenize('[unused9]助手：', { parseSpecial: true }))
      const options = { maxTokens: 12, ignoreEos: true, sampling }
      const response = await session.generate(options).response
      const alone = await engine.generate({ tokens: [...before, ...opening], ...options, tenant: question }).response
      expect(alone.usage.cachedTokens).toBe(0)
      expect(response.tokens).toEqual(alone.tokens)
      await session.append([user(question)])
    }
  })
})

describe('KV', () => {
  test('each turn computes only its new tokens', async () => {
    using session = engine.session({ messages: [{ role: 'system', content: 'Some words of a system prompt. '.repeat(5) }] })
    let known = 0
    for (let turn = 0; turn < 5; ++turn) {
      await session.append([user(`question ${turn}`)])
      const { usage } = await session.generate({ maxTokens: 6, ignoreEos: true, sampling }).response
      if (turn > 0) expect(usage.cachedTokens).toBe(known - 1) // the token sampled last was never read
      known = session.length
    }
    expect(session.stats().requests).toBe(5)
    expect(session.stats().cachedTokens + session.stats().computedTokens).toBeGreaterThan(known)
  })

  test('prefill computes all there is, and the generation behind it starts at once', async () => {
    using session = engine.session({ messages: [user('A rather long text to be read before anybody asks. '.repeat(4))] })
    const first = await session.prefill()
    expect(first.cachedTokens + first.computedTokens).toBe(session.length)
    expect(first.computedTokens).toBeGreaterThan(50)
    const again = await session.prefill()
    expect(again).toEqual({ cachedTokens: session.length - 1, computedTokens: 1 })
    const length = session.length
    const { usage } = await session.generate({ maxTokens: 2, ignoreEos: true, sampling }).response
    expect(usage.cachedTokens).toBe(length)
  })

  test('a generation ends the prefill of its session early', async () => {
    using session = engine.session({ messages: [user('Words and words. '.repeat(40))] })
    const prefill = session.prefill()
    const { tokens } = await session.generate({ maxTokens: 2, ignoreEos: true, sampling }).response
    expect(tokens).toHaveLength(2)
    const { cachedTokens, computedTokens } = await prefill
    expect(cachedTokens + computedTokens).toBeLessThanOrEqual(session.length)
  })

  test('a fork shares what is there, and both go their own way', async () => {
    using session = engine.session({ messages: [user('A common beginning of some length, so that it fills several blocks of tokens.')] })
    await session.prefill()
    const length = session.length
    using left = session.fork({ name: 'left' })
    using right = session.fork({ name: 'right', role: 'seeker' })
    expect([left.name, right.role]).toEqual(['left', 'seeker'])
    void left.append([user('left')])
    void right.append([user('right')])
    const responses = await Promise.all(
      [left, right].map((fork) => fork.generate({ maxTokens: 3, ignoreEos: true, sampling }).response),
    )
    for (const { usage } of responses) expect(usage.cachedTokens).toBeGreaterThanOrEqual(length)
    expect(session.length).toBe(length)
    const [a, b] = [await left.tokens(), await right.tokens()]
    expect(a.subarray(0, length)).toEqual(await session.tokens())
    expect(a).not.toEqual(b)
  })

  test('tenants share no KV', async () => {
    const messages = [user('Secrets of a tenant, long enough to fill a block or two of tokens.')]
    const cached: number[] = []
    for (const tenant of ['a', 'b', 'a']) {
      using session = engine.session({ messages, tenant })
      cached.push((await session.generate({ maxTokens: 1, ignoreEos: true, sampling }).response).usage.cachedTokens)
    }
    expect(cached[0]).toBe(0)
    expect(cached[1]).toBe(0)
    expect(cached[2]).toBeGreaterThan(16)
  })
})

describe('states', () => {
  test('one generation at a time; appends wait for it', async () => {
    using session = engine.session({ messages: [user('hello')] })
    const stream = session.generate({ maxTokens: 20, ignoreEos: true, sampling })
    expect(await code(() => session.generate())).toBe('ERR_BUSY')
    await session.append([user('later')])
    const { tokens } = await stream.response
    const all = Array.from(await session.tokens()).join()
    const closing = Array.from(await engine.tokenize('[unused10][unused9]用户：later[unused10]', { parseSpecial: true })).join()
    expect(all.endsWith(`${tokens.join()},${closing}`)).toBe(true)
  })

  test('aborted output stays as far as it was emitted', async () => {
    using session = engine.session({ messages: [user('hello')] })
    const stream = session.generate({ maxTokens: 300, ignoreEos: true, sampling })
    for await (const delta of stream) if (delta.tokens.length > 0) break
    const { tokens, finishReason } = await stream.response
    expect(finishReason).toBe('abort')
    expect(Array.from(await session.tokens()).slice(-tokens.length)).toEqual(tokens)

    const abort = new AbortController()
    const second = session.generate({ maxTokens: 100, ignoreEos: true, sampling, signal: abort.signal })
    const seen: number[] = []
    const reading = (async () => {
      for await (const delta of second) if (seen.push(...delta.tokens) > 4) abort.abort(new Error('enough'))
    })()
    await expect(reading).rejects.toThrow('enough')
    expect(Array.from(await session.tokens()).join()).toContain(seen.join())
    await session.generate({ maxTokens: 1, ignoreEos: true, sampling }).response
  })

  test('release ends what runs, frees everything and is idempotent; a released session is closed', async () => {
    const session: Session = engine.session({ messages: [user('hello')] })
    session.retain({ ttl: 60, retentionClass: 3 })
    session.activity({ kind: 'tool', tool: 'search' })
    const stream = session.generate({ maxTokens: 400, ignoreEos: true, sampling })
    await stream[Symbol.asyncIterator]().next()
    session.release()
    session.release()
    expect((await stream.response).finishReason).toBe('abort')
    const uses = [() => session.append([user('x')]), () => session.generate(), () => session.prefill(), () => session.fork(), () => session.tokens()]
    for (const use of uses) expect(await code(use)).toBe('ERR_CLOSED')
    await engine.generate({ tokens: [5], maxTokens: 1 }).response
    expect(engine.stats().pool.used).toBe(0)
  })

  test('a beginning that cannot be rendered is said by whatever comes next', async () => {
    using session = engine.session({ messages: [{ role: 'nobody', content: 'x' }] })
    expect(await code(() => session.append([user('x')]))).toBe('ERR_CHAT_TEMPLATE')
    expect(await code(() => session.generate().response)).toBe('ERR_CHAT_TEMPLATE')
    expect(await code(() => session.tokens())).toBe('ERR_CHAT_TEMPLATE')
  })

  test('an append that fails adds nothing, and the session goes on', async () => {
    using session = engine.session({ messages: [user('x')] })
    const before = await session.tokens()
    expect(await code(() => session.append([{ role: 'nobody', content: 'x' }]))).toBe('ERR_CHAT_TEMPLATE')
    expect(await code(() => session.append({ tokens: [999999] }))).toBe('ERR_INVALID_ARGUMENT')
    expect(await code(() => session.fork({ tenant: 'another' } as never))).toBe('ERR_INVALID_ARGUMENT')
    expect(await code(() => session.append('text' as never))).toBe('ERR_INVALID_ARGUMENT')
    expect(await session.tokens()).toEqual(before)
    await session.append([user('y')])
    expect(session.length).toBeGreaterThan(before.length)
  })

  test('wrong options are refused at once', async () => {
    using session = engine.session()
    expect(await code(() => engine.session({ nonsense: 1 } as never))).toBe('ERR_INVALID_ARGUMENT')
    expect(await code(() => session.generate({ messages: [] } as never))).toBe('ERR_INVALID_ARGUMENT')
    expect(await code(() => session.retain({ ttl: -1 }))).toBe('ERR_INVALID_ARGUMENT')
    expect(await code(() => session.retain({ ttl: 1, retentionClass: 4 }))).toBe('ERR_INVALID_ARGUMENT')
    expect(await code(() => session.activity({ kind: 'dreaming' } as never))).toBe('ERR_INVALID_ARGUMENT')
    expect(await code(() => session.generate().response)).toBe('ERR_INVALID_ARGUMENT') // no token yet
    expect(await code(() => session.fork({ at: { tokens: -1, turns: session.mark().turns } }))).toBe('ERR_INVALID_ARGUMENT')
    // Numbers that would be others as 32 bits.
    for (const wrong of [{ tokens: [2 ** 32 + 5] }, { tokens: [5], stopIds: [2 ** 32] }, { tokens: [5], sampling: { topK: 2 ** 32 } }, { tokens: [5], deadline: 1e9 }])
      expect(await code(() => engine.generate(wrong)), JSON.stringify(wrong)).toBe('ERR_INVALID_ARGUMENT')
  })

  test('schedulers see since when a session does what it does: what is appended meanwhile does not move it', async () => {
    const seen: SessionView[] = []
    const inner = firstCome()
    const scheduler: Scheduler = {
      name: 'watching',
      plan(snapshot) {
        seen.push(...snapshot.sessions)
        return inner.plan(snapshot)
      },
    }
    await using own = await Engine.open({ model: checkpoint('pangu'), maxContext: 64, threads: 1, scheduler })
    using session = own.session()
    const look = async (): Promise<SessionView> => {
      await own.generate({ tokens: [5, 6], maxTokens: 1 }).response
      return seen.at(-1)!
    }
    await session.append({ tokens: [5] })
    session.activity({ kind: 'tool', tool: 'search' })
    const before = await look()
    await new Promise((resolve) => setTimeout(resolve, 20))
    await session.append({ tokens: [6, 7] })
    const behind = await look()
    expect(behind).toMatchObject({ tokens: 3, since: before.since, activity: { kind: 'tool', tool: 'search' } })
    session.activity({ kind: 'tool', tool: 'search' })
    expect((await look()).since).toBeGreaterThan(before.since + 0.015)
  })

  test('a deadline ends the request with ERR_DEADLINE', async () => {
    using session = engine.session({ messages: [user('hello')] })
    expect(await code(() => session.generate({ deadline: 0.001, ignoreEos: true }).response)).toBe('ERR_DEADLINE')
    expect(await code(() => session.generate({ maxTokens: 2, deadline: 60, ignoreEos: true }).response)).toBe(undefined)
  })
})
