/**
 * Names that mean nothing, of two or three syllables. Every name belongs to one split by its hash, whatever the world's seed: a
 * model trained on one split has never met a name of another.
 */
import { hashText } from './random.js'
import type { Random } from './random.js'

/** `train`: for training data; `tune`: for choosing recipes and settings; `eval`: for reported results only. */
export type Split = 'train' | 'tune' | 'eval'

const onsets = ['B', 'D', 'F', 'G', 'H', 'J', 'K', 'L', 'M', 'N', 'P', 'R', 'S', 'T', 'V', 'Z'] as const
const rimes = ['al', 'en', 'or', 'ir', 'us', 'ey'] as const
const middles = ['ba', 'de', 'go', 'ki', 'la', 'mo', 'nu', 'pe', 'ri', 'sa', 'ti', 'vo'] as const
const ends = (
  'bal dan dor fen gar hul jan kas len lin mar mel mir mon nia pol ros sel tan tor van vel vik wyn zan ' +
  'beth dris goth holm krin lund noth'
).split(' ')

const firstSyllables: readonly string[] = onsets.flatMap((onset) => rimes.map((rime) => onset + rime))
const middleSyllables: readonly string[] = middles
export const lastSyllables: readonly string[] = ends

export function splitOf(name: string): Split {
  const part = hashText(name) % 20
  if (part < 14) return 'train'
  return part < 17 ? 'tune' : 'eval'
}

export class NameSource {
  readonly #random: Random
  readonly #split: Split
  readonly #taken = new Set<string>()

  constructor(random: Random, split: Split) {
    this.#random = random
    this.#split = split
  }

  /** A name of the split that this source has not given before. */
  next(): string {
    for (;;) {
      const middle = this.#random.chance(0.35) ? this.#random.pick(middleSyllables) : ''
      const name = this.#random.pick(firstSyllables) + middle + this.#random.pick(lastSyllables)
      if (this.#taken.has(name) || splitOf(name) !== this.#split) continue
      this.#taken.add(name)
      return name
    }
  }
}
