/** Networks whose steps on an NPU are modelled. Sizes in elements. */

export interface DecoderShape {
  readonly name: string
  readonly hiddenSize: number
  readonly layers: number
  readonly heads: number
  readonly kvHeads: number
  readonly headDim: number
  readonly intermediateSize: number
  readonly vocabSize: number
  /** RMSNorm over each head's q and k (Qwen3). */
  readonly qkNorm?: boolean
  readonly tied?: boolean
}

export const shapes = {
  /** Embedded-7B and 7B-V1.1, config.json of the published checkpoint: 8.03 G parameters. */
  'openpangu-7b': {
    name: 'openPangu 7B',
    hiddenSize: 4096,
    layers: 34,
    heads: 32,
    kvHeads: 8,
    headDim: 128,
    intermediateSize: 12800,
    vocabSize: 153376,
  },
  /** ASSUMED: no config of a 38B is public. A dense decoder of the 7B's proportions with 38.1 G parameters. */
  'openpangu-38b-assumed': {
    name: 'assumed 38B',
    hiddenSize: 7168,
    layers: 60,
    heads: 56,
    kvHeads: 8,
    headDim: 128,
    intermediateSize: 22400,
    vocabSize: 153376,
  },
  /** For published figures only. */
  'qwen3-8b': {
    name: 'Qwen3-8B',
    hiddenSize: 4096,
    layers: 36,
    heads: 32,
    kvHeads: 8,
    headDim: 128,
    intermediateSize: 12288,
    vocabSize: 151936,
    qkNorm: true,
  },
  'qwen3-32b': {
    name: 'Qwen3-32B',
    hiddenSize: 5120,
    layers: 64,
    heads: 64,
    kvHeads: 8,
    headDim: 128,
    intermediateSize: 25600,
    vocabSize: 151936,
    qkNorm: true,
  },
} as const satisfies Record<string, DecoderShape>

export interface Matrix {
  readonly inputs: number
  readonly outputs: number
}

/** The four products of a layer and the head, as one of `ranks` holds them. */
export function matrices(shape: DecoderShape, ranks: number): { layer: readonly Matrix[]; head: Matrix } {
  const q = (shape.heads * shape.headDim) / ranks
  const kv = (Math.max(1, shape.kvHeads / ranks) * shape.headDim)
  const ffn = shape.intermediateSize / ranks
  return {
    layer: [
      { inputs: shape.hiddenSize, outputs: q + 2 * kv },
      { inputs: q, outputs: shape.hiddenSize },
      { inputs: shape.hiddenSize, outputs: 2 * ffn },
      { inputs: ffn, outputs: shape.hiddenSize },
    ],
    head: { inputs: shape.hiddenSize, outputs: shape.vocabSize / ranks },
  }
}

/** Parameters of all matrices, the embedding too; norms and biases are a ten-thousandth of it. */
export function parameters(shape: DecoderShape): number {
  const { layer, head } = matrices(shape, 1)
  const size = ({ inputs, outputs }: Matrix): number => inputs * outputs
  return shape.layers * layer.reduce((sum, matrix) => sum + size(matrix), 0) + size(head) * (shape.tied === true ? 1 : 2)
}

/** Bytes of K and V of one token on one rank, all layers, 16 bit. */
export function kvBytesPerToken(shape: DecoderShape, ranks: number): number {
  return shape.layers * 2 * Math.max(1, shape.kvHeads / ranks) * shape.headDim * 2
}

/** Whether the shape can be cut over so many ranks (the engine's rule: native/model/shards.h). */
export function divides(shape: DecoderShape, ranks: number): boolean {
  const heads = shape.kvHeads % ranks === 0 || ranks % shape.kvHeads === 0
  return heads && [shape.heads, shape.intermediateSize, shape.vocabSize].every((extent) => extent % ranks === 0)
}
