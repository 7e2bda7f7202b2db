import { describe, expect, test } from 'vitest'

import { parseLooseJson } from '../../dist/esm/text/loose_json.js'
import { parseToolCalls } from '../../dist/esm/text/tool_calls.js'

describe('loose JSON', () => {
  const broken: [string, unknown][] = [
    ['{"a": 1,}', { a: 1 }],
    ['[1, 2,, 3]', [1, 2, 3]],
    ["{'a': 'it'}", { a: 'it' }],
    ['{a: "x", b: true}', { a: 'x', b: true }],
    ['{"a": True, "b": None, "c": False}', { a: true, b: null, c: false }],
    ['{“a”：“中文”，“b”：1}', { a: '中文', b: 1 }],
    ['```json\n{"a": 1}\n```', { a: 1 }],
    ['Here it is: {"a": 1}. Done', { a: 1 }],
    ['{"a": "line\nbreak\ttab"}', { a: 'line\nbreak\ttab' }],
    ['{"a": "the "best" one", "b": 2}', { a: 'the "best" one', b: 2 }],
    ['{"a": "x" "b": 1}', { a: 'x', b: 1 }],
    ['[{"a": 1} {"b": 2}]', [{ a: 1 }, { b: 2 }]],
    ['[{"a": {"b": "c"', [{ a: { b: 'c' } }]],
    ['[{"a": {"b": 1}]', [{ a: { b: 1 } }]],
    ['{"a": \\u4e2d}', { a: '\\u4e2d' }],
    ['{"a": "\\u4e2d\\q\\n", }', { a: '中q\n' }],
    ['{"a": hello world, "b": -1.5e3}', { a: 'hello world', b: -1500 }],
    ['{"a":}', { a: null }],
    ['{"__proto__": 1, }', Object.fromEntries([['__proto__', 1]])],
  ]
  test.each(broken)('mends %s', (text, value) => {
    const read = parseLooseJson(text)
    expect(read.value).toEqual(value)
    expect(read.repairs).not.toEqual([])
  })

  test('valid JSON is read as JSON reads it', () => {
    for (const text of ['{"a":[1,{"b":"c\\n\\u0041"}]}', '[]', '1', '"x"', ' null ']) {
      expect(parseLooseJson(text)).toEqual({ value: JSON.parse(text), repairs: [] })
    }
  })

  test('any prefix of a list of calls gives a value or a SyntaxError, and ends', () => {
    const text = '[{"name": "search", "arguments": {"query": "a \\"b\\" c", "n": [1, 2, {"x": null}]}}, {"name": \'b\'}]'
    for (let length = 0; length < text.length; ++length) {
      try {
        parseLooseJson(text.slice(0, length))
      } catch (error) {
        expect(error).toBeInstanceOf(SyntaxError)
      }
    }
  })

  test('random rubbish never hangs or throws anything else', () => {
    let seed = 3
    const random = (n: number) => (seed = (seed * 1103515245 + 12345) % 2 ** 31) % n
    const characters = '{}[]"\':,\\ntrue0.-［｛“” \n=;`中'
    for (let round = 0; round < 3000; ++round) {
      const text = Array.from({ length: random(30) }, () => characters[random(characters.length)]).join('')
      try {
        parseLooseJson(text)
      } catch (error) {
        expect(error, text).toBeInstanceOf(SyntaxError)
      }
    }
  })

  test('nesting is bounded', () => {
    expect(() => parseLooseJson(`${'['.repeat(100_000)}x`)).toThrow(SyntaxError)
    for (const [open, close] of [['[', ']'], ['{"function":', '}'], ['[{"name":"a","arguments":{"x":', '}}]']] as const) {
      const text = `${open.repeat(20_000)}1${close.repeat(20_000)}` // valid JSON
      expect(parseToolCalls(text)).toMatchObject([{ error: expect.stringContaining('nested more than 64 deep'), text }])
    }
  })
})

describe('tool calls', () => {
  const good: [string, unknown][] = [
    ['[{"name":"a","arguments":{"x":1}}]', [{ name: 'a', arguments: { x: 1 } }]],
    ['{"name":"a","arguments":{}}', [{ name: 'a', arguments: {} }]],
    ['[{"name":"a","parameters":{"x":1}},{"tool":"b","args":{}}]', [{ name: 'a', arguments: { x: 1 } }, { name: 'b', arguments: {} }]],
    ['[{"type":"function","function":{"name":"a","arguments":"{\\"x\\": 1}"}}]', [{ name: 'a', arguments: { x: 1 } }]],
    ['{"tool_calls":[{"name":"a"}]}', [{ name: 'a', arguments: {} }]],
    ['[{"name":"a","query":"q"}]', [{ name: 'a', arguments: { query: 'q' } }]],
    ['[{"function":"a","arguments":{"x":1}}]', [{ name: 'a', arguments: { x: 1 } }]],
    ["```json\n[{'name': 'a', 'arguments': {'x': None,}}]\n```", [{ name: 'a', arguments: { x: null } }]],
  ]
  test.each(good)('reads %s', (text, calls) => {
    expect(parseToolCalls(text)).toMatchObject(calls as object[])
  })

  test.each(['', 'search for it', '[]', '[1]', '[{"arguments":{}}]', '[{"name":"a","arguments":[1]}]', '{"name":7}'])(
    'says what is wrong with %j',
    (text) => {
      const [call] = parseToolCalls(text)
      expect(call).toMatchObject({ error: expect.any(String), text })
    },
  )
})
