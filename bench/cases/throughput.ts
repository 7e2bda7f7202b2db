/** How many tokens a second a model reads and writes, alone and with others, beside what the device allows. */
import type { Engine } from 'agentinfer'

import { numbers, option, targetOptions } from '../options.js'
import { Random } from '../random.js'
import { median } from '../report.js'
import type { Report } from '../report.js'
import { costsOf, decodeLimit, deviceLimits, openTarget } from '../target.js'

export const description = 'tokens a second of a model: prefill, and decoding with 1, 8 and 32 sequences'
export const options = {
  ...targetOptions,
  rounds: option('5', 'measured; one more warms up'),
  input: option('256', 'tokens of a prompt'),
  output: option('64', 'tokens of an output'),
  sequences: option('1,8,32', 'sequences at once'),
} as const

type Values = Record<keyof typeof options, string>

interface Samples {
  readonly prefill: number[]
  readonly decode: number[]
  /** Prompts and outputs, from the first call to the last token. */
  readonly all: number[]
}

/** Prompts are new each time, and outputs are not drafted: neither the prefix cache nor speculation is what is measured here. */
async function round(engine: Engine, random: Random, sequences: number, input: number, output: number): Promise<Record<keyof Samples, number>> {
  const { vocabSize } = engine.info.config
  const prompts = Array.from({ length: sequences }, () => random.tokens(input, vocabSize))
  const start = performance.now()
  const generation = { maxTokens: output, ignoreEos: true, sampling: { temperature: 0 }, speculation: 'off' } as const
  const responses = await Promise.all(prompts.map((tokens) => engine.generate({ tokens, ...generation }).response))
  const seconds = (performance.now() - start) / 1000
  // Of the sequence in the middle, from its first token on: the others run beside it.
  const decoding = median(responses.map(({ timings }) => timings.decode)) / 1000
  const reading = Math.max(...responses.map(({ timings }) => timings.queued + timings.prefill)) / 1000
  return {
    prefill: (sequences * input) / reading,
    decode: (sequences * (output - 1)) / decoding,
    all: (sequences * (input + output)) / seconds,
  }
}

export async function run(report: Report, values: Values): Promise<void> {
  const [rounds, input, output] = [Number(values.rounds), Number(values.input), Number(values.output)]
  const batches = numbers('sequences', values.sequences, 'whole')
  const most = Math.max(...batches)
  const engine = await openTarget(report, values, {
    maxContext: input + output + 16,
    kvTokens: most * (input + output + 256),
    maxSequences: most,
  })
  const random = new Random(Date.now())
  const samples = new Map(batches.map((sequences): [number, Samples] => [sequences, { prefill: [], decode: [], all: [] }]))
  const limits = []
  // The first round warms up and is thrown away.
  for (let at = -1; at < rounds; ++at) {
    for (const [sequences, kept] of samples) {
      report.progress(`${sequences} sequences, round ${at + 1} of ${rounds}`)
      const measured = await round(engine, random, sequences, input, output)
      if (at >= 0) for (const name of ['prefill', 'decode', 'all'] as const) kept[name].push(measured[name])
    }
    if (at >= 0) limits.push(await deviceLimits(engine.info, values.weights))
  }
  const limit = limits.toSorted((a, b) => a.bytesPerSecond - b.bytesPerSecond)[Math.floor(limits.length / 2)]!
  const unit = 'tok/s'
  const plot = (line: string, x: number): { title: string; xTitle: string; x: number; line: string } => ({ title: 'Tokens a second', xTitle: 'sequences', x, line })
  for (const [sequences, { prefill, decode, all }] of samples) {
    const many = sequences === 1 ? '1 sequence' : `${sequences} sequences`
    if (sequences === 1) report.addSamples({ name: `prefill of ${input}`, unit, limit: limit.operationsPerSecond / costsOf(engine.info).operations, note: limit.note }, prefill)
    report.addSamples({ name: `decode, ${many}`, unit, limit: decodeLimit(engine.info, limit, sequences), note: limit.note, plot: plot('decode', sequences) }, decode)
    report.addSamples({ name: `prompts and outputs, ${many}`, unit, plot: plot('prompts and outputs', sequences) }, all)
  }
  await engine.close()
}
