// What a session writes when its chat goes on, for templates of several families. No addon.
import { describe, expect, test } from 'vitest'

import { ChatTurns } from '../../lib/engine/chat_turns.js'
import { ChatTemplate, openPanguTemplate } from '../../lib/text/chat_template.js'
import type { ChatMessage } from '../../lib/text/chat_template.js'

const chatml = `{% for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}`
// Thinking stays in the last answer alone, and an answer that is last gets an empty block of it.
const qwen3 = `{%- for m in messages %}
{%- if m.role == 'assistant' %}
{%- set content = m.content.split('</think>')[-1] %}
{{- '<|im_start|>assistant\\n' }}{% if loop.last %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}{{ content + '<|im_end|>\\n' }}
{%- else %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}`
const llama2 = `{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content | trim }} [/INST]{% else %} {{ m.content | trim }} </s>{% endif %}{% endfor %}`

const text = (segments: readonly { text: string }[]): string => segments.map((segment) => segment.text).join('')
const ends: Record<string, string> = { pangu: '[unused10]', chatml: '<|im_end|>', qwen3: '<|im_end|>', llama2: '</s>' }
const templates: Record<string, string> = { pangu: openPanguTemplate, chatml, qwen3, llama2 }
const turnsOf = (name: string): ChatTurns => {
  const template = new ChatTemplate(templates[name]!)
  return new ChatTurns(() => template, [ends[name]!])
}

describe.each(Object.keys(templates))('%s', (name) => {
  // The text of a session that generated `answers` is that of the whole chat.
  test.each(['ended', 'cut off'])('turn by turn gives the text of the whole chat, answers %s', (how) => {
    const turns = turnsOf(name)
    const messages: ChatMessage[] = []
    let session = ''
    for (let turn = 0; turn < 5; ++turn) {
      const user = { role: 'user', content: turn % 2 === 0 ? `question ${turn}` : 'long '.repeat(400) + turn }
      messages.push(user)
      session += text(turns.append([user]))
      session += text(turns.prompt())
      const answer = `answer ${turn}`
      // What comes between the beginning of a turn and the answer is the model's to write.
      session += (name === 'llama2' ? ' ' : '') + answer + (how === 'ended' ? (name === 'llama2' ? ' ' : '') + ends[name]! : '')
      turns.answered(how === 'ended' ? ends[name]! : '')
      expect(turns.open).toBe(how !== 'ended')
      messages.push({ role: 'assistant', content: answer })
    }
    const last = { role: 'user', content: 'the last' }
    session += text(turns.append([last]))
    session += text(turns.prompt())
    expect(session).toBe(text(new ChatTemplate(templates[name]!).render([...messages, last])))
  })
})

test('several messages at once, answers in a row, and a user who writes markers', () => {
  const turns = turnsOf('pangu')
  const template = new ChatTemplate(openPanguTemplate)
  const first = [
    { role: 'system', content: 'S' },
    { role: 'user', content: '[unused10]' },
  ]
  expect(turns.append(first)).toEqual(template.render(first, { addGenerationPrompt: false }))
  expect(text(turns.prompt())).toBe('[unused9]助手：')
  turns.answered('[unused10]')
  expect(text(turns.prompt())).toBe('[unused9]助手：')
  turns.answered('')
  const segments = turns.append([
    { role: 'tool', content: 'a[unused9]' },
    { role: 'tool', content: 'b' },
  ])
  expect(segments).toEqual([
    { text: '[unused10][unused9]工具：', special: true },
    { text: 'a[unused9]', special: false },
    { text: '[unused10][unused9]工具：', special: true },
    { text: 'b', special: false },
    { text: '[unused10]', special: true },
  ])
})

test('an answer ended by another of the model\'s end markers gets no second one', () => {
  const template = new ChatTemplate(chatml)
  const turns = new ChatTurns(() => template, ['<|im_end|>', '<|endoftext|>'])
  turns.append([{ role: 'user', content: 'x' }])
  turns.answered('<|endoftext|>')
  expect(text(turns.append([{ role: 'user', content: 'y' }]))).toBe('\n<|im_start|>user\ny<|im_end|>\n')
})

test('a copy goes its own way', () => {
  const turns = turnsOf('chatml')
  turns.append([{ role: 'user', content: 'x' }])
  turns.answered('')
  const copy = turns.copy()
  turns.answered('<|im_end|>')
  expect(copy.open).toBe(true)
  expect(text(copy.append([{ role: 'user', content: 'y' }]))).toMatch(/^<\|im_end\|>/)
  expect(text(turns.append([{ role: 'user', content: 'y' }]))).toMatch(/^\n<\|im_start/)
})

test('a template that changes earlier messages is refused, with the place; nothing was added', () => {
  const template = new ChatTemplate(`{% for m in messages %}{{ loop.length - loop.index }}:{{ m.content }};{% endfor %}`)
  const turns = new ChatTurns(() => template)
  turns.append([{ role: 'user', content: 'x' }])
  const again = (): unknown => turns.append([{ role: 'user', content: 'y' }])
  expect(again).toThrow(expect.objectContaining({ code: 'ERR_CHAT_TEMPLATE', message: expect.stringContaining('at character 0') }))
  expect(again).toThrow('renders earlier messages differently')
})

test('a template that hides answers is refused', () => {
  const template = new ChatTemplate(`{% for m in messages %}{% if m.role == 'user' %}{{ m.content }};{% endif %}{% endfor %}`)
  const turns = new ChatTurns(() => template)
  turns.append([{ role: 'user', content: 'x' }])
  turns.answered('')
  expect(() => turns.append([{ role: 'user', content: 'y' }])).toThrow('does not print the content of an earlier answer')
})
