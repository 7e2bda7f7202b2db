import { expect, test } from 'vitest'

import { mentions } from '../../dist/esm/text/terms.js'

test('addresses and names are found, without what ends a sentence', () => {
  const { sources, entities } = mentions('See https://example.org/a.b?c=1, and http://x.test!?. Ada Lovelace wrote "Notes" in 1843.')
  expect([...sources]).toEqual(['https://example.org/a.b?c=1', 'http://x.test'])
  expect([...entities]).toEqual(['See', 'Ada Lovelace', '"Notes"', '1843'])
})

test('a text made to take minutes does not', () => {
  const dots = '.'.repeat(200_000)
  expect([...mentions(`http://a${dots}b `).sources]).toEqual([`http://a${dots}b`])
})
