/** The addon's own door: what would be unsafe in memory is refused there, whoever calls. */
import { expect, test } from 'vitest'

import { native } from '../../dist/esm/native.js'

/** An engine whose folder does not exist: it fails to open, but on its own thread, later. */
function engine(options: object = {}) {
  return new (native().NativeEngine)({ folder: '/nowhere', ...options }, () => {})
}

test('numbers that do not fit where they go are refused, with what came', () => {
  expect(() => engine({ maxSequences: 2 ** 32 + 1 })).toThrow(
    expect.objectContaining({ code: 'ERR_INVALID_ARGUMENT', message: expect.stringMatching(/^maxSequences: expected an integer from .*, got 4294967297$/) as unknown }),
  )
  expect(() => engine({ hostKvBytes: -1 })).toThrow('hostKvBytes: expected an integer of at least 0, got -1')
  expect(() => engine({ deviceTimeout: Number.NaN })).toThrow(/^deviceTimeout: expected seconds above 0/)
  expect(() => engine({ graphs: 1 })).toThrow('graphs: expected a boolean, got 1')
  expect(() => engine({ device: [] })).toThrow('device: expected a string, got an array')
})

test('retention that is no session, no class or no time is refused before the engine sees it', () => {
  const opened = engine()
  const step = (retain: number[]) => () =>
    opened.step({ now: 0, rows: new Int32Array(), preempt: new Int32Array(), probe: new Int32Array(), retain: Float64Array.from(retain) })
  for (const retain of [[0.5, 1, 5], [-1, 1, 5], [Number.NaN, 1, 5], [1, 256, 5], [1, 1.5, 5], [1, 1, Number.NaN]])
    expect(step(retain)).toThrow(/^retain: expected a session of at least 0, a class from 0 to 255 and a time, got/)
  expect(step([1, 1])).toThrow('retain: expected records of 3 values, got 2 values')
  expect(step([1, 3, Number.POSITIVE_INFINITY])).not.toThrow()
  opened.close()
})
