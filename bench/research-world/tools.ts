/** The encyclopedia as tools of an agent, as slow as the web is: latencies are drawn per call from log-normal distributions. */
import { setTimeout as pause } from 'node:timers/promises'

import { defineTool } from 'agentinfer'
import type { Tool } from 'agentinfer'
import { z } from 'zod'

import { hashText, Random } from './random.js'
import { hitsText, noSuchPage, pageText } from './search.js'
import type { SearchHit, SearchIndex } from './search.js'
import type { World } from './world.js'

export interface Latency {
  /** Seconds. */
  readonly mean: number
  /** Standard deviation of the logarithm. */
  readonly spread: number
}

/** Means as in AgentInfer's Table 7 (arXiv 2512.18337): web search 3.27 s, crawling a page 10.37 s. */
export const webLatencies = { search: { mean: 3.27, spread: 0.4 }, open: { mean: 10.37, spread: 0.6 } } as const

export interface ToolsOptions {
  /** Of the latencies; two runs with the same seed and the same calls wait equally long. */
  readonly seed: number
  /** Latencies are multiplied by it; 0: none. Default 1. */
  readonly timeScale?: number
  readonly latencies?: { readonly search: Latency; readonly open: Latency }
  /** Results of a search at most. Default 4. */
  readonly results?: number
}

/** Milliseconds of one call: of its arguments alone, so it does not matter in which order calls are made. */
export function latencyOf({ mean, spread }: Latency, seed: number, call: string): number {
  return 1000 * mean * Math.exp(spread * new Random(hashText(`${seed} ${call}`)).normal() - spread ** 2 / 2)
}

export function worldTools(
  world: World,
  index: SearchIndex,
  options: ToolsOptions,
): { readonly search: Tool; readonly open: Tool } {
  const { seed, timeScale = 1, latencies = webLatencies, results = 4 } = options
  const wait = async (latency: Latency, call: string, signal: AbortSignal): Promise<void> => {
    const milliseconds = timeScale * latencyOf(latency, seed, call)
    if (milliseconds > 0) await pause(milliseconds, undefined, { signal })
  }
  const search = defineTool({
    name: 'search',
    description: 'Finds pages of the encyclopedia by their titles and first sentences.',
    parameters: z.object({ query: z.string().min(1) }),
    run: async ({ query }, { signal }) => {
      await wait(latencies.search, `search ${query}`, signal)
      return index.search(query, results)
    },
    render: (hits) => hitsText(hits),
    results: (hits) => (hits.length === 0 ? undefined : hits.map(({ title, snippet }: SearchHit) => ({ title, snippet }))),
  })
  const open = defineTool({
    name: 'open',
    description: 'The text of a page, by its title.',
    parameters: z.object({ title: z.string().min(1) }),
    run: async ({ title }, { signal }) => {
      await wait(latencies.open, `open ${title}`, signal)
      const text = pageText(world, title)
      if (text === noSuchPage) throw new Error(noSuchPage.replace('Error: ', ''))
      return text
    },
  })
  return { search, open }
}
