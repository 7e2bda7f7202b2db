import { expect, test } from 'vitest'

import { contract, native } from '../../dist/esm/native.js'

test('both halves of the step contract name the same fields and kinds in the same order', () => {
  expect(native().contract).toEqual(contract)
})
