/** Random work for minutes: does memory grow, does anything leak, is every answer the one it always is? */
import { Engine, schedulerNames } from 'agentinfer'
import type { SchedulerName } from 'agentinfer'

import { cpuOnly, device } from '../device.js'
import { modelShapes, shapedModel } from '../model_shapes.js'
import { amount, choice, deviceOption, option } from '../options.js'
import { Random } from '../random.js'
import type { Report } from '../report.js'
import { randomWork } from '../workload.js'

export const description = 'random work for minutes: memory slope, leaks, answers repeated'
export const options = {
  ...deviceOption,
  minutes: amount('10', 'of random work'),
  threads: option('2', 'of the CPU'),
  scheduler: choice('agent-sched', schedulerNames),
  seed: option('1', 'of the work', 0),
} as const

const maxContext = 512
const workers = 24

interface Sample {
  /** Minutes since the beginning. */
  readonly at: number
  readonly resident: number
  readonly heap: number
}

/** Least squares, per minute. */
function slope(samples: readonly Sample[], value: (sample: Sample) => number): number {
  const mean = (f: (sample: Sample) => number): number => samples.reduce((sum, sample) => sum + f(sample), 0) / samples.length
  const [x, y] = [mean(({ at }) => at), mean(value)]
  const spread = mean(({ at }) => (at - x) ** 2)
  return spread === 0 ? 0 : mean((sample) => (sample.at - x) * (value(sample) - y)) / spread
}

export async function run(report: Report, values: { minutes: string; threads: string; scheduler: string; seed: string }): Promise<void> {
  const minutes = Number(values.minutes)
  // A pool that holds five contexts, a host tier of as much: everything is evicted, preempted and brought back.
  const engine = await Engine.open({
    model: shapedModel('tiny'), device: device(), threads: Number(values.threads), scheduler: values.scheduler as SchedulerName, maxContext,
    kvTokens: 5 * maxContext, hostKvBytes: 2 ** 20, ...cpuOnly({ blockSize: 16 }), maxSequences: 16, maxBatchTokens: 128, maxQueue: 16,
  })
  const start = performance.now()
  const elapsed = (): number => (performance.now() - start) / 60_000
  const samples: Sample[] = []
  const sampler = setInterval(() => {
    const { rss, heapUsed } = process.memoryUsage()
    samples.push({ at: elapsed(), resident: rss, heap: heapUsed })
    report.progress(`${elapsed().toFixed(1)} of ${minutes} minutes, ${(rss / 1e6).toFixed(0)} MB`)
  }, Math.max(100, minutes * 150))
  const result = await randomWork({
    engine, workers, maxContext, random: new Random(Number(values.seed)), vocabulary: modelShapes.tiny.vocabSize, goesOn: () => elapsed() < minutes,
  })
  clearInterval(sampler)
  await engine.generate({ tokens: [10], maxTokens: 1 }).response // the figures are those of the last step
  const stats = engine.stats()
  await engine.close()
  // The first fifth fills caches, pools and the heap.
  const settled = samples.filter(({ at }) => at > minutes / 5)
  const lower = { better: 'lower' } as const
  report.add({ name: 'resident memory, slope', value: slope(settled, ({ resident }) => resident) / 1e6, unit: 'MB/min', target: 1, ...lower })
  report.add({ name: 'JavaScript heap, slope', value: slope(settled, ({ heap }) => heap) / 1e6, unit: 'MB/min', ...lower })
  report.add({ name: 'resident memory at the end', value: (samples.at(-1)?.resident ?? 0) / 1e6, unit: 'MB', ...lower })
  report.add({ name: 'blocks held at the end', value: stats.pool.used, unit: 'blocks', target: 0, ...lower })
  report.add({ name: 'requests live at the end', value: stats.running + stats.waiting, unit: 'requests', target: 0, ...lower })
  const differences = { name: 'answers that differ when asked again, alone and without the cache', value: result.differences, unit: '' }
  report.add({ ...differences, target: 0, note: `${result.repeated} asked again`, ...lower })
  report.add({ name: 'things done', value: result.done, unit: '', note: Object.entries(result.ends).map(([how, count]) => `${how} ${count}`).join(', ') })
  report.add({ name: 'steps', value: stats.steps, unit: '' })
  report.add({ name: 'preemptions', value: stats.preemptions, unit: '' })
  report.add({ name: 'blocks evicted', value: stats.pool.evicted, unit: '' })
  report.add({ name: 'hit rate', value: 100 * stats.hitRate, unit: '%' })
}
