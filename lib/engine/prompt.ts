/** From what a caller gave (messages, text or ids) to the ids the model reads. */
import type { NativeTokenizer, TextSegment } from '../native.js'
import type { ResolvedGenerateOptions } from '../option_schemas.js'
import type { ChatTemplate } from '../text/chat_template.js'
import { ensureSingleBos } from '../text/chat_template.js'

/** Texts up to this many UTF-16 units are encoded at once (well under a millisecond); longer ones on a thread of the pool. */
const encodeAtOnce = 8192

export async function promptTokens(
  options: ResolvedGenerateOptions,
  tokenizer: NativeTokenizer,
  template: (override: string | undefined) => ChatTemplate,
): Promise<Int32Array> {
  if (options.tokens !== undefined) return options.tokens
  const facts = tokenizer.facts()
  if (options.messages !== undefined) {
    const segments = template(options.chatTemplate).render(options.messages)
    return ensureSingleBos(await encodeSegments(tokenizer, segments), facts.bosId)
  }
  const ids = await encodeSegments(tokenizer, [{ text: options.prompt ?? '', special: options.parseSpecial }])
  return facts.addBos ? ensureSingleBos(ids, facts.bosId) : ids
}

export async function encodeSegments(tokenizer: NativeTokenizer, segments: readonly TextSegment[]): Promise<Int32Array> {
  const length = segments.reduce((sum, segment) => sum + segment.text.length, 0)
  return length <= encodeAtOnce ? tokenizer.encode(segments) : await tokenizer.encodeAsync(segments)
}
