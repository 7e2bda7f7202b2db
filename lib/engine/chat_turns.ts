/**
 * What to write when a chat goes on: the text of the new messages alone, such that everything written so far plus this is what the
 * model's template makes of the whole chat.
 *
 * How it is found. The template is rendered with the messages so far and again with the new ones behind them; the first rendering
 * must be a prefix of the second (*prefix-stable*), and the rest is the new part. Where the last message is an answer of the model,
 * its tokens are in the session already, exactly as generated, and are never rendered again: a stand-in that no text contains takes
 * the place of every answer, and the new part is what follows the last stand-in, which is the end of the answer's turn and what comes
 * behind it. An end marker that the model itself has produced is not written twice.
 *
 * A template that shows earlier messages differently once later ones follow cannot be used so: ERR_CHAT_TEMPLATE, with the place.
 * (One that strips the thinking of earlier answers is fine: the session keeps those tokens, as it keeps all.)
 *
 * Most templates write each message by itself. Where that can be proven (local_template.ts), the new part is put together from the
 * template's own texts around a message, which are found once, and a turn costs the same however long the chat is. Otherwise:
 *
 * Cost: texts longer than `shortened` enter later renderings by their first and last characters alone, so a chat's history costs its
 * number of messages, not its length. Templates look at how a message begins or ends at most.
 */
import { randomUUID } from 'node:crypto'

import { AgentInferError } from '../errors.js'
import type { TextSegment } from '../native.js'
import { trustedByDefault } from '../text/chat_template.js'
import type { ChatMessage, ChatTemplate } from '../text/chat_template.js'

/** UTF-16 units of each end that stay of a long earlier text. */
const shortened = 96

interface Answer {
  /** Text of the end marker that the model produced; empty: the turn is still open. */
  ended: string
}

/** A place in a chat, between two turns. */
export interface TurnsMark {
  /** Messages and answers before it. */
  readonly turns: number
  /** Of the answer before it; undefined: no answer. */
  readonly ended: string | undefined
}

export class ChatTurns {
  readonly #template: () => ChatTemplate
  /** End markers of the model: an answer that ended with one of them does not get another. */
  readonly #ends: ReadonlySet<string>
  #standIn = `answer ${randomUUID()}`
  /** All turns so far; answers by their stand-in, long texts shortened. */
  #turns: ChatMessage[] = []
  /** The rendering of `#turns` up to the last message that is not an answer; undefined: not made yet. */
  #rendered: string | undefined = ''
  #settled = 0
  /** Set when the last turn is an answer. */
  #answer: Answer | undefined

  /** `template` is asked for when first needed: it throws ERR_CHAT_TEMPLATE where there is none. */
  constructor(template: () => ChatTemplate, ends: Iterable<string> = []) {
    this.#template = template
    this.#ends = new Set(ends)
  }

  /** Whether any message was ever added. */
  get used(): boolean {
    return this.#turns.length > 0
  }

  /** The last turn is an answer that can go on. */
  get open(): boolean {
    return this.#answer?.ended === ''
  }

