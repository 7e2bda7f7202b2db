/** What a machine's limits leave to a step that decodes: each product takes as long as its bytes or its arithmetic do, whichever is longer. */
import type { MachineLimits } from 'agentinfer'

import { weightBytesPerToken } from './model_shapes.js'
import type { ModelShape } from './model_shapes.js'

export type Weights = 'bf16' | 'int8'

interface Part {
  readonly bytes: number
  readonly parameters: number
  readonly operationsPerSecond: (limits: MachineLimits) => number
}

/** The products of a step: int8 keeps the head at 16 bit. */
function parts(shape: ModelShape, weights: Weights): Part[] {
  const head = shape.hiddenSize * shape.vocabSize
  const layers = weightBytesPerToken(shape) / 2 - head
  const sixteenBit = (parameters: number): Part => ({ bytes: 2 * parameters, parameters, operationsPerSecond: (limits) => limits.flopsPerSecond })
  if (weights === 'bf16') return [sixteenBit(layers + head)]
  return [{ bytes: layers, parameters: layers, operationsPerSecond: (limits) => limits.int8OpsPerSecond }, sixteenBit(head)]
}

/** Seconds that `rows` sequences with 16-bit KV of `context` tokens take at least. */
export function leastStepSeconds(shape: ModelShape, weights: Weights, limits: MachineLimits, rows: number, context: number): number {
  const kvBytes = rows * context * 2 * 2 * shape.layers * shape.kvHeads * (shape.hiddenSize / shape.heads)
  const products = parts(shape, weights).map(({ bytes, parameters, operationsPerSecond }) =>
    Math.max(bytes / limits.readBytesPerSecond, (2 * parameters * rows) / operationsPerSecond(limits)))
  return kvBytes / limits.readBytesPerSecond + products.reduce((sum, seconds) => sum + seconds, 0)
}
