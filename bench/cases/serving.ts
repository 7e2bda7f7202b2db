/**
 * The serving core: eight sequences beside node-llama-cpp, what a step costs outside native code with 64 requests running and 256 waiting,
 * the KV books, a second turn on a long session.
 */
import { randomFill } from 'node:crypto'
import { monitorEventLoopDelay } from 'node:perf_hooks'

import { Engine, schedulerNames } from 'agentinfer'
import type { GenerationStream, SchedulerName } from 'agentinfer'

import { device, onCpu } from '../device.js'
import { modelShapes, shapedModel } from '../model_shapes.js'
import { nativeBench } from '../native_bench.js'
import { ggufModel } from '../peer/gguf.js'
import { LlamaPeer, peerInstalled } from '../peer/llama.js'
import { choice, deviceOption, flag, option, parts } from '../options.js'
import { Random } from '../random.js'
import { median } from '../report.js'
import type { Report } from '../report.js'

export const description = 'many requests on one engine: batched decode beside node-llama-cpp, cost of a step, KV books, long sessions'
export const options = {
  ...deviceOption,
  rounds: option('5', 'measured; one more warms up'),
  threads: option('2', 'of the CPU'),
  parts: option('batch,step,kv,session', 'what to run'),
  scheduler: choice('fcfs', schedulerNames, 'whose step is measured beside those of shortest-uncached and agent-sched'),
  'no-peer': flag('without node-llama-cpp, where it is installed'),
} as const

const generation = { ignoreEos: true, sampling: { temperature: 0 }, speculation: 'off' } as const

// ---- batched decode -----------------------------------------------------------------------------------------

const sequences = 8
const decodeTokens = 24
const overPeer = { bf16: 6, int8: 10 } as const

async function decodeRate(engine: Engine, prompts: readonly number[][]): Promise<number> {
  const responses = await Promise.all(
    prompts.map((tokens) => engine.generate({ tokens, maxTokens: decodeTokens + 1, ...generation }).response),
  )
  return (1000 * decodeTokens * prompts.length) / median(responses.map(({ timings }) => timings.decode))
}

async function addBatch(report: Report, rounds: number, threads: number, withPeer: boolean): Promise<void> {
  const random = new Random(1)
  const prompts = () => Array.from({ length: sequences }, () => random.tokens(16, modelShapes['0.5b'].vocabSize))
  for (const weights of ['bf16', 'int8'] as const) {
    const engine = await Engine.open({ model: shapedModel('0.5b'), device: device(), weights, threads, maxContext: 1024, kvTokens: 16384 })
    const gguf = withPeer ? ggufModel('0.5b', weights === 'bf16' ? 'bf16' : 'q8_0') : ''
    const peer = withPeer ? await LlamaPeer.start({ gguf, threads, contextTokens: 1024, sequences }) : undefined
    const [ours, theirs]: [number[], number[]] = [[], []]
    for (let round = -1; round < rounds; round++) {
      report.progress(`${weights}, ${sequences} sequences: round ${round + 1} of ${rounds}`)
      const rate = await decodeRate(engine, prompts())
      if (round >= 0) ours.push(rate)
      if (peer === undefined) continue
      const { milliseconds } = await peer.decode(prompts(), decodeTokens + 1)
      if (round >= 0) theirs.push((1000 * decodeTokens * sequences) / milliseconds)
    }
    peer?.stop()
    await engine.close()
    const name = `${weights} decode, ${sequences} sequences`
    report.addSamples({ name, unit: 'tok/s', ...(withPeer && { target: overPeer[weights] * median(theirs) }) }, ours)
    if (withPeer) report.addSamples({ name: `node-llama-cpp ${weights === 'bf16' ? 'BF16' : 'Q8_0'}, ${sequences} sequences`, unit: 'tok/s' }, theirs)
  }
}

// ---- what a step costs outside native code ------------------------------------------------------------------

async function consume(stream: GenerationStream): Promise<void> {
  for await (const _delta of stream) void 0
}

/** Microseconds until a thread of Node's pool has been woken, has done nothing much, and has been heard of: what any crossing pays. */
async function wakeUp(): Promise<number> {
  const start = performance.now()
  await new Promise<void>((resolve) => randomFill(new Uint8Array(1), () => resolve()))
  return 1000 * (performance.now() - start)
}

const running = 64
const waiting = 256

