/** The encyclopedia's two services: BM25 over titles and abstracts, and pages by title. Pure; latencies are in tools.ts. */
import type { Page, World } from './world.js'

export interface SearchHit {
  readonly title: string
  readonly snippet: string
}

/** Okapi BM25 (k1 = 1.2, b = 0.75) with an inverted index; a title counts three times. */
export class SearchIndex {
  readonly #pages: readonly Page[]
  readonly #postings = new Map<string, Map<number, number>>()
  readonly #lengths: number[] = []
  readonly #meanLength: number

  constructor(world: World) {
    this.#pages = world.pages.filter((page) => page.listed)
    this.#pages.forEach((page, index) => {
      const words = [...wordsOf(`${page.title} ${page.title} ${page.title}`), ...wordsOf(page.abstract)]
      this.#lengths.push(words.length)
      for (const word of words) {
        const counts = this.#postings.get(word) ?? new Map<number, number>()
        counts.set(index, (counts.get(index) ?? 0) + 1)
        this.#postings.set(word, counts)
      }
    })
    this.#meanLength = this.#lengths.reduce((sum, length) => sum + length, 0) / Math.max(1, this.#lengths.length)
  }

  /** Best first; ties in the order of the pages. */
  search(query: string, limit = 4): SearchHit[] {
    const scores = new Map<number, number>()
    for (const word of new Set(wordsOf(query))) {
      const counts = this.#postings.get(word)
      if (counts === undefined) continue
      const idf = Math.log(1 + (this.#pages.length - counts.size + 0.5) / (counts.size + 0.5))
      for (const [index, count] of counts) {
        const length = this.#lengths[index]! / this.#meanLength
        scores.set(index, (scores.get(index) ?? 0) + (idf * count * 2.2) / (count + 1.2 * (0.25 + 0.75 * length)))
      }
    }
    const best = [...scores].toSorted((a, b) => b[1] - a[1] || a[0] - b[0]).slice(0, limit)
    return best.map(([index]) => ({ title: this.#pages[index]!.title, snippet: this.#pages[index]!.abstract }))
  }
}

const ignored = new Set(['a', 'the', 'of', 'is', 'and', 'at', 'in'])

function wordsOf(text: string): string[] {
  return (text.toLowerCase().match(/[a-z0-9]+/g) ?? []).filter((word) => !ignored.has(word))
}

export function hitsText(hits: readonly SearchHit[]): string {
  return hits.length === 0 ? 'No results.' : hits.map(({ title, snippet }) => `${title} | ${snippet}`).join('\n')
}

/** As the runtime shows the error of a tool. */
export const noSuchPage = 'Error: No such page.'

export function pageText(world: World, title: string): string {
  const page = world.page(title)
  return page === undefined ? noSuchPage : `${page.title}: ${page.abstract} ${page.body}`.trimEnd()
}
