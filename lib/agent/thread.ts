/** A session that follows a transcript: it has some first messages of it, and knows where each group of them ends. */
import type { SessionMark } from '../engine/session.js'
import type { AgentSession } from './host.js'
import type { TranscriptMessage } from './transcript.js'

/** Behind the first `count` messages. */
interface Border {
  readonly count: number
  readonly mark: SessionMark
}

/** Messages that were added together: an answer, or all that came between two answers. */
export interface ThreadPiece {
  /** Messages [from, to). */
  readonly from: number
  readonly to: number
  readonly tokens: number
}

export class Thread {
  readonly session: AgentSession
  readonly #open: () => AgentSession
  readonly #keys: string[]
  readonly #borders: Border[]
  #queue: Promise<unknown> = Promise.resolve()
  #asked = 0
  #released = false

  /** `open` makes an empty session. */
  constructor(open: () => AgentSession, session = open(), keys: string[] = [], borders: Border[] = []) {
    this.#open = open
    this.session = session
    this.#keys = keys
    this.#borders = borders
  }

  /** Messages it has. */
  get count(): number {
    return this.#keys.length
  }

  /** Messages it has or is about to have: they can not be taken out of what it follows. */
  get asked(): number {
    return Math.max(this.#asked, this.#keys.length)
  }

  /** Tokens it has. */
  get length(): number {
    return this.session.length
  }

  get released(): boolean {
    return this.#released
  }

  /**
   * Adds those of the messages that it has not. Calls take turns.
   * @throws when they are not a continuation of what it has.
   */
  follow(messages: readonly TranscriptMessage[]): Promise<void> {
    this.#asked = messages.length
    const known = Math.max(0, this.#keys.length - 1)
    const done = this.#follow(messages.slice(known), known, this.#queue)
    this.#queue = done.catch(() => undefined)
    return done
  }

  /** The generation that has just ended wrote this message. */
  adopt(message: TranscriptMessage): void {
    this.#note([message])
  }

  pieces(): ThreadPiece[] {
    let [from, tokens] = [0, 0]
    return this.#borders.map(({ count, mark }) => {
      const piece = { from, to: count, tokens: mark.tokens - tokens }
      from = count
      tokens = mark.tokens
      return piece
    })
  }

  /** Another thread for these messages. It begins with what this one has of them, token by token; the rest is for `follow`. */
  branch(messages: readonly TranscriptMessage[]): Thread {
    let common = 0
    while (common < this.#keys.length && this.#keys[common] === messages[common]?.key) ++common
    const kept = this.#borders.findLastIndex(({ count }) => count <= common)
    const border = this.#borders[kept]
    if (border === undefined) return new Thread(this.#open)
    const session = this.session.fork({ at: border.mark })
    return new Thread(this.#open, session, this.#keys.slice(0, border.count), this.#borders.slice(0, kept + 1))
  }

  release(): void {
    this.#released = true
    this.session.release()
  }

  /** `wanted`: the messages from `from` on, the last known one and those behind it. */
  async #follow(wanted: readonly TranscriptMessage[], from: number, before: Promise<unknown>): Promise<void> {
    await before
    const known = this.#keys.length - from
    const last = wanted[known - 1]
    if (last !== undefined && last.key !== this.#keys.at(-1))
      throw new Error(`thread: message ${this.#keys.length - 1} is ${last.key}, it has ${this.#keys.at(-1)!}`)
    for (const group of groupsOf(wanted.slice(known))) {
      await this.session.append(group.map(({ role, content }) => ({ role, content })))
      this.#note(group)
    }
  }

  #note(group: readonly TranscriptMessage[]): void {
    for (const { key } of group) this.#keys.push(key)
    this.#borders.push({ count: this.#keys.length, mark: this.session.mark() })
  }
}

function groupsOf(messages: readonly TranscriptMessage[]): TranscriptMessage[][] {
  const groups: TranscriptMessage[][] = []
  for (const message of messages) {
    const last = groups.at(-1)
    if (last === undefined || message.role === 'assistant' || last[0]!.role === 'assistant') groups.push([message])
    else last.push(message)
  }
  return groups
}
