/** Writes a shaped checkpoint (model_shapes.ts) as GGUF, so that another engine runs the same weights. */
import { closeSync, existsSync, mkdirSync, openSync, readSync, renameSync, writeSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'

import { modelShapes, shapedModel, tensors } from '../model_shapes.js'
import type { ModelShape, ModelShapeName } from '../model_shapes.js'

export type GgufFormat = 'bf16' | 'q8_0'

const ggmlType = { f32: 0, q8_0: 8, bf16: 30 } as const
const valueType = { uint32: 4, int32: 5, float32: 6, string: 8, array: 9 } as const
const alignment = 32
const q8Block = 32

/** The GGUF file of a shape, written on first use beside the checkpoint. */
export function ggufModel(name: ModelShapeName, format: GgufFormat): string {
  const file = path.join(os.tmpdir(), 'agentinfer-bench', `llama-${name}-${format}.gguf`)
  if (existsSync(file)) return file
  mkdirSync(path.dirname(file), { recursive: true })
  const partial = `${file}.${process.pid}`
  writeGguf(path.join(shapedModel(name), 'model.safetensors'), partial, modelShapes[name], format)
  renameSync(partial, file)
  return file
}

interface Entry {
  source: string
  name: string
  shape: readonly number[]
  type: keyof typeof ggmlType
  bytes: number
  /** Rows of q and k change places: GGUF's llama pairs neighbours in the rotary embedding, checkpoints pair halves. */
  headRows: number | undefined
}

function entriesOf(shape: ModelShape, format: GgufFormat): Entry[] {
  return tensors(shape).map((spec) => {
    const type = spec.ones === true ? 'f32' : format
    const count = spec.shape.reduce((product, size) => product * size, 1)
    const bytes = { f32: 4 * count, bf16: 2 * count, q8_0: (count / q8Block) * (q8Block + 2) }[type]
    const rotary = /\.(q|k)_proj\./.test(spec.name)
    return { source: spec.name, name: ggufName(spec.name), shape: spec.shape, type, bytes, headRows: rotary ? shape.hiddenSize / shape.heads : undefined }
  })
}

function ggufName(name: string): string {
  const parts: Record<string, string> = {
    'model.embed_tokens.weight': 'token_embd.weight',
    'model.norm.weight': 'output_norm.weight',
    'lm_head.weight': 'output.weight',
    'self_attn.q_proj': 'attn_q',
    'self_attn.k_proj': 'attn_k',
    'self_attn.v_proj': 'attn_v',
    'self_attn.o_proj': 'attn_output',
    'mlp.gate_proj': 'ffn_gate',
    'mlp.up_proj': 'ffn_up',
    'mlp.down_proj': 'ffn_down',
    input_layernorm: 'attn_norm',
    post_attention_layernorm: 'ffn_norm',
  }
  const [, layer, part] = /^model\.layers\.(\d+)\.(.+)\.weight$/.exec(name) ?? []
  return part === undefined ? parts[name]! : `blk.${layer}.${parts[part]!}.weight`
}

/** Little-endian pieces of the header. */
class Header {
  readonly #parts: Buffer[] = []
  /** Keys written. */
  keys = 0
  uint32(value: number): this {
    const part = Buffer.alloc(4)
    part.writeUInt32LE(value)
    return this.raw(part)
  }
  uint64(value: number): this {
    const part = Buffer.alloc(8)
    part.writeBigUInt64LE(BigInt(value))
    return this.raw(part)
  }
  string(value: string): this {
    const text = Buffer.from(value)
    return this.uint64(text.length).raw(text)
  }
  raw(part: Buffer): this {
    this.#parts.push(part)
    return this
  }
  keyed(key: string, type: keyof typeof valueType): this {
    this.keys += 1
    return this.string(key).uint32(valueType[type])
  }
  float(key: string, value: number): this {
    return this.keyed(key, 'float32').raw(Buffer.from(Float32Array.of(value).buffer))
  }
  count(key: string, value: number): this {
    return this.keyed(key, 'uint32').uint32(value)
  }
  bytes(): Buffer {
    return Buffer.concat(this.#parts)
  }
}

function metadata(shape: ModelShape): Header {
  const header = new Header()
  // The vocabulary's text does not matter, but its bytes must be there.
  const byte = (id: number): string => `<0x${(id - 3).toString(16).toUpperCase().padStart(2, '0')}>`
  const pieces = Array.from({ length: shape.vocabSize }, (_, id) => ['<unk>', '<s>', '</s>'][id] ?? (id < 259 ? byte(id) : `t${id}`))
  header
    .keyed('general.architecture', 'string').string('llama')
    .keyed('general.name', 'string').string('random')
    .count('llama.context_length', shape.maxPositions)
    .count('llama.embedding_length', shape.hiddenSize)
    .count('llama.block_count', shape.layers)
    .count('llama.feed_forward_length', shape.intermediateSize)
    .count('llama.attention.head_count', shape.heads)
    .count('llama.attention.head_count_kv', shape.kvHeads)
    .count('llama.rope.dimension_count', shape.hiddenSize / shape.heads)
    .count('llama.vocab_size', shape.vocabSize)
    .float('llama.rope.freq_base', 500000)
    .float('llama.attention.layer_norm_rms_epsilon', 1e-5)
    .keyed('tokenizer.ggml.model', 'string').string('llama')
    .count('tokenizer.ggml.bos_token_id', 1)
    .count('tokenizer.ggml.eos_token_id', 2)
    .keyed('tokenizer.ggml.tokens', 'array').uint32(valueType.string).uint64(pieces.length)
  for (const piece of pieces) header.string(piece)
  header.keyed('tokenizer.ggml.scores', 'array').uint32(valueType.float32).uint64(pieces.length)
  header.raw(Buffer.from(Float32Array.from(pieces, (_, id) => -id).buffer))
  // 1: normal, 2: unknown, 3: control, 6: byte.
  header.keyed('tokenizer.ggml.token_type', 'array').uint32(valueType.int32).uint64(pieces.length)
  header.raw(Buffer.from(Int32Array.from(pieces, (_, id) => [2, 3, 3][id] ?? (id < 259 ? 6 : 1)).buffer))
  return header
}

function aligned(size: number): number {
  return Math.ceil(size / alignment) * alignment
}

function writeGguf(source: string, target: string, shape: ModelShape, format: GgufFormat): void {
  const entries = entriesOf(shape, format)
  const about = metadata(shape)
  const header = new Header().raw(Buffer.from('GGUF')).uint32(3).uint64(entries.length).uint64(about.keys).raw(about.bytes())
  let offset = 0
  for (const { name, shape: sizes, type, bytes } of entries) {
    header.string(name).uint32(sizes.length)
    for (const size of sizes.toReversed()) header.uint64(size)
    header.uint32(ggmlType[type]).uint64(offset)
    offset += aligned(bytes)
  }
  const start = header.bytes()
  const out = openSync(target, 'w')
  writeAll(out, start, 0)
  let at = aligned(start.length)
  for (const [entry, values] of readTensors(source, entries)) {
    writeAll(out, encode(permute(values, entry), entry.type), at)
    at += aligned(entry.bytes)
  }
  closeSync(out)
}

function writeAll(fd: number, data: Uint8Array, at: number): void {
  for (let done = 0; done < data.length; ) done += writeSync(fd, data, done, data.length - done, at + done)
}

function* readTensors(file: string, entries: readonly Entry[]): Generator<[Entry, Uint16Array]> {
  const fd = openSync(file, 'r')
  const length = Buffer.alloc(8)
  readSync(fd, length, 0, 8, 0)
  const headerLength = Number(length.readBigUInt64LE())
  const text = Buffer.alloc(headerLength)
  readSync(fd, text, 0, headerLength, 8)
  const index = JSON.parse(text.toString()) as Record<string, { data_offsets: [number, number] }>
  for (const entry of entries) {
    const [begin, end] = index[entry.source]!.data_offsets
    const values = new Uint16Array((end - begin) / 2)
    readSync(fd, values, 0, end - begin, 8 + headerLength + begin)
    yield [entry, values]
  }
  closeSync(fd)
}

function permute(values: Uint16Array, { shape, headRows }: Entry): Uint16Array {
  if (headRows === undefined) return values
  const [rows = 0, columns = 0] = shape
  const half = headRows / 2
  const out = new Uint16Array(values.length)
  for (let row = 0; row < rows; row++) {
    const within = row % headRows
    const from = row - within + (within % 2) * half + Math.floor(within / 2)
    out.set(values.subarray(from * columns, (from + 1) * columns), row * columns)
  }
  return out
}

function encode(values: Uint16Array, type: keyof typeof ggmlType): Uint8Array {
  if (type === 'bf16') return new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
  const floats = new Float32Array(Uint32Array.from(values, (bits) => bits << 16).buffer)
  return type === 'f32' ? new Uint8Array(floats.buffer) : quantize(floats)
}

/** Blocks of 32: a half-precision scale, then 32 bytes. */
function quantize(values: Float32Array): Uint8Array {
  const out = new DataView(new ArrayBuffer((values.length / q8Block) * (q8Block + 2)))
  for (let block = 0, at = 0; block < values.length; block += q8Block) {
    let largest = 0
    for (let i = block; i < block + q8Block; i++) largest = Math.max(largest, Math.abs(values[i]!))
    const scale = largest / 127
    out.setUint16(at, halfBits(scale), true)
    at += 2
    const inverse = scale === 0 ? 0 : 1 / scale
    for (let i = block; i < block + q8Block; i++) out.setInt8(at++, Math.round(values[i]! * inverse))
  }
  return new Uint8Array(out.buffer)
}

/** IEEE half precision of a number in [2^-14, 65504), or 0. Scales of weights lie well within. */
function halfBits(value: number): number {
  if (value < 2 ** -14) return Math.round(value / 2 ** -24)
  const exponent = Math.floor(Math.log2(value))
  return ((exponent + 15) << 10) + Math.round((value / 2 ** exponent - 1) * 1024)
}
