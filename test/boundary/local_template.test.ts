// Templates that write each message by itself: what is put together equals what is rendered. No addon.
import { describe, expect, test } from 'vitest'

import { ChatTurns } from '../../lib/engine/chat_turns.js'
import { ChatTemplate, openPanguTemplate } from '../../lib/text/chat_template.js'
import { defaultJinjaLimits } from '../../lib/text/jinja.js'

/** Own templates end, and a watchdog for each rendering takes most of the time. */
const unwatched = { ...defaultJinjaLimits, time: Infinity }

const official =
  "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<s>[unused9]系统：[unused10]' }}{% endif %}" +
  "{% if message['role'] == 'system' %}{{'<s>[unused9]系统：' + message['content'] + '[unused10]'}}{% endif %}" +
  "{% if message['role'] == 'user' %}{{'[unused9]用户：' + message['content'] + '[unused10]'}}{% endif %}" +
  "{% if message['role'] == 'assistant' %}{{'[unused9]助手：' + message['content'] + '[unused10]'}}{% endif %}" +
  "{% if message['role'] == 'tool' %}{{'[unused9]工具：' + message['content'] + '[unused10]'}}{% endif %}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '[unused9]助手：' }}{% endif %}"
const chatml = `{% for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}`
const tailed = `{% for m in messages %}{{ '|' + m.role + ':' + m.content + '|' }}{% endfor %}{% if add_generation_prompt %}|assistant:{% else %}{% endif %}`
const local: Record<string, { source: string; end: string }> = {
  ours: { source: openPanguTemplate, end: '[unused10]' },
  official: { source: official, end: '[unused10]' },
  chatml: { source: chatml, end: '<|im_end|>' },
  tailed: { source: tailed, end: '|' },
}

/** The same, but nothing can be proven of it. */
const opaque = (source: string): string => `{% set count = messages | length %}${source}`

function random(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return (state >>> 8) % below
  }
}

describe.each(Object.entries(local))('%s', (_, { source, end }) => {
  test('is known to write each message by itself', () => {
    expect(new ChatTemplate(source, {}, unwatched).affixes('user', 'user')).toBeDefined()
    expect(new ChatTemplate(opaque(source), {}, unwatched).affixes('user', 'user')).toBeUndefined()
  })

  test('random chats go on with the same text and the same trust as by rendering', () => {
    const texts = ['', ' ', '\n', end, `a ${end} b`, '[unused9]', 'plain', '{{ messages }}', 'long '.repeat(200)]
    for (let seed = 1; seed <= 8; ++seed) {
      const draw = random(seed)
      const [fast, slow] = [source, opaque(source)].map((one) => {
        const template = new ChatTemplate(one, {}, unwatched)
        return new ChatTurns(() => template, [end])
      })
      for (let turn = 0; turn < 4; ++turn) {
        const messages = Array.from({ length: 1 + draw(3) }, () => ({
          role: ['user', 'tool', 'assistant', 'system'][draw(4)]!,
          content: texts[draw(texts.length)]! + draw(10),
        }))
        const joined = (turns: ChatTurns, parts: 'append' | 'prompt'): string[] => {
          const segments = parts === 'append' ? turns.append(messages) : turns.prompt()
          // Whose a space is makes no difference: no marker has one.
          const trust = segments.map(({ text, special }) => text.replaceAll(/\S/g, special ? '+' : '-')).join('')
          return [segments.map(({ text }) => text).join(''), trust.replaceAll(/\s/g, ' ')]
        }
        expect(joined(fast!, 'append'), `seed ${seed}`).toEqual(joined(slow!, 'append'))
        expect(joined(fast!, 'prompt'), `seed ${seed}`).toEqual(joined(slow!, 'prompt'))
        const ended = ['', end][draw(2)]!
        if (draw(3) > 0) for (const turns of [fast!, slow!]) turns.answered(ended)
      }
    }
  })

  test('a role that holds a marker does not write one', () => {
    const template = new ChatTemplate("{% for m in messages %}{{ '<s>' + m.role + ':' + m.content + '</s>' }}{% endfor %}")
    const turns = new ChatTurns(() => template)
    turns.append([{ role: 'user', content: 'a' }])
    expect(turns.append([{ role: 'user</s>', content: 'b' }])).toEqual([
      { text: '<s>', special: true },
      { text: 'user</s>', special: false },
      { text: ':', special: true },
      { text: 'b', special: false },
      { text: '</s>', special: true },
    ])
  })

  test('a role it refuses is refused', () => {
    const template = new ChatTemplate(openPanguTemplate)
    const turns = new ChatTurns(() => template)
    turns.append([{ role: 'user', content: 'a' }])
    expect(() => turns.append([{ role: 'nobody', content: 'b' }])).toThrow(/nobody/)
  })
})

describe('nothing is proven of', () => {
  const loop = (body: string): string => `{% for m in messages %}${body}{% endfor %}`
  test.each([
    ['the last message', loop('{% if loop.last %}!{% endif %}{{ m.content }}')],
    ['the place', loop('{{ loop.index }}{{ m.content }}')],
    ['a changed content', loop('{{ m.content | trim }}')],
    ['a method of the content', loop("{{ m.content.split('x')[0] }}")],
    ['a test of the content', loop("{% if m.content == 'x' %}y{% endif %}{{ m.content }}")],
    ['another field', loop('{{ m.content }}{{ m.name }}')],
    ['state in the loop', loop('{% set x = m.role %}{{ m.content }}')],
    ['other messages', loop('{{ messages[1].role }}{{ m.content }}')],
    ["the first message's content", loop('{{ messages[0].content }}{{ m.content }}')],
    ['part of the messages', '{% for m in messages[1:] %}{{ m.content }}{% endfor %}'],
    ['chosen messages', "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}"],
    ['a number of messages behind the loop', `${loop('{{ m.content }}')}{{ messages | length }}`],
    ['the time', `{{ strftime_now('%Y') }}${loop('{{ m.content }}')}`],
    ['two loops', loop('{{ m.content }}') + loop('{{ m.content }}')],
    ['no loop', '{{ messages[0].role }}'],
  ])('%s', (_, source) => {
    expect(new ChatTemplate(source, {}, unwatched).affixes('user', 'user')).toBeUndefined()
  })
})
