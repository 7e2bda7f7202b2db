import { describe, expect, test } from 'vitest'

import { Reasons } from '../../lib/policy/reasons.js'

describe('reasons given by lists', () => {
  const make = (): Reasons => {
    const reasons = new Reasons()
    reasons.set(1, 'one')
    reasons.setAll([2, 3], 'many')
    return reasons
  }

  test.each<[string, (reasons: Reasons) => unknown, unknown]>([
    ['size', (reasons) => reasons.size, 3],
    ['get', (reasons) => reasons.get(3), 'many'],
    ['has', (reasons) => reasons.has(2), true],
    ['keys', (reasons) => Array.from(reasons.keys()), [1, 2, 3]],
    ['values', (reasons) => Array.from(reasons.values()), ['one', 'many', 'many']],
    ['entries', (reasons) => Array.from(reasons.entries()), [[1, 'one'], [2, 'many'], [3, 'many']]],
    ['iteration', (reasons) => Array.from(reasons), [[1, 'one'], [2, 'many'], [3, 'many']]],
  ])('are there whoever asks first: %s', (_, ask, expected) => {
    expect(ask(make())).toEqual(expected)
  })

  test('are visited', () => {
    const seen: number[] = []
    make().forEach((_, id) => seen.push(id))
    expect(seen).toEqual([1, 2, 3])
  })

  test('are a Map', () => {
    expect(make()).toBeInstanceOf(Map)
    expect(new Map(make())).toEqual(new Map([[1, 'one'], [2, 'many'], [3, 'many']]))
  })
})
