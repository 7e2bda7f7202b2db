/**
 * How long a step takes on Ascend NPUs: a model, not a measurement. A step's time on the device is, product by product, the larger of its
 * bytes over the bandwidth and its operations over the cubes' rate, plus what every launch and every collective costs by itself; on the
 * host it is the cost of its launches. Pure arithmetic, also the step cost of simulations.
 */
import { ascend910B3 } from './chip.js'
import type { AscendChip } from './chip.js'
import { stepLaunches } from './launches.js'
import type { LaunchCount } from './launches.js'
import { kvBytesPerToken, matrices } from './shapes.js'
import type { DecoderShape, Matrix } from './shapes.js'

export interface AscendSetup {
  readonly shape: DecoderShape
  /** Cards; see shapes.divides. Default: 1. */
  readonly tensorParallel?: number
  /** Default: bf16. With w8a8 the layers' matrices are int8, head and embedding stay. */
  readonly weights?: 'bf16' | 'w8a8'
  /** Decode and verify steps replay captured graphs. Default: true. */
  readonly graph?: boolean
  readonly chip?: AscendChip
}

/** What one sequence does in a step. */
export interface SequenceStep {
  /** Tokens computed: 1 in decode, 1 + drafts in verification, a chunk in prefill. */
  readonly query: number
  /** Tokens in its cache behind the step, `query` included. */
  readonly context: number
  /** Rows whose logits are wanted; default: all of up to 16, else the last. */
  readonly logits?: number
}

/** All in seconds. */
export interface StepTime {
  /** From the plan to its result. */
  readonly total: number
  /** The host's thread, from the first launch to the last. */
  readonly host: number
  readonly device: number
  readonly captured: boolean
  /** Parts of `device`. */
  readonly products: number
  readonly attention: number
  readonly activations: number
  readonly collectives: number
  readonly gaps: number
  /** The least the device could take: bytes at the same bandwidths, operations at the cubes' full rate, nothing else. */
  readonly roofline: number
  readonly launches: LaunchCount
  /** Rows computed, padding of a captured bucket included. */
  readonly rows: number
}

const captureQueries = [1, 2, 4, 8, 16]

/** The bucket a step is captured in: batch 1, 2, 4, then steps of 8; query lengths of powers of two. */
export function captureBucket(sequences: readonly SequenceStep[]): { batch: number; query: number } | undefined {
  const longest = Math.max(...sequences.map(({ query }) => query))
  const query = captureQueries.find((length) => length >= longest)
  if (query === undefined) return undefined
  const count = sequences.length
  return { batch: count <= 4 ? (captureQueries.find((size) => size >= count) ?? count) : Math.ceil(count / 8) * 8, query }
}

/** Bytes of weights one card holds, embedding and head included. */
export function weightBytes(shape: DecoderShape, tensorParallel: number, weights: 'bf16' | 'w8a8'): number {
  const { layer, head } = matrices(shape, tensorParallel)
  const layers = shape.layers * layer.reduce((sum, { inputs, outputs }) => sum + inputs * outputs, 0)
  const table = head.inputs * head.outputs * 2
  return layers * (weights === 'w8a8' ? 1 : 2) + table * (shape.tied === true ? 1 : 2)
}

/** Whether the weights leave room on a card for at least one context of 32k and the work memory. */
export function fits(shape: DecoderShape, tensorParallel: number, weights: 'bf16' | 'w8a8', chip: AscendChip = ascend910B3): boolean {
  return weightBytes(shape, tensorParallel, weights) + 32768 * kvBytesPerToken(shape, tensorParallel) + 2e9 <= chip.memory
}

interface Context {
  readonly shape: DecoderShape
  readonly ranks: number
  readonly weights: 'bf16' | 'w8a8'
  readonly chip: AscendChip
}

function productTime(matrix: Matrix, rows: number, kind: 'bf16' | 'int8', chip: AscendChip, efficiency: number): number {
  const size = matrix.inputs * matrix.outputs
  return Math.max((size * (kind === 'int8' ? 1 : 2)) / chip.weightBandwidth, (2 * rows * size) / (chip.peak[kind] * efficiency))
}

/** All layers and the head. */
function products({ shape, ranks, weights, chip }: Context, rows: number, logitRows: number, ideal: boolean): number {
  const { layer, head } = matrices(shape, ranks)
  const kind = weights === 'w8a8' ? 'int8' : 'bf16'
  const rate = (of: 'bf16' | 'int8'): number => (ideal ? 1 : chip.productEfficiency[of])
  const layers = layer.reduce((sum, matrix) => sum + productTime(matrix, rows, kind, chip, rate(kind)), 0)
  return shape.layers * layers + (logitRows > 0 ? productTime(head, logitRows, 'bf16', chip, rate('bf16')) : 0)
}

