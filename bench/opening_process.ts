/** Opens a model in a fresh process and says how long the first token took and what memory it holds. */
import { readFileSync } from 'node:fs'
import { monitorEventLoopDelay } from 'node:perf_hooks'

import { device } from './device.js'

export interface OpeningFigures {
  firstTokenSeconds: number
  residentBytes: number
  /** Weights and KV, as the engine reports them. */
  plannedBytes: number
  /** Milliseconds. */
  delayP99: number
}

function residentBytes(): number {
  if (process.platform !== 'linux') return process.memoryUsage.rss()
  return 1024 * Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync('/proc/self/status', 'utf8'))![1])
}

const [model, threads] = process.argv.slice(2)
const start = performance.now()
const { Engine } = await import('agentinfer')
const histogram = monitorEventLoopDelay({ resolution: 1 })
histogram.enable()
const engine = await Engine.open({ model: model!, device: device(), threads: Number(threads), maxContext: 2048, kvTokens: 4096 })
const stream = engine.generate({ tokens: Array.from({ length: 16 }, (_, i) => 100 + i), maxTokens: 8, ignoreEos: true, sampling: { temperature: 0 } })
let firstTokenSeconds = 0
for await (const _ of stream) if (firstTokenSeconds === 0) firstTokenSeconds = (performance.now() - start) / 1000
histogram.disable()
const figures: OpeningFigures = {
  firstTokenSeconds,
  residentBytes: residentBytes(),
  plannedBytes: engine.info.weightBytes + engine.info.kvBytes,
  delayP99: Math.max(0, histogram.percentile(99) / 1e6 - 1),
}
process.send!(figures)
await engine.close()
