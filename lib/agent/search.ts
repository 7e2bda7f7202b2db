/**
 * Search whose filter nobody waits for. The paper's filter ranks results with a model for 5 to 10 s before the first page is opened
 * (arXiv 2512.18337, section 4). Here the pages that BM25 puts first are being fetched at once, while a small model scores all results
 * beside them; pages that lose are cancelled, pages that win are begun, and a scorer that is late or fails changes nothing.
 */
import { z } from 'zod'

import { onAbort } from '../engine/abort.js'
import { AgentInferError } from '../errors.js'
import { refuseUnknown } from '../option_schemas.js'
import { interest, rankResults } from '../policy/observe.js'
import type { SearchResult } from '../policy/observe.js'
import type { AgentEngine } from './host.js'
import { truth } from './progress.js'
import { withoutMarkers } from './prompt.js'
import { defineTool, messageOf } from './tools.js'
import type { Tool } from './tools.js'
import type { TokenLogprob } from '../engine/stream.js'

/** A score for each result, higher is better; 0: not worth opening. */
export type Scorer = (query: string, results: readonly SearchResult[], context: { readonly signal: AbortSignal }) => Promise<readonly number[]>

/** Options of `searchTool`. */
export interface SearchToolOptions {
  /** What the model calls it. Default: `'search'`. */
  readonly name?: string
  /** For the model. Default: that it searches and gives the best results. */
  readonly description?: string
  /** Finds results, best first or in any order. */
  search(query: string, context: { readonly signal: AbortSignal }): readonly SearchResult[] | Promise<readonly SearchResult[]>
  /** Fetches a result's text. Default: nothing is fetched, the tool gives titles and snippets alone. */
  open?(result: SearchResult, context: { readonly signal: AbortSignal }): Promise<string>
  /** Results that are opened. Default: 3. */
  readonly top?: number
  /** Scores results beside BM25, such as `modelScorer(engine)`. Default: BM25 alone. */
  readonly scorer?: Scorer
  /** Seconds after which a call is given up, 24 days at most. Default: 60. */
  readonly timeout?: number
}

export interface OpenedResult extends SearchResult {
  readonly text?: string
}

/**
 * A search tool that opens the best results itself. They come first, with their text; a page that cannot be opened says why in its text.
 * @throws {AgentInferError} `ERR_INVALID_ARGUMENT` naming the option that is wrong or unknown.
 */
export function searchTool(options: SearchToolOptions): Tool {
  const { name = 'search', description = 'searches and gives the best results', timeout = 60, top = 3 } = options
  refuseUnknown(options, ['name', 'description', 'search', 'open', 'top', 'scorer', 'timeout'] satisfies (keyof SearchToolOptions)[], 'searchTool')
  const wrong = (key: string, expected: string, got: unknown) => new AgentInferError('ERR_INVALID_ARGUMENT', `searchTool: ${key}: expected ${expected}, got ${String(got)}`)
  if (!(Number.isInteger(top) && top >= 0)) throw wrong('top', 'an integer of at least 0', top)
  for (const key of ['search', 'open', 'scorer'] as const)
    if (typeof options[key] !== 'function' && (key === 'search' || options[key] !== undefined)) throw wrong(key, 'a function', typeof options[key])
  return defineTool({
    name,
    description,
    timeout,
    parameters: z.object({ query: z.string() }),
    run: async ({ query }, { signal }) => await searchAndOpen(query, options, signal),
  })
}

/** The best results first; the opened ones carry their text. A page that cannot be opened says why in its text. */
async function searchAndOpen(query: string, options: SearchToolOptions, signal: AbortSignal): Promise<OpenedResult[]> {
  const { top = 3, scorer } = options
  const opens = options.open !== undefined
  const results = await options.search(query, { signal })
  signal.throwIfAborted() // or pages would be fetched for nobody
  const rank = (scores?: readonly number[]): readonly number[] =>
    rankResults(results, interest(query), { min: Math.min(top, 1), max: Math.max(top, results.length), relative: 0 }, scores).kept
  let order = rank()
  if (!opens && scorer === undefined) return order.map((index) => results[index]!)
  const pages = new Pages(results, options, signal)
  try {
    pages.want(order.slice(0, top))
    if (scorer !== undefined && results.length > 1) {
      const scoring = new AbortController()
      const ignore = onAbort(signal, () => scoring.abort(signal.reason))
      const scores = (async () => await scorer(query, results, { signal: scoring.signal }))().catch(() => undefined)
      // With nothing to open the scores are all there is to wait for; otherwise the pages do not wait for them.
      const found = await (!opens ? scores : Promise.race([scores, pages.done()]))
      ignore()
      scoring.abort(new Error('the pages came first'))
      signal.throwIfAborted()
      if (found?.length === results.length) order = rank(found)
      pages.want(order.slice(0, top))
    }
    const texts = await pages.texts(order.slice(0, top))
    return order.map((index) => ({ ...results[index]!, ...(texts.has(index) && { text: texts.get(index)! }) }))
  } finally {
    pages.close()
  }
}

