/**
 * node-llama-cpp beside us in one run: first that both have the same model (log probabilities of the same prompts), then eight agents
 * at once with the same turns, threads and tools. Turns are forced on both: each samples every token, and the trace's takes its place.
 * `npm --prefix bench/peer ci --ignore-scripts` installs it. Decode, prefill and batched decode side by side: `npm run bench -- engine`.
 */
import { AgentInferError, Engine } from 'agentinfer'

import { agentTraces } from '../draft/trace.js'
import type { AgentTrace } from '../draft/trace.js'
import { modelShapes, shapeName, shapedModel } from '../model_shapes.js'
import { ggufModel } from '../peer/gguf.js'
import { LlamaPeer, peerInstalled } from '../peer/llama.js'
import { numbers, option, parts } from '../options.js'
import { Random } from '../random.js'
import { median } from '../report.js'
import type { Report } from '../report.js'
import { describeModel } from '../target.js'

export const description = 'eight agents at once beside node-llama-cpp on the same weights, which is checked first'
export const options = {
  rounds: option('3', 'measured; one more warms up'),
  threads: option('2', 'of the CPU'),
  'peer-threads': option('1,2', 'of node-llama-cpp, in turn; it is compared by its best. They wait busily, so that fewer than cores may be faster'),
  shape: option('0.5b', 'random weights of this size: 0.5b, 20m, tiny'),
  weights: option('bf16,int8', 'one or both'),
  turns: option('2', 'of each agent'),
  said: option('48', 'tokens that a turn says at most'),
  observed: option('96', 'tokens that a turn reads at most'),
  latency: option('150', 'milliseconds a tool takes', 0),
  parts: option('logits,agents', 'what to run'),
} as const

type Values = Record<keyof typeof options, string>
type Weights = 'bf16' | 'int8'

const sessions = 8
const names = { bf16: 'node-llama-cpp BF16', int8: 'node-llama-cpp Q8_0' } as const
/** Largest difference of log probabilities that rounding explains; the two int8 formats round differently. */
const margins = { bf16: 0.1, int8: 0.5 } as const
const highest = 20

/** Ours report the highest alone; theirs all of them. Rows for what differs, and as a control for what another prompt would differ. */
async function compareLogits(report: Report, weights: Weights, engine: Engine, peer: LlamaPeer, vocabulary: number): Promise<void> {
  const random = new Random(17)
  const differences: number[] = []
  const others: number[] = []
  let shared = 0
  let before: readonly number[] | undefined
  const lengths = [1, 7, 33, 120, 250, 400]
  for (const length of lengths) {
    report.progress(`${weights}: log probabilities after ${length} tokens`)
    const tokens = random.tokens(length, vocabulary)
    const stream = engine.generate({ tokens, maxTokens: 1, ignoreEos: true, sampling: { temperature: 0, logprobs: highest } })
    const ours = []
    for await (const delta of stream) ours.push(...(delta.logprobs ?? []))
    const { top } = ours[0]!
    const theirs = await peer.logprobs(tokens)
    for (const { token, logprob } of top) {
      differences.push(Math.abs(logprob - theirs[token]!))
      if (before !== undefined) others.push(Math.abs(logprob - before[token]!))
    }
    const best = new Set(Array.from(theirs.entries()).toSorted(([, a], [, b]) => b - a).slice(0, highest).map(([token]) => token))
    shared += top.filter(({ token }) => best.has(token)).length
    before = theirs
  }
  const note = `the ${highest} most likely of ${lengths.length} prompts; median ${median(differences).toFixed(4)}, after another prompt ${median(others).toFixed(2)}`
  report.add({ name: `${weights}: log probabilities of both, largest difference`, value: Math.max(...differences), unit: 'nat', target: margins[weights], better: 'lower', note })
  report.add({ name: `${weights}: most likely tokens that both name`, value: (100 * shared) / (highest * lengths.length), unit: '%', target: weights === 'bf16' ? 90 : 60 })
}

/** Seconds until the last agent has ended. */
async function replay(engine: Engine, traces: readonly AgentTrace[], round: number, latency: number): Promise<number> {
  const start = performance.now()
  await Promise.all(
    traces.map(async ({ prompt, rounds, ...trace }) => {
      using session = engine.session({ tenant: `round ${round}`, run: trace.run, role: 'agent' })
      await session.append({ tokens: [...prompt] })
      for (const [index, { said, observed }] of rounds.entries()) {
        const forced = { temperature: 0, forced: [...said] }
        await session.generate({ maxTokens: said.length, ignoreEos: true, sampling: forced, speculation: { query: trace.query } }).response
        if (index === rounds.length - 1) return
        await new Promise((resolve) => setTimeout(resolve, latency))
        await session.append({ tokens: [...observed] })
      }
    }),
  )
  return (performance.now() - start) / 1000
}