function attention({ shape, ranks, chip }: Context, sequences: readonly SequenceStep[], ideal: boolean): number {
  const perToken = kvBytesPerToken(shape, ranks)
  const rate = chip.peak.bf16 * (ideal ? 1 : chip.attentionEfficiency)
  const width = (shape.heads * shape.headDim) / ranks
  return sequences.reduce((sum, { query, context }) => {
    const operations = 4 * shape.layers * width * query * (context - (query - 1) / 2)
    return sum + Math.max((context * perToken) / chip.kvBandwidth, operations / rate)
  }, 0)
}

/** What the operators between the products read and write, 16 bit. */
function activations({ shape, ranks, weights, chip }: Context, rows: number): number {
  const q = (shape.heads * shape.headDim) / ranks
  const kv = Math.max(1, shape.kvHeads / ranks) * shape.headDim
  const ffn = shape.intermediateSize / ranks
  const norms = 2 * 4 * shape.hiddenSize
  const heads = 2 * (q + 2 * kv) + 2 * (q + kv) + 4 * kv
  const inAndOut = 3 * shape.hiddenSize + 2 * q + 2 * kv + 3 * ffn
  const quantised = weights === 'w8a8' ? 1.5 * (q + ffn) : 0
  return (shape.layers * rows * 2 * (norms + heads + 3 * ffn + inAndOut + quantised)) / chip.activationBandwidth
}

/** Each card sends every other its share, twice, over links of their own. */
function collectives({ shape, ranks, chip }: Context, rows: number, logitRows: number, count: LaunchCount): number {
  if (ranks === 1) return 0
  const rate = chip.link * chip.linkEfficiency
  const reduce = chip.collectiveLatency + (2 * rows * shape.hiddenSize * 2) / ranks / rate
  const gather = chip.collectiveLatency + (logitRows * (shape.vocabSize / ranks) * 2) / rate
  return count.allReduces * reduce + count.allGathers * gather
}

/** REQUIRES shapes.divides(setup.shape, setup.tensorParallel) and at least one sequence. */
export function stepTime(setup: AscendSetup, sequences: readonly SequenceStep[]): StepTime {
  const { shape, tensorParallel = 1, weights = 'bf16', graph = true, chip = ascend910B3 } = setup
  const context: Context = { shape, ranks: tensorParallel, weights, chip }
  const bucket = graph ? captureBucket(sequences) : undefined
  const rows = bucket === undefined ? sequences.reduce((sum, { query }) => sum + query, 0) : bucket.batch * bucket.query
  const wanted = sequences.reduce((sum, { query, logits }) => sum + (logits ?? (query <= 16 ? query : 1)), 0)
  const logitRows = bucket === undefined ? wanted : rows
  const launches = stepLaunches(shape, { tensorParallel, weights, logits: wanted > 0 })
  const parts = {
    products: products(context, rows, logitRows, false),
    attention: attention(context, sequences, false),
    activations: activations(context, rows),
    collectives: collectives(context, rows, logitRows, launches),
    gaps: launches.launches * chip.launchGap,
  }
  const device = parts.products + parts.attention + parts.activations + parts.collectives + parts.gaps
  const host = hostTime(chip, launches, shape.layers, bucket !== undefined)
  const roofline = products(context, rows, wanted, true) + attention(context, sequences, true)
  return { total: Math.max(host, device) + chip.host.around, host, device, captured: bucket !== undefined, ...parts, roofline, launches, rows }
}

function hostTime({ host }: AscendChip, count: LaunchCount, layers: number, captured: boolean): number {
  const copies = (count.copiesToDevice + count.copiesToHost) * host.copy
  if (captured) return copies + count.plans * host.plan + host.replay + layers * host.update
  return copies + count.plans * host.plan + count.launches * host.launch + (count.allReduces + count.allGathers) * host.collective
}

/** The dearest launch, in seconds of the host, with which an eager decode step stays within `budget` seconds of the host. */
export function dearestLaunch(setup: AscendSetup, budget: number): number {
  const { host, launches } = stepTime({ ...setup, graph: false }, [{ query: 1, context: 1 }])
  const chip = setup.chip ?? ascend910B3
  return chip.host.launch + (budget - host) / launches.launches
}
