/**
 * What of an observation an agent gets to read: search results worth opening, passages of a long text worth their tokens. Scores are BM25
 * against the question and the plan, so deciding takes milliseconds; what is left out stays stored and can be asked for.
 */
import { Bm25 } from '../text/bm25.js'
import { terms } from '../text/terms.js'

/** A result of a search; what else it has goes along. */
export interface SearchResult {
  /** Its words count twice in the ranking. */
  readonly title?: string | undefined
  /** What the page says, in short; its words count once. */
  readonly snippet?: string | undefined
  /** Where it is; says nothing to the ranking. */
  readonly url?: string | undefined
  readonly [key: string]: unknown
}

/** What the agent looks for: terms of its question count in full, those of its latest plan by half. */
export function interest(question: string, plan = ''): Map<string, number> {
  const weights = new Map<string, number>()
  for (const term of terms(plan)) weights.set(term, 0.5)
  for (const term of terms(question)) weights.set(term, 1)
  return weights
}

export interface RankedResults {
  /** Indices into the results, best first. */
  readonly kept: readonly number[]
  readonly dropped: readonly number[]
  readonly scores: readonly number[]
}

/** Which search results stay in an observation. */
export interface RankOptions {
  /** Results that stay at least. Default: 3. */
  readonly min: number
  /** Results that stay at most. Default: 10. */
  readonly max: number
  /** Those below this share of the best score go, once `min` are kept. Default: 0.35. */
  readonly relative: number
}

export const defaultRank: RankOptions = { min: 3, max: 10, relative: 0.35 }

/** Near-duplicates of a better result count as below the share. `scores` replaces BM25, such as a model's probabilities. */
export function rankResults(
  results: readonly SearchResult[],
  query: ReadonlyMap<string, number>,
  options: RankOptions = defaultRank,
  given?: readonly number[],
): RankedResults {
  const texts = results.map((result) => `${result.title ?? ''} ${result.title ?? ''} ${result.snippet ?? ''}`)
  const scores = given ?? new Bm25(texts).scores(query)
  const order = results.map((_, index) => index).toSorted((a, b) => scores[b]! - scores[a]! || a - b)
  const best = scores[order[0] ?? 0] ?? 0
  const seen = new Set<string>()
  const kept: number[] = []
  const late: number[] = []
  for (const index of order) {
    const key = terms(texts[index]!).join(' ')
    const weak = seen.has(key) || scores[index]! < options.relative * best || (best > 0 && scores[index] === 0)
    seen.add(key)
    if (weak || kept.length >= options.max) late.push(index)
    else kept.push(index)
  }
  while (kept.length < Math.min(options.min, options.max) && late.length > 0) kept.push(late.shift()!)
  return { kept, dropped: late.toSorted((a, b) => a - b), scores }
}

/** Stretches of a text in order, of whole sentences unless one is longer than `longest`; consecutive stretches join to it. */
export function passages(text: string, length = 600, longest = length): string[] {
  const pieces = text.match(/[^\n.!?。！？；]*(?:[.!?。！？；]+["”’)]*\s*|\n+|$)/g) ?? []
  const result: string[] = []
  let current = ''
  for (const piece of pieces) {
    if (current !== '' && (current.length + piece.length > length || /\n\s*\n\s*$/.test(current))) {
      result.push(current)
      current = ''
    }
    for (let rest = piece; rest !== ''; rest = rest.slice(longest)) {
      if (rest.length <= longest) current += rest
      else result.push(rest.slice(0, longest))
    }
  }
  if (current !== '') result.push(current)
  return result
}

export interface CutText {
  readonly text: string
  /** Characters left out. */
  readonly omitted: number
}

/**
 * The passages that answer the query best, in their order, in about `characters`; the first one always, for what the text is. `gap` stands
 * where something was left out.
 */
export function cutText(text: string, query: ReadonlyMap<string, number>, characters: number, gap = '[…]'): CutText {
  if (text.length <= characters) return { text, omitted: 0 }
  const size = Math.max(40, Math.min(600, Math.floor(characters / 4)))
  const pieces = passages(text, size, Math.max(size, Math.min(200, Math.floor(characters / 2))))
  const scores = new Bm25(pieces).scores(query)
  const order = pieces.map((_, index) => index).toSorted((a, b) => scores[b]! - scores[a]! || a - b)
  const chosen = new Set<number>()
  let used = 0
  for (const index of [0, ...order]) {
    const cost = pieces[index]!.length + 5
    if (chosen.has(index) || used + cost > characters) continue
    chosen.add(index)
    used += cost
  }
  if (chosen.size === 0) return { text: text.slice(0, characters), omitted: text.length - characters }
  let [shown, last, kept] = ['', -1, 0]
  for (const index of [...chosen].toSorted((a, b) => a - b)) {
    if (index !== last + 1) shown = `${shown.trimEnd()} ${gap}${gap === '' ? '' : ' '}`
    shown += pieces[index]!
    kept += pieces[index]!.length
    last = index
  }
  if (last !== pieces.length - 1) shown = `${shown.trimEnd()} ${gap}`
  return { text: shown.trim(), omitted: text.length - kept }
}
