/**
 * A server's day: requests come at a rate, whether or not others are done (open loop), for several rates in turn. Chat turns: a beginning
 * that all share, a question of some length, an answer of some length.
 */
import type { Engine } from 'agentinfer'

import { addLatencies, timed } from '../latencies.js'
import type { Latency } from '../latencies.js'
import { amount, numbers, option, targetOptions, wrongOption } from '../options.js'
import { Random } from '../random.js'
import type { Report } from '../report.js'
import { openTarget } from '../target.js'

export const description = 'a sweep of request rates: TTFT, TPOT, ITL, E2E, and how many requests a second keep the goal'
export const options = {
  ...targetOptions,
  rates: option('', 'requests a second; default: --loads'),
  loads: option('0.25,0.5,0.75,1,1.25', 'rates as shares of what the machine does with all requests at once'),
  burstiness: amount('1', 'shape of the gamma distribution between arrivals: 1 is Poisson, less comes in bursts, more is steadier'),
  requests: option('200', 'at each rate'),
  shared: option('128', 'tokens of the beginning that all prompts share', 0),
  input: option('112', 'tokens of a question: the mean', 16),
  output: option('16-64', 'tokens of an answer: from-to'),
  slo: option('ttft=1000,tpot=100', 'a request is good when both hold, milliseconds'),
  'max-sequences': option('32', 'sequences in a step at most'),
  'max-batch-tokens': option('256', 'tokens computed in a step at most'),
  seed: option('', 'of arrivals and prompts; default: another each time', 0),
} as const

type Values = Record<keyof typeof options, string>

interface Goal {
  readonly ttft: number
  readonly tpot: number
}

function goalOf(slo: string): Goal {
  const [, ttft, tpot] = /^ttft=(\d+(?:\.\d+)?),tpot=(\d+(?:\.\d+)?)$/.exec(slo) ?? []
  if (tpot === undefined) throw wrongOption('slo', 'ttft=<ms>,tpot=<ms>', slo)
  return { ttft: Number(ttft), tpot: Number(tpot) }
}

/** Tokens of an answer: from, to. */
function lengthsOf(output: string): readonly [number, number] {
  const [from = NaN, to = from, ...others] = output.split('-').map(Number)
  if (!(Number.isSafeInteger(from) && Number.isSafeInteger(to) && from >= 1 && to >= from) || others.length > 0) throw wrongOption('output', 'tokens as from-to, such as 16-64', output)
  return [from, to]
}

/** The requests of a run, from a seed. */
class Workload {
  readonly #random: Random
  readonly #vocabulary: number
  readonly #system: readonly number[]
  readonly #longest: number
  readonly #input: number
  readonly #output: readonly [number, number]

  constructor(random: Random, vocabulary: number, values: Values) {
    this.#random = random
    this.#vocabulary = vocabulary
    this.#system = random.tokens(Number(values.shared), vocabulary)
    this.#input = Number(values.input)
    this.#longest = 5 * this.#input
    this.#output = lengthsOf(values.output)
  }

  next(): { tokens: number[]; maxTokens: number; ignoreEos: true; sampling: { temperature: 0 } } {
    const question = Math.min(this.#longest, Math.round(16 + Math.max(0, this.#input - 16) * this.#random.exponential()))
    return {
      tokens: [...this.#system, ...this.#random.tokens(question, this.#vocabulary)],
      maxTokens: this.#random.integer(...this.#output),
      ignoreEos: true,
      sampling: { temperature: 0 },
    }
  }

  /** Seconds to the next arrival. */
  gap(rate: number, burstiness: number): number {
    return this.#random.gamma(burstiness) / rate
  }
}

/** Requests a second when all are there at once. */
async function capacityOf(engine: Engine, workload: Workload, count: number): Promise<number> {
  const start = performance.now()
  await Promise.all(Array.from({ length: count }, () => engine.generate({ ...workload.next(), tenant: 'capacity' }).response))
  return (1000 * count) / (performance.now() - start)
}

/** Until all are done; with the seconds that took. Each rate is a tenant of its own, so that none finds another's KV. */
async function openLoop(report: Report, engine: Engine, workload: Workload, rate: number, values: Values): Promise<[Latency[], number]> {
  const count = Number(values.requests)
  const start = performance.now()
  const pending: Promise<Latency>[] = []
  let at = 0
  for (let i = 0; i < count; ++i) {
    at += workload.gap(rate, Number(values.burstiness))
    const due = start + 1000 * at
    if (due > performance.now()) await new Promise((resolve) => setTimeout(resolve, due - performance.now()))
    report.progress(`${rate.toFixed(2)} requests a second: ${i + 1} of ${count}`)
    // From when it was due: a loop that is late must not flatter the engine.
    pending.push(timed(engine.generate({ ...workload.next(), tenant: `rate ${rate}` }), due))
  }
  const samples = await Promise.all(pending)
  return [samples, (performance.now() - start) / 1000]
}

export async function run(report: Report, values: Values): Promise<void> {
  const goal = goalOf(values.slo)
  const [rates, loads] = [values.rates === '' ? [] : numbers('rates', values.rates, 'any'), numbers('loads', values.loads, 'any')]
  const engine = await openTarget(report, values, {
    maxContext: Number(values.shared) + 5 * Number(values.input) + 16 + lengthsOf(values.output)[1],
    maxSequences: Number(values['max-sequences']),
    maxBatchTokens: Number(values['max-batch-tokens']),
  })
  const workload = new Workload(new Random(values.seed === '' ? Date.now() : Number(values.seed)), engine.info.config.vocabSize, values)
  report.progress('capacity, which also warms up')
  const count = Math.min(96, Number(values.requests))
  await capacityOf(engine, workload, Math.ceil(count / 4))
  const capacity = await capacityOf(engine, workload, count)
  report.add({ name: `capacity: ${count} requests at once`, value: capacity, unit: 'req/s', note: values.scheduler })
  const asked = rates.map((rate) => ({ rate, name: `${rate} req/s` }))
  const steps = asked.length > 0 ? asked : loads.map((load) => ({ rate: load * capacity, name: `load ${load}` }))
  for (const { rate, name } of steps) {
    const before = engine.stats().tokens
    const [samples, seconds] = await openLoop(report, engine, workload, rate, values)
    const after = engine.stats().tokens
    const x = { x: rate, xTitle: 'requests a second' }
    addLatencies(report, name, samples, x)
    const good = samples.filter(({ ttft, tpot }) => ttft <= goal.ttft && tpot <= goal.tpot).length
    const note = `${good} of ${samples.length} in ${seconds.toFixed(1)} s at ${rate.toFixed(2)} req/s; TTFT <= ${goal.ttft} ms and TPOT <= ${goal.tpot} ms`
    report.add({ name: `${name}: goodput`, value: good / seconds, unit: 'req/s', note, plot: { title: 'Goodput, requests a second', ...x, line: 'goodput' } })
    report.add({ name: `${name}: output`, value: samples.reduce((sum, { tokens }) => sum + tokens, 0) / seconds, unit: 'tok/s', plot: { title: 'Output, tokens a second', ...x, line: 'output' } })
    report.add({ name: `${name}: hit rate`, value: (100 * (after.cached - before.cached)) / Math.max(1, after.prompt - before.prompt), unit: '%' })
  }
  await engine.close()
}
