/** Checkpoints of random weights, for benchmarks: the arithmetic and the memory traffic of a real model, without one. */
import { copyFileSync, existsSync, mkdirSync, openSync, closeSync, renameSync, writeFileSync, writeSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

import { AgentInferError } from 'agentinfer'

import { onCpu } from './device.js'

export interface ModelShape {
  readonly hiddenSize: number
  readonly layers: number
  readonly heads: number
  readonly kvHeads: number
  readonly intermediateSize: number
  readonly vocabSize: number
  readonly maxPositions: number
}

export const modelShapes = {
  /** 499.7M parameters: what the figures beside other engines are taken with. */
  '0.5b': { hiddenSize: 1024, layers: 24, heads: 16, kvHeads: 8, intermediateSize: 4864, vocabSize: 32000, maxPositions: 65536 },
  /** 21M parameters: for cases that measure everything but the arithmetic. */
  '20m': { hiddenSize: 256, layers: 8, heads: 8, kvHeads: 4, intermediateSize: 1024, vocabSize: 8192, maxPositions: 262144 },
  /** 1.6M parameters: a step takes well under a millisecond. */
  tiny: { hiddenSize: 64, layers: 2, heads: 4, kvHeads: 2, intermediateSize: 128, vocabSize: 8192, maxPositions: 262144 },
} satisfies Record<string, ModelShape>

export type ModelShapeName = keyof typeof modelShapes

interface TensorSpec {
  readonly name: string
  readonly shape: readonly number[]
  /** Norm weights are 1, matrices random. */
  readonly ones?: boolean
}

/** Bytes of 16-bit weights that decoding one token reads: every matrix but the embedding. */
export function weightBytesPerToken(shape: ModelShape): number {
  const matrices = tensors(shape).filter(({ name, ones }) => ones !== true && name !== 'model.embed_tokens.weight')
  return matrices.reduce((sum, { shape: [rows = 1, columns = 1] }) => sum + 2 * rows * columns, 0)
}

/** Multiplications and additions of one token's matrices, the head left out (prefill computes it for the last token only). */
export function flopsPerPrefillToken(shape: ModelShape): number {
  return weightBytesPerToken(shape) - 2 * shape.hiddenSize * shape.vocabSize
}

export function tensors(shape: ModelShape): TensorSpec[] {
  const { hiddenSize: hidden, intermediateSize: wide, vocabSize } = shape
  const kv = (hidden / shape.heads) * shape.kvHeads
  const layer = (i: number): TensorSpec[] =>
    [
      { name: 'self_attn.q_proj.weight', shape: [hidden, hidden] },
      { name: 'self_attn.k_proj.weight', shape: [kv, hidden] },
      { name: 'self_attn.v_proj.weight', shape: [kv, hidden] },
      { name: 'self_attn.o_proj.weight', shape: [hidden, hidden] },
      { name: 'mlp.gate_proj.weight', shape: [wide, hidden] },
      { name: 'mlp.up_proj.weight', shape: [wide, hidden] },
      { name: 'mlp.down_proj.weight', shape: [hidden, wide] },
      { name: 'input_layernorm.weight', shape: [hidden], ones: true },
      { name: 'post_attention_layernorm.weight', shape: [hidden], ones: true },
    ].map((spec) => ({ ...spec, name: `model.layers.${i}.${spec.name}` }))
  return [
    { name: 'model.embed_tokens.weight', shape: [vocabSize, hidden] },
    ...Array.from({ length: shape.layers }, (_, i) => layer(i)).flat(),
    { name: 'model.norm.weight', shape: [hidden], ones: true },
    { name: 'lm_head.weight', shape: [vocabSize, hidden] },
  ]
}

/** NPUs attend with heads of 64 or 128: what is smaller gets fewer heads of 64 there, and the same products. */
function shapeHere(name: ModelShapeName): ModelShape {
  const shape: ModelShape = modelShapes[name]
  if (onCpu() || shape.hiddenSize / shape.heads >= 64) return shape
  const heads = shape.hiddenSize / 64
  return { ...shape, heads, kvHeads: Math.max(1, (shape.kvHeads * heads) / shape.heads) }
}

/** The folder of a checkpoint with this shape, written on first use under the system's temporary folder. */
export function shapedModel(name: ModelShapeName): string {
  const shape = shapeHere(name)
  const folder = path.join(os.tmpdir(), 'agentinfer-bench', `llama-${name}${shape === modelShapes[name] ? '' : '-npu'}`)
  if (existsSync(folder)) return folder
  const partial = `${folder}.${process.pid}`
  mkdirSync(partial, { recursive: true })
  writeFileSync(path.join(partial, 'config.json'), JSON.stringify(config(shape), null, 2))
  writeSafetensors(path.join(partial, 'model.safetensors'), tensors(shape))
  for (const file of ['tokenizer.model', 'tokenizer_config.json']) copyFileSync(path.join(tokenizerFolder(), file), path.join(partial, file))
  renameSync(partial, folder)
  return folder
}

/** Copied beside the compiled code (bench/assets.mjs); the sources themselves find it among the tests. */
function tokenizerFolder(): string {
  const copied = fileURLToPath(new URL('tokenizer', import.meta.url))
  return existsSync(copied) ? copied : fileURLToPath(new URL('../test/fixtures/checkpoints/pangu', import.meta.url))
}

/** @throws {AgentInferError} `ERR_INVALID_ARGUMENT` for a name that is none. */
export function shapeName(name: string): ModelShapeName {
  if (name in modelShapes) return name as ModelShapeName
  throw new AgentInferError('ERR_INVALID_ARGUMENT', `shape '${name}': expected one of ${Object.keys(modelShapes).join(', ')}`)
}

/** A checkpoint's folder: that of a shape by its name, or the folder itself. */
export function modelFolder(model: string): string {
  if (model in modelShapes) return shapedModel(model as ModelShapeName)
  if (existsSync(path.join(model, 'config.json'))) return model
  throw new AgentInferError('ERR_INVALID_ARGUMENT', `model '${model}': expected a checkpoint's folder, or one of ${Object.keys(modelShapes).join(', ')} (random weights)`)
}

function config(shape: ModelShape): object {
  return {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    hidden_size: shape.hiddenSize,
    num_hidden_layers: shape.layers,
    num_attention_heads: shape.heads,
    num_key_value_heads: shape.kvHeads,
    intermediate_size: shape.intermediateSize,
    vocab_size: shape.vocabSize,
    max_position_embeddings: shape.maxPositions,
    hidden_act: 'silu',
    rms_norm_eps: 1e-5,
    rope_theta: 500000,
    tie_word_embeddings: false,
    attention_bias: false,
    torch_dtype: 'bfloat16',
    bos_token_id: 1,
    eos_token_id: 2,
  }
}

function writeSafetensors(file: string, specs: readonly TensorSpec[]): void {
  let offset = 0
  const entries = specs.map(({ name, shape }) => {
    const begin = offset
    offset += 2 * shape.reduce((product, size) => product * size, 1)
    return [name, { dtype: 'BF16', shape, data_offsets: [begin, offset] }] as const
  })
  const json = JSON.stringify(Object.fromEntries(entries))
  const header = Buffer.from(json.padEnd(Math.ceil(json.length / 8) * 8))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(header.length))
  const fd = openSync(file, 'w')
  writeSync(fd, length)
  writeSync(fd, header)
  const noise = randomWeights()
  for (const [index, { shape, ones }] of specs.entries()) {
    const count = shape.reduce((product, size) => product * size, 1)
    if (ones === true) writeAll(fd, new Uint16Array(count).fill(0x3f80))
    // Another start for each tensor, so that no two layers are alike.
    else for (let at = 0; at < count; ) at += writeAll(fd, noise.subarray(at === 0 ? (index * 7919) % 65536 : 0).subarray(0, count - at))
  }
  closeSync(fd)
}

function writeAll(fd: number, values: Uint16Array): number {
  const bytes = Buffer.from(values.buffer, values.byteOffset, values.byteLength)
  for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done)
  return values.length
}

/** 8M bf16 values, normal with a deviation of 0.02, from a fixed seed. No denormals: those would measure their penalty, not the kernel. */
function randomWeights(): Uint16Array {
  const values = new Float32Array(1 << 23)
  let state = 12345
  const uniform = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return (state + 0.5) / 2 ** 32
  }
  for (let i = 0; i < values.length; i += 2) {
    const radius = 0.02 * Math.sqrt(-2 * Math.log(uniform()))
    const angle = 2 * Math.PI * uniform()
    values[i] = radius * Math.cos(angle)
    values[i + 1] = radius * Math.sin(angle)
  }
  return Uint16Array.from(new Uint32Array(values.buffer), (bits) => bits >>> 16)
}