export async function run(report: Report, values: Values): Promise<void> {
  if (!peerInstalled()) throw new AgentInferError('ERR_IO', 'node-llama-cpp is not installed: npm --prefix bench/peer ci --ignore-scripts')
  const shape = shapeName(values.shape)
  const [rounds, threads, turns] = [Number(values.rounds), Number(values.threads), Number(values.turns)]
  const { vocabSize } = modelShapes[shape]
  const [said, observed] = [Number(values.said), Number(values.observed)]
  const tracesOf = (round: number): AgentTrace[] =>
    agentTraces({ seed: 100 + round, runs: 2, agents: sessions / 2, rounds: turns, vocabulary: vocabSize }).map((trace) => ({
      ...trace,
      rounds: trace.rounds.map((one) => ({ said: one.said.slice(0, said), observed: one.observed.slice(0, observed) })),
    }))
  const longest = Math.max(...Array.from({ length: rounds + 1 }, (_, i) => tracesOf(i - 1)).flat().map(tokensOf)) + 64
  const wanted = parts('parts', values.parts, ['logits', 'agents'])
  for (const weights of parts<Weights>('weights', values.weights, ['bf16', 'int8'])) {
    const model = shapedModel(shape)
    const engine = await Engine.open({ model, weights, threads, maxContext: longest, kvTokens: 2 * sessions * longest })
    report.about({ [`model, ${weights}`]: describeModel(model, engine.info) })
    const gguf = ggufModel(shape, weights === 'bf16' ? 'bf16' : 'q8_0')
    const start = (count: number): Promise<LlamaPeer> => LlamaPeer.start({ gguf, threads: count, contextTokens: longest, sequences: sessions })
    if (wanted.has('logits')) {
      const first = await start(threads)
      await compareLogits(report, weights, engine, first, vocabSize)
      first.stop()
    }
    if (wanted.has('agents')) await compareAgents(report, { weights, engine, start, tracesOf, values })
    await engine.close()
  }
}

interface Contest {
  readonly weights: Weights
  readonly engine: Engine
  readonly start: (threads: number) => Promise<LlamaPeer>
  readonly tracesOf: (round: number) => AgentTrace[]
  readonly values: Values
}

/** The first round warms up, with one short agent, and is thrown away; then all take turns. One peer is open at a time: its threads wait busily. */
async function compareAgents(report: Report, { weights, engine, start, tracesOf, values }: Contest): Promise<void> {
  const [rounds, latency, counts] = [Number(values.rounds), Number(values.latency), numbers('peer-threads', values['peer-threads'], 'whole')]
  const ours: number[] = []
  const theirs = new Map(counts.map((count): [number, number[]] => [count, []]))
  for (let round = -1; round < rounds; ++round) {
    const all = tracesOf(round)
    const traces = round < 0 ? [{ ...all[0]!, prompt: all[0]!.prompt.slice(0, 64), rounds: all[0]!.rounds.slice(0, 1) }] : all
    const perMinute = (seconds: number): number => (60 * traces.length) / seconds
    report.progress(`${weights}, agents: round ${round + 1} of ${rounds}, ours`)
    const mine = perMinute(await replay(engine, traces, round, latency))
    if (round >= 0) ours.push(mine)
    for (const [count, rates] of theirs) {
      report.progress(`${weights}, agents: round ${round + 1} of ${rounds}, ${names[weights]}, ${count} threads`)
      const peer = await start(count)
      const other = perMinute((await peer.replay(traces, latency)) / 1000)
      peer.stop()
      if (round >= 0) rates.push(other)
    }
  }
  const { speculation, hitRate } = engine.stats()
  const what = `${sessions} agents of ${values.turns} turns`
  const note = `${(100 * hitRate).toFixed(0)} % of prompt tokens found, ${speculation.ote.toFixed(2)} tokens a forward pass`
  report.addSamples({ name: `${weights}: ${what}`, unit: 'tasks/min', note }, ours)
  for (const [count, rates] of theirs) report.addSamples({ name: `${names[weights]}, ${count} threads: ${what}`, unit: 'tasks/min' }, rates)
  const best = Array.from(theirs.values()).toSorted((a, b) => median(b) - median(a))[0]!
  report.addSamples({ name: `${weights}: ours over their best`, unit: 'x', target: 5 }, ours.map((rate, i) => rate / best[i]!))
}

function tokensOf({ prompt, rounds }: AgentTrace): number {
  return prompt.length + rounds.reduce((sum, { said, observed }) => sum + said.length + observed.length, 0)
}
