/** Words of a text for ranking and comparing: lower-case words and numbers, and pairs of neighbouring characters where words are not spaced. */

const unspaced = '\\u3040-\\u30ff\\u3400-\\u4dbf\\u4e00-\\u9fff\\uac00-\\ud7af'
const runs = new RegExp(`[${unspaced}]+|[\\p{L}\\p{N}]+`, 'gu')
const unspacedRun = new RegExp(`^[${unspaced}]`, 'u')
const mixed = new RegExp(`[${unspaced}]+|[^${unspaced}]+`, 'gu')
const stop = new Set(
  'a an and are as at be by did do does for from had has have how in is it its of on or that the their this to was were what when where which who whose why will with'.split(' '),
)

/** In order of the text; words that are in every text are left out. */
export function terms(text: string): string[] {
  const found: string[] = []
  for (const [run] of text.toLowerCase().matchAll(runs)) {
    for (const [part] of run.matchAll(mixed)) {
      if (unspacedRun.test(part)) pairs(part, found)
      else if (!stop.has(part)) found.push(part)
    }
  }
  return found
}

function pairs(run: string, into: string[]): void {
  const characters = Array.from(run)
  if (characters.length === 1) into.push(run)
  for (let i = 0; i + 1 < characters.length; ++i) into.push(characters[i]! + characters[i + 1]!)
}

/** How alike two texts are, by their n-grams: shared ones over those of the longer text, 0..1. */
export function shareOf(left: ReadonlySet<string>, right: ReadonlySet<string>): number {
  if (left.size === 0 || right.size === 0) return 0
  let shared = 0
  for (const gram of left) if (right.has(gram)) ++shared
  return shared / Math.max(left.size, right.size)
}

/** The n-grams of a text's terms; a text shorter than n is one. */
export function grams(text: string, n = 2): Set<string> {
  const words = terms(text)
  if (words.length === 0) return new Set()
  if (words.length < n) return new Set([words.join(' ')])
  return new Set(words.slice(0, words.length - n + 1).map((_, i) => words.slice(i, i + n).join(' ')))
}

const address = /\b(?:https?|ftp|file):\/\/[^\s"'<>()[\]{}，。；、]+/g
const names = /\p{Lu}[\p{L}\p{N}]+(?:[ -]\p{Lu}[\p{L}\p{N}]+)*|\b\d[\d.,:/-]*\d\b|《[^》]{1,60}》|“[^”]{1,60}”|"[^"\n]{2,60}"/gu

/** Addresses, and things that look like names: capitalised words, numbers, quoted titles. Cheap and language-blind on purpose. */
export function mentions(text: string): { sources: Set<string>; entities: Set<string> } {
  const sources = new Set<string>()
  const entities = new Set<string>()
  // A run of these is looked at once, not from each of its places: tools return what they like.
  for (const [found] of text.matchAll(address)) sources.add(found.replace(/(?<![.,;:!?])[.,;:!?]+$/, ''))
  for (const [found] of text.replaceAll(address, ' ').matchAll(names)) entities.add(found)
  return { sources, entities }
}
