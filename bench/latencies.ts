/** Times of one generation as its reader sees them, and rows of their distribution. Milliseconds. */
import type { GenerationStream } from 'agentinfer'

import { Random } from './random.js'
import { median, quantile } from './report.js'
import type { Report, Row } from './report.js'

export interface Latency {
  /** To the first token. */
  readonly ttft: number
  /** Per token after the first, its mean. */
  readonly tpot: number
  /** Between two pieces of output. */
  readonly itl: readonly number[]
  /** To the last token. */
  readonly e2e: number
  readonly tokens: number
}

/** `start`: when it was asked for, on the clock of performance.now(). */
export async function timed(stream: GenerationStream, start: number): Promise<Latency> {
  let [first, last, tokens] = [0, 0, 0]
  const itl: number[] = []
  for await (const delta of stream) {
    const now = performance.now()
    if (tokens === 0) first = now
    else itl.push(now - last)
    last = now
    tokens += delta.tokens.length
  }
  return { ttft: first - start, tpot: tokens > 1 ? (last - first) / (tokens - 1) : 0, itl, e2e: last - start, tokens }
}

const statistics: readonly (readonly [string, (values: readonly number[]) => number])[] = [
  ['mean', (values) => values.reduce((sum, value) => sum + value, 0) / values.length],
  ['p50', median],
  ['p90', (values) => quantile(values, 0.9)],
  ['p99', (values) => quantile(values, 0.99)],
]

/** What one metric's rows say beyond their figure: a limit, a note. */
export type Extra = Partial<Record<'TTFT' | 'TPOT' | 'ITL' | 'E2E', Pick<Row, 'limit' | 'note'>>>

/** How often requests are drawn again, for the spread of a statistic. */
const draws = 200

/**
 * Where 95 % of a statistic lie when as many requests are drawn again from those there were, from a fixed seed: what chance alone may move
 * it by. Requests that waited for one another are more alike than that, so under load it is rather too narrow.
 */
function spreadOf(each: readonly (readonly number[])[], of: (values: readonly number[]) => number): readonly [number, number] {
  const random = new Random(1)
  const found = Array.from({ length: draws }, () => of(each.flatMap(() => each[random.integer(0, each.length - 1)]!)))
  return [quantile(found, 0.025), quantile(found, 0.975)]
}

/** Mean, p50, p90 and p99 of each with their spread; `at`: the place on the x axis of the plots. */
export function addLatencies(report: Report, name: string, all: readonly Latency[], at: { readonly x: number; readonly xTitle: string }, extra: Extra = {}): void {
  const metrics = {
    TTFT: all.map(({ ttft }) => [ttft]),
    TPOT: all.filter(({ tokens }) => tokens > 1).map(({ tpot }) => [tpot]),
    ITL: all.map(({ itl }) => itl).filter((gaps) => gaps.length > 0),
    E2E: all.map(({ e2e }) => [e2e]),
  }
  for (const [metric, each] of Object.entries(metrics)) {
    if (each.length === 0) continue
    for (const [statistic, of] of statistics)
      report.add({
        name: `${name}: ${metric} ${statistic}`, value: of(each.flat()), spread: spreadOf(each, of), unit: 'ms', better: 'lower',
        plot: { title: `${metric}, ms`, ...at, line: statistic }, ...extra[metric as keyof Extra],
      })
  }
}
