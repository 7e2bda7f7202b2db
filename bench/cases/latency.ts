/** One request at a time: how long the first token, each further one and the whole take, for prompts of several lengths. */
import { timed, addLatencies } from '../latencies.js'
import type { Latency } from '../latencies.js'
import { choice, numbers, option, targetOptions } from '../options.js'
import { Random } from '../random.js'
import type { Report } from '../report.js'
import { costsOf, decodeLimit, deviceLimits, openTarget } from '../target.js'

export const description = 'one request at a time: TTFT, TPOT, ITL and E2E for prompts of several lengths'
export const options = {
  ...targetOptions,
  rounds: option('10', 'requests of each length; one more warms up'),
  inputs: option('32,128,512,1024', 'tokens of the prompts'),
  output: option('32', 'tokens of each output'),
  speculation: choice('off', ['on', 'off'], 'drafts: on or off'),
} as const

type Values = Record<keyof typeof options, string>

export async function run(report: Report, values: Values): Promise<void> {
  const [rounds, output, lengths] = [Number(values.rounds), Number(values.output), numbers('inputs', values.inputs, 'whole')]
  const longest = Math.max(...lengths)
  const engine = await openTarget(report, values, { maxContext: longest + output + 16, kvTokens: 4 * (longest + output + 256) })
  const random = new Random(Date.now())
  const speculation = values.speculation === 'off' ? 'off' : 'auto'
  const found = new Map(lengths.map((length): [number, Latency[]] => [length, []]))
  // The first round warms up and is thrown away; lengths take turns, and no prompt comes twice.
  for (let round = -1; round < rounds; ++round) {
    for (const [length, samples] of found) {
      report.progress(`prompts of ${length}, round ${round + 1} of ${rounds}`)
      const tokens = random.tokens(length, engine.info.config.vocabSize)
      const start = performance.now()
      const one = await timed(engine.generate({ tokens, maxTokens: output, ignoreEos: true, sampling: { temperature: 0 }, speculation }), start)
      if (round >= 0) samples.push(one)
    }
  }
  const limits = await deviceLimits(engine.info, values.weights)
  const each = 1000 / decodeLimit(engine.info, limits, 1)
  for (const [length, samples] of found) {
    const reading = Math.max(each, (1000 * length * costsOf(engine.info).operations) / limits.operationsPerSecond)
    const drafted = speculation === 'auto' ? {} : { TPOT: { limit: each, note: limits.note } }
    addLatencies(report, `prompt of ${length}`, samples, { x: length, xTitle: 'tokens of the prompt' }, { TTFT: { limit: reading, note: limits.note }, ...drafted })
  }
  await engine.close()
}
