import { describe, expect, test } from 'vitest'

import { namedMarkers, OutputParser, parseOutput } from '../../dist/esm/text/output_parser.js'
import type { OutputEvent } from '../../dist/esm/text/output_parser.js'

const outputs = [
  '',
  'plain text',
  '[unused16]think[unused17]answer',
  '[unused16][unused17]fast answer',
  'I will search.[unused11][{"name": "search", "arguments": {"query": "小米 创始人"}}][unused12]',
  '[unused16]a [unu b[unused17]t[unused11][{"name":"a","arguments":{}}][unused12][unused11][{"name":"b","arguments":{"x":1}}][unused12] end',
  'thinking without its start[unused17]answer[unused1',
  '[unused16]never closed [unused',
  '[unused16]calls out of thinking [unused11][{"name":"a","arguments":{}}][unused12] and after',
  '[unused12][unused17][unused16][unused16]x[unused17][unused17]',
  '[unused11][{"name":"a","argum',
  '[unused11]not json[unused12]text[unused11]',
  'text [unused16[unused16]]t[[unused17]u[unused11 [unused10] [unused11] {"name":"q"} [unused12]',
]

/** Neighbouring events of one kind as one, as a reader joins them. */
function joined(events: readonly OutputEvent[]): unknown[] {
  const result: { kind: string; text?: string }[] = []
  for (const event of events) {
    const last = result.at(-1)
    if (event.kind !== 'thought' && event.kind !== 'calls' && last?.kind === event.kind) last.text += event.text
    else result.push({ ...event })
  }
  return result
}

function run(pieces: readonly string[], cut = false): { events: unknown[]; parts: unknown; parser: OutputParser } {
  const parser = new OutputParser()
  const events = pieces.flatMap((piece) => parser.push(piece))
  events.push(...parser.finish(cut))
  return { events: joined(events), parts: parser.parts, parser }
}

describe('output parser', () => {
  test.each(outputs)('cut at every position, and into single characters, it says the same: %s', (output) => {
    const whole = run([output])
    for (let at = 0; at <= output.length; ++at) {
      const cut = run([output.slice(0, at), output.slice(at)])
      expect({ events: cut.events, parts: cut.parts }).toEqual({ events: whole.events, parts: whole.parts })
    }
    const single = run(output.split(''))
    expect({ events: single.events, parts: single.parts }).toEqual({ events: whole.events, parts: whole.parts })
  })

  test.each(outputs)('the raw parts join to the output: %s', (output) => {
    expect(
      parseOutput(output)
        .map((part) => part.raw)
        .join(''),
    ).toBe(output)
  })

  test('random mixtures of markers and text, cut at random, say the same and lose nothing', () => {
    let seed = 7
    const random = (n: number) => (seed = (seed * 1103515245 + 12345) % 2 ** 31) % n
    const words = ['[unused16]', '[unused17]', '[unused11]', '[unused12]', '[unused', '1', '6]', 'text ', '[{"name":"a"}]', '中文', '\n']
    for (let round = 0; round < 500; ++round) {
      const output = Array.from({ length: random(12) }, () => words[random(words.length)]).join('')
      const pieces: string[] = []
      for (let at = 0; at < output.length; ) {
        const size = 1 + random(9)
        pieces.push(output.slice(at, at + size))
        at += size
      }
      const [whole, cut] = [run([output]), run(pieces)]
      expect(cut.events).toEqual(whole.events)
      expect(cut.parts).toEqual(whole.parts)
      expect(whole.parser.parts.map((part) => part.raw).join('')).toBe(output)
    }
  })

  test('text is held back only while it may become a marker', () => {
    const parser = new OutputParser()
    expect(parser.push('abc[unus')).toEqual([{ kind: 'text', text: 'abc' }])
    expect(parser.push('ual')).toEqual([{ kind: 'text', text: '[unusual' }])
    expect(parser.push('[unused1')).toEqual([])
    expect(parser.push('6]t')).toEqual([{ kind: 'thinking', text: 't' }])
  })

  test('thinking, text and calls are told apart', () => {
    const parts = parseOutput(outputs[5]!)
    expect(parts.map((part) => [part.kind, part.text])).toEqual([
      ['thinking', 'a [unu b'],
      ['text', 't'],
      ['calls', '[{"name":"a","arguments":{}}]'],
      ['calls', '[{"name":"b","arguments":{"x":1}}]'],
      ['text', ' end'],
    ])
    expect(parts[3]?.calls).toEqual([{ name: 'b', arguments: { x: 1 }, repairs: [] }])
  })

  test('an end of thinking without its start makes the text before it thinking', () => {
    expect(run(['so far[unused17]answer']).events).toEqual([
      { kind: 'text', text: 'so far' },
      { kind: 'thought' },
      { kind: 'text', text: 'answer' },
    ])
    expect(parseOutput('so far[unused17]answer').map((part) => part.kind)).toEqual(['thinking', 'text'])
  })

  test('a call that a limit cut off is not mended into another call', () => {
    const cut = '[unused11][{"name":"delete","arguments":{"path":"/tmp/a'
    const [call] = parseOutput(cut, { cut: true })[0]!.calls!
    expect(call).toMatchObject({ error: 'the tool call was cut off before its end' })
    expect(parseOutput('[unused11][{"name":"a","arguments":{}}]', { cut: true })[0]!.calls).toEqual([{ name: 'a', arguments: {}, repairs: [] }])
  })

  test('a marker that is empty is none', () => {
    const parts = parseOutput('<think>t</think>a<call>{"name":"x"}', { markers: { ...namedMarkers, thinkStart: '', callStart: '<call>', callEnd: '' } })
    expect(parts.map(({ kind, text }) => [kind, text])).toEqual([['thinking', '<think>t'], ['text', 'a'], ['calls', '{"name":"x"}']])
  })

  test('other vocabularies', () => {
    const parts = parseOutput('<think>t</think>a<|tool_call_start|>[{"name":"x"}]<|tool_call_end|>', { markers: namedMarkers })
    expect(parts.map((part) => part.kind)).toEqual(['thinking', 'text', 'calls'])
  })
})
