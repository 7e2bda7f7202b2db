/**
 * What one step puts on the stream, by the name of the operator, from the decoder's list of operations (native/model/decoder) and what the
 * Ascend backend makes of each (native/backend/ascend). The emulator's counts are held against this table.
 */
import type { DecoderShape } from './shapes.js'

export interface LaunchCount {
  /** Operators by name: phase-2 launches. */
  readonly operators: Readonly<Record<string, number>>
  readonly launches: number
  /** First phases that cannot be kept from the step before. */
  readonly plans: number
  readonly allReduces: number
  readonly allGathers: number
  readonly copiesToDevice: number
  readonly copiesToHost: number
}

export interface LaunchOptions {
  readonly tensorParallel: number
  readonly weights: 'bf16' | 'w8a8'
  /** False: a prefill chunk that does not reach its prompt's end. Greedy: the highest logit is found on the device. */
  readonly logits: boolean
}

export function stepLaunches(shape: DecoderShape, { tensorParallel, weights, logits }: LaunchOptions): LaunchCount {
  const { layers } = shape
  const int8 = weights === 'w8a8'
  const ranks = tensorParallel > 1
  const operators: Record<string, number> = {
    aclnnEmbedding: 1,
    // cos and sin of the step's positions; the rows whose logits are wanted
    aclnnIndexSelect: 2 + (logits ? 1 : 0),
    aclnnRmsNorm: 1 + (logits ? 1 : 0) + (shape.qkNorm === true ? 2 * layers : 0),
    aclnnSplitWithSize: layers,
    aclnnApplyRotaryPosEmb: layers,
    aclnnScatterPaKvCache: layers,
    aclnnFusedInferAttentionScoreV3: layers,
    aclnnSwiGlu: layers,
    // Behind the last layer nothing is normalised at once.
    aclnnInplaceAdd: 1,
    [int8 ? 'aclnnAddRmsNormDynamicQuant' : 'aclnnAddRmsNorm']: 2 * layers - 1,
    ...(int8
      ? { aclnnQuantMatmulV5: 4 * layers, aclnnDynamicQuant: 2 * layers + 1, aclnnMm: logits ? 1 : 0 }
      : { aclnnAddmm: 2 * layers, aclnnMm: 2 * layers + (logits ? 1 : 0) }),
    ...(logits ? { aclnnArgMax: 1, aclnnGather: 1 } : {}),
  }
  return {
    operators,
    launches: Object.values(operators).reduce((sum, count) => sum + count, 0),
    plans: 1,
    allReduces: ranks ? 2 * layers + 1 : 0,
    allGathers: ranks && logits ? 1 : 0,
    copiesToDevice: 1,
    copiesToHost: logits ? 2 : 0,
  }
}