  /** The place behind the last turn. It stays valid: turns only come behind it. */
  mark(): TurnsMark {
    return { turns: this.#turns.length, ended: this.#answer?.ended }
  }

  /** The chat as it was at a mark of this chat, or of one that it was copied from. */
  at(mark: TurnsMark): ChatTurns {
    const other = new ChatTurns(this.#template, this.#ends)
    other.#standIn = this.#standIn
    other.#turns = this.#turns.slice(0, mark.turns)
    other.#settled = mark.ended === undefined ? mark.turns : mark.turns - 1
    other.#rendered = mark.turns === 0 ? '' : undefined
    other.#answer = mark.ended === undefined ? undefined : { ended: mark.ended }
    return other
  }

  copy(): ChatTurns {
    const other = new ChatTurns(this.#template, this.#ends)
    other.#standIn = this.#standIn
    other.#turns = this.#turns.slice()
    other.#rendered = this.#rendered
    other.#settled = this.#settled
    other.#answer = this.#answer === undefined ? undefined : { ...this.#answer }
    return other
  }

  /** The text that adds these messages. @throws {AgentInferError} ERR_CHAT_TEMPLATE; nothing has changed then. */
  append(messages: readonly ChatMessage[]): TextSegment[] {
    const segments = this.#following(messages, false)
    const short = messages.map(shorten)
    this.#turns.push(...short)
    this.#settled = this.#turns.length
    this.#rendered = undefined
    this.#answer = undefined
    return segments
  }

  /** The text that begins an answer. Changes nothing. @throws as `append`. */
  prompt(): TextSegment[] {
    return this.#following([], true)
  }

  /** The model has written: a new answer, or more of the open one. `ended`: text of the end token it produced, '' for none. */
  answered(ended: string): void {
    if (this.open) {
      this.#answer = { ended }
      return
    }
    this.#turns.push({ role: 'assistant', content: this.#standIn })
    this.#answer = { ended }
  }

  #following(messages: readonly ChatMessage[], addGenerationPrompt: boolean): TextSegment[] {
    const template = this.#template()
    const together = this.#putTogether(template, messages, addGenerationPrompt)
    if (together !== undefined) return together
    const before = (this.#rendered ??= textOf(template.render(this.#turns.slice(0, this.#settled), { addGenerationPrompt: false })))
    const segments = template.render([...this.#turns, ...messages], { addGenerationPrompt })
    const text = textOf(segments)
    assertStable(before, text)
    if (this.#answer === undefined) return cut(segments, before.length)
    const at = text.lastIndexOf(this.#standIn)
    if (at < 0) {
      throw new AgentInferError(
        'ERR_CHAT_TEMPLATE',
        'the chat template does not print the content of an earlier answer, so a session cannot go on behind it: ' +
          'use a template that prints every message',
      )
    }
    return cut(segments, this.#behindEnd(text, at + this.#standIn.length, this.#answer.ended))
  }

  /** The same without rendering, where the template writes each message by itself. */
  #putTogether(template: ChatTemplate, messages: readonly ChatMessage[], addGenerationPrompt: boolean): TextSegment[] | undefined {
    const first = this.#turns[0]?.role
    const last = this.#turns.at(-1)?.role
    if (first === undefined || last === undefined) return undefined
    const behind = template.affixes(first, last)
    // Of an answer, everything up to the end of its content is in the session.
    if (behind === undefined || (this.#answer !== undefined && behind.parts.length !== 2)) return undefined
    const result: TextSegment[] = []
    // Neighbours of the same trust are one text.
    const add = (text: string, special: boolean): void => {
      const before = result.at(-1)
      if (before?.special === special) result[result.length - 1] = { text: before.text + text, special }
      else if (text !== '') result.push({ text, special })
    }
    if (this.#answer !== undefined) add(behind.parts[1]!, true)
    for (const { role, content } of messages) {
      const affixes = template.affixes(first, role)
      if (affixes === undefined || typeof content !== 'string') return undefined
      for (const [index, text] of affixes.parts.entries()) {
        if (index > 0) add(content, trustedByDefault(role))
        add(text, true)
      }
    }
    if (addGenerationPrompt) add(behind.prompt, true)
    return cut(result, this.#answer === undefined ? 0 : this.#behindEnd(textOf(result), 0, this.#answer.ended))
  }

  /** Where the text goes on behind an answer whose end marker is in the session already. */
  #behindEnd(text: string, from: number, ended: string): number {
    if (ended === '') return from
    const rest = text.slice(from)
    const start = rest.length - rest.trimStart().length
    const marker = [ended, ...(this.#ends.has(ended) ? this.#ends : [])].find((end) => end !== '' && rest.startsWith(end, start))
    return marker === undefined ? from : from + start + marker.length
  }
}

function textOf(segments: readonly TextSegment[]): string {
  return segments.map((segment) => segment.text).join('')
}

/** Without the first `length` units. */
function cut(segments: readonly TextSegment[], length: number): TextSegment[] {
  const rest: TextSegment[] = []
  for (const segment of segments) {
    if (segment.text.length > length) rest.push({ text: segment.text.slice(length), special: segment.special })
    length = Math.max(0, length - segment.text.length)
  }
  return rest
}

function assertStable(before: string, after: string): void {
  if (after.startsWith(before)) return
  let at = 0
  while (before[at] === after[at]) ++at
  const show = (text: string): string => JSON.stringify(text.slice(Math.max(0, at - 20), at + 20))
  throw new AgentInferError(
    'ERR_CHAT_TEMPLATE',
    'the chat template renders earlier messages differently once later ones follow, so a session cannot append to them: at character ' +
      `${at}, ${show(before)} became ${show(after)}; use a template that only adds, or generate with messages instead of a session`,
    { details: { at, before: before.slice(at, at + 80), after: after.slice(at, at + 80) } },
  )
}

function shorten(message: ChatMessage): ChatMessage {
  const { content } = message
  if (typeof content !== 'string' || content.length <= 4 * shortened) return message
  return { ...message, content: `${content.slice(0, shortened)} … ${content.slice(-shortened)}` }
}
