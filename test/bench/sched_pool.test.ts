// The simulator's KV pool: block by block against what native/kv does.
import { describe, expect, test } from 'vitest'

import { Contents, Context } from '../../bench/sched/context.js'
import { SimPool } from '../../bench/sched/pool.js'
import { seeded } from '../policy/snapshots.js'

const blockSize = 16

/** A context of so many tokens; `head` tokens of it are shared with all others that have the same key. */
function contextOf(contents: Contents, tokens: number, head = 0, key = 'a'): Context {
  const context = new Context(contents, blockSize, head > 0 ? [{ key, tokens: head }] : [])
  context.grow(tokens - head)
  return context
}

/** Computes a context whole and lets it go: what a request that ends leaves behind. */
function compute(pool: SimPool, context: Context, owner: number | undefined, now = 0): boolean {
  const match = pool.match(context, context.length - 1)
  pool.pin(context.blocks, match.device)
  const full = context.blocks.length
  const tail = context.length % blockSize
  const missing = full - match.device + (tail > 0 ? 1 : 0)
  if (!pool.take(missing, now)) {
    pool.unpin(context.blocks, match.device)
    return false
  }
  for (let i = match.device; i < full; ++i) pool.publish(context.blocks, i, owner)
  if (tail > 0) pool.publishTail(context.blocks, full, context.tail, tail, owner)
  pool.unpin(context.blocks, full)
  return true
}

const held = (pool: SimPool, context: Context): number => {
  const { device, partial } = pool.match(context, context.length)
  return device * blockSize + partial
}

describe('finding', () => {
  test('what was computed is found whole, its unfinished last block too', () => {
    const pool = new SimPool(100, blockSize, 0)
    const context = contextOf(new Contents(), 100)
    compute(pool, context, 1)
    expect(held(pool, context)).toBe(100)
    context.grow(30)
    expect(held(pool, context)).toBe(100)
    pool.check(0)
  })

  test('others find the shared head and nothing else', () => {
    const pool = new SimPool(100, blockSize, 0)
    const contents = new Contents()
    compute(pool, contextOf(contents, 100, 48), 1)
    expect(held(pool, contextOf(contents, 100, 48))).toBe(48)
    expect(held(pool, contextOf(contents, 100, 48, 'b'))).toBe(0)
  })

  test('requests that lack the same next block have the same group', () => {
    const pool = new SimPool(100, blockSize, 0)
    const contents = new Contents()
    const [a, b, c] = [contextOf(contents, 64, 48), contextOf(contents, 64, 48), contextOf(contents, 64, 48, 'b')]
    const group = (context: Context): number => pool.group(context, pool.match(context, context.length))
    expect(group(a)).toBe(group(b))
    expect(group(a)).not.toBe(group(c))
    compute(pool, a, 1)
    // Past the head each goes its own way.
    expect(group(b)).not.toBe(group(contextOf(contents, 64, 48)))
  })

  test('the union counts a block once, whatever number of requests wants it', () => {
    const random = seeded(4)
    for (let round = 0; round < 50; ++round) {
      const pool = new SimPool(60, blockSize, 0)
      const contents = new Contents()
      const contexts = Array.from({ length: 8 }, () => contextOf(contents, 60 + random(200), 48, `k${random(2)}`))
      for (const context of contexts) if (random(2) === 0) compute(pool, context, undefined)
      const lists = contexts.map((content) => ({ content, tokens: content.length, match: pool.match(content, content.length) }))
      const expected = { evictable: new Set<number>(), fresh: new Set<number>(), tails: 0 }
      for (const { content, match } of lists) {
        content.blocks.forEach((block, i) => (i < match.device ? expected.evictable : expected.fresh).add(block))
        if (content.length % blockSize > 0) expected.tails += 1
      }
      const union = pool.demand(lists)
      expect(union.evictable).toBe(expected.evictable.size)
      expect(union.fresh).toBe(expected.fresh.size + expected.tails)
    }
  })
})

describe('eviction', () => {
  test('the least recently used goes first, from its end', () => {
    const pool = new SimPool(10, blockSize, 0)
    const contents = new Contents()
    const [a, b, c] = [contextOf(contents, 64), contextOf(contents, 64), contextOf(contents, 64)]
    compute(pool, a, 1)
    compute(pool, b, 2)
    compute(pool, c, 3)
    expect([held(pool, a), held(pool, b), held(pool, c)]).toEqual([32, 64, 64])
  })

  test('a higher class outlives a lower one; within a class what has expired goes first', () => {
    const pool = new SimPool(12, blockSize, 0)
    const contents = new Contents()
    const [a, b, c, d] = [contextOf(contents, 64), contextOf(contents, 64), contextOf(contents, 64), contextOf(contents, 64)]
    pool.retain(1, 3, Infinity)
    pool.retain(2, 3, 5)
    compute(pool, a, 1)
    compute(pool, b, 2)
    compute(pool, c, 3)
    compute(pool, d, 4, 10)
    expect([held(pool, a), held(pool, b), held(pool, c)]).toEqual([64, 64, 0])
    compute(pool, contextOf(contents, 64), 5, 10)
    expect([held(pool, a), held(pool, b), held(pool, d)]).toEqual([64, 64, 0])
  })

  test('what knows the future evicts what is wanted last', () => {
    const pool = new SimPool(8, blockSize, 0)
    const contents = new Contents()
    const [a, b] = [contextOf(contents, 64), contextOf(contents, 64)]
    pool.nextUse = (owner) => (owner === 1 ? 5 : 100)
    compute(pool, a, 1)
    compute(pool, b, 2)
    compute(pool, contextOf(contents, 32), 3)
    expect([held(pool, a), held(pool, b)]).toEqual([64, 32])
  })

  test('with a host tier what a session retains comes back instead of being lost', () => {
    const pool = new SimPool(8, blockSize, 16)
    const contents = new Contents()
    const a = contextOf(contents, 64)
    pool.retain(1, 1, Infinity)
    compute(pool, a, 1)
    compute(pool, contextOf(contents, 128), 2)
    expect(pool.match(a, 64)).toMatchObject({ device: 0, host: 4 })
    pool.give(0)
    pool.holdHost(a.blocks, 0, 4)
    expect(pool.take(4, 0)).toBe(true)
    pool.fromHost(a.blocks, 0, 4)
    expect(pool.match(a, 64)).toMatchObject({ device: 4, pinned: 4, host: 0 })
    pool.unpin(a.blocks, 4)
    pool.check(0)
  })
})

test('whatever is asked for, every block is in one place', () => {
  for (let seed = 1; seed <= 40; ++seed) {
    const random = seeded(seed)
    const pool = new SimPool(20 + random(40), blockSize, random(2) * random(30))
    const contents = new Contents()
    const contexts = Array.from({ length: 10 }, () => contextOf(contents, 20 + random(100), 16 * random(3), `k${random(2)}`))
    for (let i = 0; i < 80; ++i) {
      const at = random(contexts.length)
      const context = contexts[at]!
      const what = random(6)
      if (what < 3) compute(pool, context, random(3) === 0 ? undefined : at, i)
      else if (what === 3) pool.retain(at, random(4), random(100))
      else if (what === 4) pool.prefetch(at, context.blocks, random(8))
      else if (random(4) === 0) {
        pool.forget(at)
        contexts[at] = contextOf(contents, 20 + random(100), 16, 'k0')
      } else context.grow(random(40))
      pool.check(0)
    }
    expect(pool.free + pool.cached).toBe(pool.total)
  }
})
