/**
 * One engine by itself: decode, prefill, a verification-sized forward, opening, memory, tokenising, and what the event loop feels, each
 * beside the machine's limit measured in the same rounds. With bench/peer installed, node-llama-cpp runs the same weights in turn.
 */
import { fork } from 'node:child_process'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { fileURLToPath } from 'node:url'

import { Engine, measureLimits } from 'agentinfer'
import type { MachineLimits } from 'agentinfer'

import { device, onCpu } from '../device.js'
import { flopsPerPrefillToken, modelShapes, shapeName, shapedModel, weightBytesPerToken } from '../model_shapes.js'
import type { ModelShape, ModelShapeName } from '../model_shapes.js'
import { ggufModel } from '../peer/gguf.js'
import { LlamaPeer, peerInstalled } from '../peer/llama.js'
import { deviceOption, flag, option } from '../options.js'
import { Random } from '../random.js'
import { median } from '../report.js'
import type { Report } from '../report.js'
import { leastStepSeconds } from '../step_limits.js'
import type { Weights } from '../step_limits.js'
import type { OpeningFigures } from '../opening_process.js'

export const description = 'decode, prefill, opening, memory and tokenising of one engine, beside the limits of the machine and node-llama-cpp'
export const options = {
  ...deviceOption,
  shape: option('0.5b', 'random weights of this size: 0.5b, 20m, tiny; the targets are those of 0.5b'),
  rounds: option('7', 'measured; one more warms up'),
  threads: option('2', 'of the CPU'),
  'no-peer': flag('without node-llama-cpp, where it is installed'),
} as const

/** What is measured, and with how many threads. */
interface Subject {
  readonly name: ModelShapeName
  readonly shape: ModelShape
  readonly threads: number
}

/** Below every shape's vocabulary. */
const ids = 8000
const prefillTokens = 512
const decodeTokens = 64
const promptTokens = 16
const batch = 8
const verifyRows = 6

/** Distinct prompts, so that no prefix cache is measured by accident. */
const random = new Random(1)
const randomTokens = (count: number): number[] => random.tokens(count, ids)

const generation = { ignoreEos: true, sampling: { temperature: 0 }, speculation: 'off' } as const

async function prefill(engine: Engine): Promise<number> {
  const { timings } = await engine.generate({ tokens: randomTokens(prefillTokens), maxTokens: 1, ...generation }).response
  return prefillTokens / (timings.prefill / 1000)
}

/** Milliseconds per step of `rows` sequences decoding together. */
async function decodeStep(engine: Engine, rows: number): Promise<number> {
  const prompts = Array.from({ length: rows }, () => randomTokens(promptTokens))
  const responses = await Promise.all(
    prompts.map((tokens) => engine.generate({ tokens, maxTokens: decodeTokens + 1, ...generation }).response),
  )
  return median(responses.map(({ timings }) => timings.decode)) / decodeTokens
}

interface Samples {
  /** Of each round, around its decoding with one row: on some machines memory has two speeds, and changes from one to the other. */
  readonly limits: MachineLimits[]
  /** Tokens per second. */
  readonly prefill: number[]
  /** Milliseconds of a step with 1, verifyRows and `batch` rows. */
  readonly one: number[]
  readonly verify: number[]
  readonly batch: number[]
  readonly peerPrefill: number[]
  readonly peerDecode: number[]
  readonly peerBatch: number[]
}

async function roundsOf(report: Report, { name, threads }: Subject, weights: Weights, rounds: number, withPeer: boolean): Promise<Samples> {
  const samples: Samples = { limits: [], prefill: [], one: [], verify: [], batch: [], peerPrefill: [], peerDecode: [], peerBatch: [] }
  const engine = await Engine.open({ model: shapedModel(name), device: device(), weights, threads, maxContext: 1024, kvTokens: 16384 })
  const peer = withPeer
    ? await LlamaPeer.start({ gguf: ggufModel(name, weights === 'bf16' ? 'bf16' : 'q8_0'), threads, contextTokens: 1024, sequences: batch })
    : undefined
  // The first round warms up and is thrown away.
  for (let round = -1; round < rounds; round++) {
    report.progress(`${weights}: round ${round + 1} of ${rounds}`)
    const keep = <T>(list: T[], value: T): void => void (round >= 0 && list.push(value))
    const before = onCpu() ? await measureLimits({ threads, samples: 3 }) : undefined
    keep(samples.one, await decodeStep(engine, 1))
    if (before !== undefined) keep(samples.limits, middleOf(before, await measureLimits({ threads, samples: 3 })))
    keep(samples.verify, await decodeStep(engine, verifyRows))
    keep(samples.batch, await decodeStep(engine, batch))
    keep(samples.prefill, await prefill(engine))
    if (peer === undefined) continue
    keep(samples.peerDecode, (1000 * decodeTokens) / (await peer.decode([randomTokens(promptTokens)], decodeTokens + 1)).milliseconds)
    const prompts = Array.from({ length: batch }, () => randomTokens(promptTokens))
    keep(samples.peerBatch, (1000 * decodeTokens * batch) / (await peer.decode(prompts, decodeTokens + 1)).milliseconds)
    keep(samples.peerPrefill, (1000 * prefillTokens) / (await peer.prefill(randomTokens(prefillTokens))))
  }
  peer?.stop()
  await engine.close()
  return samples
}

