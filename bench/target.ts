/** The model and the device that a case measures, as its options name them (options.ts), and what the device allows at most. */
import { createHash } from 'node:crypto'
import { closeSync, openSync, readFileSync, readSync, readdirSync, statSync } from 'node:fs'
import path from 'node:path'

import { Engine, measureLimits } from 'agentinfer'
import type { EngineInfo, EngineOptions } from 'agentinfer'

import { ascend910B3 } from './ascend/chip.js'
import { modelFolder } from './model_shapes.js'
import type { modelOptions, targetOptions } from './options.js'
import type { About, Report } from './report.js'

/** Of `targetOptions`, or of `modelOptions` alone. */
type Asked = Readonly<Record<keyof ReturnType<typeof modelOptions>, string> & Partial<Record<keyof typeof targetOptions, string>>>

/** Opens it, and says so in the record of the run. `more`: what the case needs, where it was not asked for otherwise. */
export async function openTarget(report: Report, values: Asked, more: Partial<EngineOptions> = {}): Promise<Engine> {
  const folder = modelFolder(values.model)
  report.progress(`opening ${folder}`)
  const given = (name: 'threads' | 'max-context' | 'kv-tokens'): number | undefined => {
    const { [name]: value = '' } = values
    return value === '' ? undefined : Number(value)
  }
  const [threads, maxContext, kvTokens] = [given('threads'), given('max-context'), given('kv-tokens')]
  const engine = await Engine.open({
    ...more,
    model: folder,
    device: values.device,
    weights: values.weights as NonNullable<EngineOptions['weights']>,
    ...(values.scheduler !== undefined && { scheduler: values.scheduler as NonNullable<EngineOptions['scheduler']> }),
    ...(threads !== undefined && { threads }),
    ...(maxContext !== undefined && { maxContext }),
    ...(kvTokens !== undefined && { kvTokens }),
  })
  report.about({ model: describeModel(folder, engine.info) })
  return engine
}

export function describeModel(folder: string, info: EngineInfo): About {
  const { config, device, isa, threads, weightBytes, kvBytes, blocks, blockSize, tensorParallel } = info
  return {
    folder: path.basename(path.resolve(folder)), fingerprint: fingerprint(folder), architecture: config.architecture, layers: config.layers, hiddenSize: config.hiddenSize,
    vocabSize: config.vocabSize, device, isa, threads, tensorParallel, weightBytes, kvBytes, kvTokens: blocks * blockSize,
  }
}

const sampled = 1 << 20

/**
 * SHA-256 of the configuration, and of each weight file its name, its size and its first and last MiB: tells two models apart without
 * reading all of them.
 */
export function fingerprint(folder: string): string {
  const hash = createHash('sha256')
  const files = readdirSync(folder).filter((file) => file === 'config.json' || file.endsWith('.safetensors'))
  for (const file of files.toSorted()) {
    const full = path.join(folder, file)
    const { size } = statSync(full)
    hash.update(`${file}\0${size}\0`)
    if (file === 'config.json') hash.update(readFileSync(full))
    else for (const at of new Set([0, Math.max(0, size - sampled)])) hash.update(bytesAt(full, at, Math.min(sampled, size)))
  }
  return hash.digest('hex').slice(0, 16)
}

function bytesAt(file: string, at: number, count: number): Buffer {
  const buffer = Buffer.alloc(count)
  const fd = openSync(file, 'r')
  try {
    return buffer.subarray(0, readSync(fd, buffer, 0, count, at))
  } finally {
    closeSync(fd)
  }
}

/** What no engine on this device can exceed: reading weights, and multiplying them. */
export interface DeviceLimits {
  readonly bytesPerSecond: number
  readonly operationsPerSecond: number
  /** Where from; for the reader of a figure. */
  readonly note: string
}

export async function deviceLimits({ device, threads }: EngineInfo, weights: string): Promise<DeviceLimits> {
  if (device === 'cpu') {
    const { readBytesPerSecond, flopsPerSecond, int8OpsPerSecond } = await measureLimits({ threads })
    return { bytesPerSecond: readBytesPerSecond, operationsPerSecond: weights === 'int8' ? int8OpsPerSecond : flopsPerSecond, note: 'limit: measured on this machine in this run' }
  }
  const devices = device.split(',').length
  const { peak, weightBandwidth } = ascend910B3
  return {
    bytesPerSecond: devices * weightBandwidth,
    operationsPerSecond: devices * (weights === 'int8' ? peak.int8 : peak.bf16),
    note: 'limit: from published figures of an Ascend 910B3, not measured',
  }
}

/** Bytes of weights that a step reads, and operations of one token's matrices; attention, norms and KV are left out. */
export function costsOf({ config, weightBytes }: EngineInfo): { readonly bytes: number; readonly operations: number } {
  const { hiddenSize, layers, heads, kvHeads, headDim, intermediateSize, vocabSize, tieWordEmbeddings } = config
  const attention = hiddenSize * headDim * (2 * heads + 2 * kvHeads)
  const parameters = layers * (attention + 3 * hiddenSize * intermediateSize)
  const table = 2 * hiddenSize * vocabSize
  return { bytes: weightBytes - (tieWordEmbeddings ? 0 : table), operations: 2 * parameters }
}

/** Tokens a second that `sequences` decoding together cannot exceed. */
export function decodeLimit(info: EngineInfo, { bytesPerSecond, operationsPerSecond }: DeviceLimits, sequences: number): number {
  const { bytes, operations } = costsOf(info)
  const head = 2 * info.config.hiddenSize * info.config.vocabSize
  return sequences / Math.max(bytes / bytesPerSecond, (sequences * (operations + head)) / operationsPerSecond)
}