/** Pages being fetched. */
class Pages {
  readonly #results: readonly SearchResult[]
  readonly #options: SearchToolOptions
  readonly #signal: AbortSignal
  readonly #ignore: () => void
  readonly #fetches = new Map<number, { controller: AbortController; text: Promise<string> }>()

  constructor(results: readonly SearchResult[], options: SearchToolOptions, signal: AbortSignal) {
    this.#results = results
    this.#options = options
    this.#signal = signal
    this.#ignore = onAbort(signal, () => this.close())
  }

  /** These are fetched; others that are on their way are cancelled. */
  want(indices: readonly number[]): void {
    for (const [index, { controller }] of this.#fetches) {
      if (indices.includes(index)) continue
      controller.abort(new Error('another result is better'))
      this.#fetches.delete(index)
    }
    for (const index of indices) {
      if (this.#fetches.has(index)) continue
      const controller = new AbortController()
      if (this.#options.open === undefined) continue
      // Asynchronous, whatever it is: what it throws at once is said of its page, too.
      const text = (async () => await this.#options.open!(this.#results[index]!, { signal: controller.signal }))()
      this.#fetches.set(index, { controller, text: text.catch((error: unknown) => `Error: ${messageOf(error)}`) })
    }
  }

  async done(): Promise<undefined> {
    await Promise.all([...this.#fetches.values()].map(({ text }) => text))
  }

  async texts(indices: readonly number[]): Promise<Map<number, string>> {
    const texts = new Map<number, string>()
    for (const index of indices) {
      const fetch = this.#fetches.get(index)
      if (fetch !== undefined) texts.set(index, await fetch.text)
    }
    return texts
  }

  close(): void {
    this.#ignore()
    for (const { controller } of this.#fetches.values()) controller.abort(this.#signal.reason ?? new Error('done'))
    this.#fetches.clear()
  }
}

/** Options of `modelScorer`. */
export interface ModelScorerOptions {
  /** The system turn. Default: to judge whether a page is likely to help with the question. */
  readonly instructions?: string
  /** What the verdict begins with; TRUE or FALSE follows. Default: `'<value>'`. */
  readonly lead?: string
  /** Of its requests; higher goes first. Default: 0. */
  readonly priority?: number
  /** Requests of different tenants share no KV. Default: `''`. */
  readonly tenant?: string
  /** Probabilities below this count as 0. Default: 0.3. */
  readonly least?: number
}

const scorerInstructions = 'You judge search results. For each one, say whether its page is likely to help with the question: TRUE or FALSE.'

/** A small model's probability that a page helps, from its title and snippet: all results in one batch, a word each. */
export function modelScorer(engine: AgentEngine, options: ModelScorerOptions = {}): Scorer {
  const { instructions = scorerInstructions, lead = '<value>', priority = 0, tenant = '', least = 0.3, ...unknown } = options
  refuseUnknown(unknown, [], 'modelScorer')
  return async (query, results, { signal }) => {
    const messages = [
      { role: 'system', content: instructions },
      { role: 'user', content: query },
    ]
    const base = engine.session({ messages, tenant, priority, role: 'scorer' })
    try {
      return await Promise.all(
        results.map(async (result) => {
          const fork = base.fork()
          try {
            await fork.append([{ role: 'user', content: withoutMarkers(`${result.title ?? ''}\n${result.snippet ?? ''}`) }])
            const stream = fork.generate({ lead, append: false, maxTokens: 2, sampling: { temperature: 0, logprobs: 20 }, signal })
            const logprobs: TokenLogprob[] = []
            for await (const delta of stream) logprobs.push(...(delta.logprobs ?? []))
            await stream.response
            const probability = truth(logprobs, (ids) => engine.detokenize(ids)) ?? 0.5
            return probability < least ? 0 : probability
          } finally {
            fork.release()
          }
        }),
      )
    } finally {
      base.release()
    }
  }
}