function middleOf(a: MachineLimits, b: MachineLimits): MachineLimits {
  return {
    readBytesPerSecond: (a.readBytesPerSecond + b.readBytesPerSecond) / 2,
    flopsPerSecond: (a.flopsPerSecond + b.flopsPerSecond) / 2,
    int8OpsPerSecond: (a.int8OpsPerSecond + b.int8OpsPerSecond) / 2,
  }
}

const targets = {
  bf16: { prefill: 200, batchOverPeer: 6 },
  int8: { prefill: 500, batchOverPeer: 10 },
} as const

/**
 * The limit of a figure, where one was measured (an NPU's is not here): its share is the median of the rounds' shares. The medians of figures
 * and limits by themselves could come from rounds of unlike speed.
 */
function limited(figures: readonly number[], limits: readonly number[]): { limit?: number } {
  if (limits.length === 0) return {}
  return { limit: median(figures) * median(figures.map((figure, i) => limits[i]! / figure)) }
}

function addRows(report: Report, { name, shape }: Subject, weights: Weights, samples: Samples): void {
  const unit = 'tok/s'
  const perSecond = (rows: number, steps: readonly number[]): number[] => steps.map((ms) => (1000 * rows) / ms)
  const context = promptTokens + decodeTokens / 2 // of the middle of a sample
  const least = (rows: number): number[] => samples.limits.map((limits) => 1000 * leastStepSeconds(shape, weights, limits, rows, context))
  const leastOne = least(1)

  const one = perSecond(1, samples.one)
  const decode = limited(one, perSecond(1, leastOne))
  report.addSamples({ name: `${weights} decode, 1 sequence`, unit, ...decode, ...(decode.limit !== undefined && { target: 0.9 * decode.limit }) }, one)

  const operations = samples.limits.map((limits) => (weights === 'bf16' ? limits.flopsPerSecond : limits.int8OpsPerSecond))
  const prefillLimit = limited(samples.prefill, operations.map((rate) => rate / flopsPerPrefillToken(shape)))
  const prefillTarget = onCpu() && name === '0.5b' ? { target: targets[weights].prefill } : {}
  report.addSamples({ name: `${weights} prefill ${prefillTokens}`, unit, ...prefillLimit, ...prefillTarget }, samples.prefill)

  const verify = samples.verify.map((ms, i) => ms / samples.one[i]!)
  const verifyLimit = limited(verify, least(verifyRows).map((ms, i) => ms / leastOne[i]!))
  report.addSamples({ name: `${weights} forward of ${verifyRows} rows over 1 row`, unit: 'x', ...verifyLimit, target: 1.15, better: 'lower' }, verify)

  const together = perSecond(batch, samples.batch)
  const batchTarget = samples.peerBatch.length === 0 ? {} : { target: targets[weights].batchOverPeer * median(samples.peerBatch) }
  report.addSamples({ name: `${weights} decode, ${batch} sequences`, unit, ...limited(together, perSecond(batch, least(batch))), ...batchTarget }, together)

  if (samples.peerDecode.length === 0) return
  const peer = `node-llama-cpp ${weights === 'bf16' ? 'BF16' : 'Q8_0'}`
  report.addSamples({ name: `${peer} decode, 1 sequence`, unit, ...limited(samples.peerDecode, perSecond(1, leastOne)) }, samples.peerDecode)
  report.addSamples({ name: `${peer} prefill ${prefillTokens}`, unit }, samples.peerPrefill)
  report.addSamples({ name: `${peer} decode, ${batch} sequences`, unit }, samples.peerBatch)
}

function opening({ name, threads }: Subject): Promise<OpeningFigures> {
  const child = fork(fileURLToPath(new URL('../opening_process.js', import.meta.url)), [shapedModel(name), String(threads)])
  return new Promise((resolve, reject) => {
    child.once('message', (figures) => resolve(figures as OpeningFigures))
    child.once('exit', (code) => reject(new Error(`the process that opens a model ended with code ${code}`)))
  })
}