async function addStep(report: Report, scheduler: SchedulerName, rounds: number, threads: number): Promise<void> {
  const random = new Random(2)
  const system = random.tokens(64, modelShapes.tiny.vocabSize)
  const samples = { outside: [] as number[], delivery: [] as number[], planning: [] as number[], crossing: [] as number[], limit: [] as number[], delay: [] as number[] }
  for (let round = -1; round < rounds; round++) {
    report.progress(`${scheduler}, ${running} running, ${waiting} waiting: round ${round + 1} of ${rounds}`)
    const engine = await Engine.open({
      model: shapedModel('tiny'), device: device(), threads, scheduler, maxContext: 2048, kvTokens: 2 ** 17, maxSequences: running, maxBatchTokens: 512,
    })
    const stop = new AbortController()
    const all = Array.from({ length: running + waiting }, () =>
      engine.generate({ tokens: [...system, ...random.tokens(32, modelShapes.tiny.vocabSize)], maxTokens: 1500, signal: stop.signal, ...generation }),
    )
    const consumed = Promise.allSettled(all.map(consume))
    while (engine.stats().running < running) await new Promise((resolve) => setTimeout(resolve, 20))
    const histogram = monitorEventLoopDelay({ resolution: 1 })
    histogram.enable()
    const before = engine.stats().steps
    const wakeUps: number[] = []
    while (engine.stats().steps < before + 600) {
      await new Promise((resolve) => setTimeout(resolve, 20))
      wakeUps.push(await wakeUp())
    }
    histogram.disable()
    const { stepTimes, running: now, waiting: queued } = engine.stats()
    if (now !== running || queued !== waiting) throw new Error(`expected ${running} running and ${waiting} waiting, got ${now} and ${queued}`)
    stop.abort(new Error('measured'))
    await consumed
    await engine.close()
    if (round < 0) continue
    samples.limit.push(median(wakeUps))
    samples.planning.push(1000 * stepTimes.planning.p50)
    samples.crossing.push(1000 * stepTimes.crossing.p50)
    samples.outside.push(1000 * (stepTimes.planning.p50 + stepTimes.crossing.p50))
    samples.delivery.push(1000 * stepTimes.delivery.p50)
    samples.delay.push(Math.max(0, histogram.percentile(99) / 1e6 - 1))
  }
  const load = `${running} running, ${waiting} waiting, ${scheduler}`
  const us = { unit: 'us', better: 'lower' } as const
  report.addSamples({ name: `TypeScript + crossing a step, ${load}`, target: 150, ...us }, samples.outside)
  report.addSamples({ name: '  of it: results, snapshot, policy, check', ...us }, samples.planning)
  report.addSamples({ name: '  of it: crossing, down and up', limit: median(samples.limit), ...us }, samples.crossing)
  report.addSamples({ name: '  beside it, while the next step runs: text and streams', ...us }, samples.delivery)
  report.addSamples({ name: `event-loop delay p99, ${load}`, unit: 'ms', better: 'lower', target: 10 }, samples.delay)
}

// ---- a second turn on a long session ------------------------------------------------------------------------

async function addSession(report: Report, threads: number): Promise<void> {
  report.progress('a session of 16K tokens')
  const random = new Random(3)
  const engine = await Engine.open({ model: shapedModel('tiny'), device: device(), threads, maxContext: 20_000, kvTokens: 40_000, maxBatchTokens: 1024 })
  using session = engine.session()
  await session.append({ tokens: random.tokens(16_384, modelShapes.tiny.vocabSize) })
  const first = await session.generate({ maxTokens: 16, ...generation }).response
  const added = 32
  await session.append({ tokens: random.tokens(added, modelShapes.tiny.vocabSize) })
  const second = await session.generate({ maxTokens: 16, ...generation }).response
  await engine.close()
  const computed = second.usage.promptTokens - second.usage.cachedTokens
  report.add({ name: 'second turn on 16K tokens: prompt tokens computed', value: computed, unit: 'tok', better: 'lower', target: added + 1, note: `${added} are new, and the last one sampled` })
  report.add({ name: 'first turn: to the first token', value: first.timings.prefill, unit: 'ms', better: 'lower' })
  report.add({ name: 'second turn: to the first token', value: second.timings.prefill, unit: 'ms', better: 'lower' })
}

export async function run(
  report: Report,
  values: { rounds: string; threads: string; parts: string; scheduler: string; 'no-peer': boolean },
): Promise<void> {
  const rounds = Number(values.rounds)
  const threads = Number(values.threads)
  const scheduler = values.scheduler as SchedulerName
  const wanted = parts('parts', values.parts, ['batch', 'step', 'kv', 'session'])
  const withPeer = onCpu() && !values['no-peer'] && peerInstalled()
  if (wanted.has('batch') && onCpu() && !withPeer) report.progress('without node-llama-cpp: npm --prefix bench/peer ci --ignore-scripts installs it')
  if (wanted.has('batch')) await addBatch(report, rounds, threads, withPeer)
  if (wanted.has('step')) for (const name of new Set<SchedulerName>([scheduler, 'shortest-uncached', 'agent-sched'])) await addStep(report, name, rounds, threads)
  if (wanted.has('kv')) for (const row of await nativeBench(report, 'kv_bench')) report.add({ ...row, better: 'lower' })
  if (wanted.has('session')) await addSession(report, threads)
}
