/** Why a prompt was not found in the cache further than it was. */
import { createHash } from 'node:crypto'

import { contract } from '../native.js'

/**
 * `none`: all of it was there, but the last token, which is always computed. `never-seen`: nobody had computed it, or too long ago to
 * know. `evicted`: it was there and had to go. `partial`: everything computed before was reused, and what follows is new. `salt`: it is
 * there for requests without a tenant, which those of a tenant do not share. `template`: the same messages were last rendered with
 * another chat template.
 */
export type MissCause = 'none' | 'never-seen' | 'evicted' | 'salt' | 'partial' | 'template'

/** Where a prompt left the cache, and why. */
export interface CacheMiss {
  /** See `MissCause`. */
  cause: MissCause
  /** Of the prompt: the first token that was not found. The prompt's length when all was. */
  index: number
  /** The token there; absent at the end. */
  token?: number
  /** That token's text. */
  text?: string
  /** What the closest cached content has there instead; absent where it has nothing. */
  indexed?: number
  /** That token's text. */
  indexedText?: string
}

/** Those of a miss record after `sequence`. */
export type MissFields = readonly [cause: number, index: number, token: number, indexed: number]

export function cacheMiss(
  fields: MissFields,
  templateChanged: boolean,
  piece: (id: number) => string,
): CacheMiss {
  const [cause, index, token, indexed] = fields
  const name = contract.missCauses[cause]!
  return {
    cause: name === 'never-seen' && templateChanged ? 'template' : name,
    index,
    ...(token >= 0 && { token, text: piece(token) }),
    ...(indexed >= 0 && { indexed, indexedText: piece(indexed) }),
  }
}

/** Remembers which template chats were rendered with last, by tenant and first message. */
export class TemplateMemory {
  readonly #last = new Map<string, string | undefined>()
  readonly #kept = 1024

  /** Whether a chat that begins so was last rendered with another template. `source`: undefined for the model's own. */
  changed(tenant: string, first: { role: string; content: unknown } | undefined, source: string | undefined): boolean {
    if (first === undefined) return false
    const key = createHash('sha1').update(JSON.stringify([tenant, first.role, first.content])).digest('base64')
    const changed = this.#last.has(key) && this.#last.get(key) !== source
    this.#last.delete(key)
    this.#last.set(key, source)
    if (this.#last.size > this.#kept) this.#last.delete(this.#last.keys().next().value!)
    return changed
  }
}