async function addOpening(report: Report, subject: Subject, rounds: number): Promise<void> {
  report.progress('opening')
  await opening(subject) // the file cache is warm from here on
  const figures: OpeningFigures[] = []
  for (let i = 0; i < rounds; i++) figures.push(await opening(subject))
  const gigabytes = (weightBytesPerToken(subject.shape) + 2 * subject.shape.hiddenSize * subject.shape.vocabSize) / 1e9
  report.addSamples(
    { name: `opening ${gigabytes.toPrecision(1)} GB of bf16, to the first token`, unit: 's', target: 1.5, better: 'lower' },
    figures.map((one) => one.firstTokenSeconds),
  )
  report.addSamples(
    { name: 'resident memory beyond weights and KV', unit: 'MB', target: 150, better: 'lower' },
    figures.map((one) => (one.residentBytes - one.plannedBytes) / 1e6),
  )
  report.addSamples(
    { name: 'event-loop delay p99 while opening', unit: 'ms', target: 10, better: 'lower' },
    figures.map((one) => one.delayP99),
  )
}

/** p99 of the event loop's delay in milliseconds while `work` runs; the sampling interval itself is taken off. */
async function delayDuring(work: () => Promise<unknown>): Promise<number> {
  const histogram = monitorEventLoopDelay({ resolution: 1 })
  histogram.enable()
  await work()
  histogram.disable()
  return Math.max(0, histogram.percentile(99) / 1e6 - 1)
}

async function addText(report: Report, { name, threads }: Subject, rounds: number): Promise<void> {
  report.progress('tokenising')
  const engine = await Engine.open({ model: shapedModel(name), device: device(), threads, maxContext: 1024, kvTokens: 8192 })
  const sentences = ['The agent reads a page and notes what it found. ', '搜索结果里有三条相关的记录，最后一条最新。', 'function open(url: string) { return fetch(url) }\n']
  let text = ''
  for (let i = 0; Buffer.byteLength(text) < 8e6; i++) text += (sentences[i % 3]! + i).repeat(200)
  const megabytes = Buffer.byteLength(text) / 1e6
  const speeds: number[] = []
  const delays: number[] = []
  for (let i = 0; i < rounds; i++) {
    const start = performance.now()
    delays.push(await delayDuring(() => engine.tokenize(text)))
    speeds.push(megabytes / ((performance.now() - start) / 1000))
  }
  report.addSamples({ name: 'tokenising 8 MB', unit: 'MB/s', target: 10 }, speeds)
  report.addSamples({ name: 'event-loop delay p99 while tokenising', unit: 'ms', target: 10, better: 'lower' }, delays)
  report.progress('generating')
  const generating: number[] = []
  for (let i = 0; i < rounds; i++) generating.push(await delayDuring(() => decodeStep(engine, batch)))
  report.addSamples({ name: `event-loop delay p99 while generating, ${batch} sequences`, unit: 'ms', target: 10, better: 'lower' }, generating)
  await engine.close()
}

async function addLimits(report: Report, threads: number): Promise<void> {
  const { readBytesPerSecond, flopsPerSecond, int8OpsPerSecond } = await measureLimits({ threads })
  report.add({ name: 'limit: memory read', value: readBytesPerSecond / 1e9, unit: 'GB/s' })
  report.add({ name: 'limit: f32 arithmetic', value: flopsPerSecond / 1e9, unit: 'GFLOP/s' })
  report.add({ name: 'limit: int8 arithmetic', value: int8OpsPerSecond / 1e9, unit: 'GOP/s' })
}

export async function run(report: Report, values: { shape: string; rounds: string; threads: string; 'no-peer': boolean }): Promise<void> {
  const rounds = Number(values.rounds)
  const name = shapeName(values.shape)
  const subject: Subject = { name, shape: modelShapes[name], threads: Number(values.threads) }
  const withPeer = onCpu() && !values['no-peer'] && peerInstalled()
  if (onCpu() && !withPeer) report.progress('without node-llama-cpp: npm --prefix bench/peer ci --ignore-scripts installs it')
  for (const weights of ['bf16', 'int8'] as const)
    addRows(report, subject, weights, await roundsOf(report, subject, weights, rounds, withPeer))
  if (onCpu()) await addLimits(report, subject.threads)
  await addOpening(report, subject, Math.min(rounds, 5))
  await addText(report, subject, Math.min(rounds, 5))
}
