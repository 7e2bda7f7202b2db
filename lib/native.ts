/**
 * The one place that loads the addon and declares what it offers. The step contract below is one half; native/engine/step.h
 * is the other. They change together, and test/boundary/contract.test.ts compares them.
 */
import { existsSync } from 'node:fs'
import path from 'node:path'

import addon from './addon.cjs'
import { AgentInferError } from './errors.js'

/** Orders of the fields of the flat records that cross at each step, and of the kinds in them. A record's stride is the number of its fields. */
export const contract = {
  planRow: ['sequence', 'tokens', 'draftLimit'],
  planPreempt: ['sequence'],
  planRetain: ['session', 'retentionClass', 'expiresAt'],
  planPrefetch: ['session'],
  planDraft: ['sequence', 'tokens'],
  outcome: [
    'sequence', 'kind', 'computed', 'emitted', 'finish', 'drafted', 'accepted', 'blocks', 'cachedTokens', 'error',
  ],
  probe: ['sequence', 'hitTokens', 'pinned', 'evictable', 'host', 'need', 'group'],
  miss: ['sequence', 'cause', 'index', 'token', 'indexed'],
  pool: ['total', 'free', 'cached', 'used', 'hostTotal', 'hostFree', 'evicted'],
  demand: ['pinned', 'evictable', 'host', 'fresh'],
  draft: ['sequence', 'source', 'drafted', 'accepted', 'savedMicroseconds'],
  draftMemory: [
    'open', 'sessions', 'roles', 'storedSessions', 'storedAutomata', 'storedBytes', 'evictedSessions', 'failures',
  ],
  draftSources: ['own', 'session', 'sibling', 'role', 'retrieved', 'supplied'],
  phases: ['reserve', 'draft', 'forward', 'sample', 'commit', 'total'],
  outcomeKinds: ['committed', 'deferred', 'failed', 'gone'],
  finishReasons: ['none', 'stop', 'length'],
  missCauses: ['none', 'never-seen', 'evicted', 'salt', 'partial'],
} as const

/** Where each of some names lies in their list. */
export const positions = <const Names extends readonly string[]>(names: Names): Record<Names[number], number> =>
  Object.fromEntries(names.map((name, index) => [name, index])) as Record<Names[number], number>

/** `kind` of an outcome. */
export const OutcomeKind = positions(contract.outcomeKinds)
/** `finish` of an outcome. */
export const Finish = positions(contract.finishReasons)

export interface NativeSampling {
  temperature: number
  topK: number
  topP: number
  minP: number
  repetitionPenalty: number
  presencePenalty: number
  frequencyPenalty: number
  minTokens: number
  seed: number
  stopIds: Int32Array
  biasIds?: Int32Array
  bias?: Float64Array
  allowedIds?: Int32Array
  forced?: Int32Array
  logprobs?: boolean
  topLogprobs?: number
}

/** What a sequence may draft from, beside its own text, and what it leaves behind for others. Absent names: none. */
export interface NativeSpeculation {
  /** Nothing crosses between tenants. */
  tenant: string
  /** Whether `SequenceSpec.session` is its session here too; otherwise `conversation` names one. */
  session: boolean
  conversation?: string
  /** Agents working on the same task. */
  run?: string
  /** Agents with the same system prompt. */
  role?: string
  /** The task in words, and its embedding, to find stored sessions by. */
  query?: string
  vector?: Float64Array
}

export interface SequenceSpec {
  id: number
  /** Owner of the KV; absent: nobody's. */
  session?: number
  /** Sequences with different salts share no KV. */
  salt?: number
  tokens: Int32Array
  maxTokens: number
  sampling: NativeSampling
  /** Absent: nothing is drafted for it, and nobody drafts from it. */
  speculation?: NativeSpeculation
}

export interface StepPlan {
  /** Seconds; retention expiries are on the same clock. */
  now: number
  rows: Int32Array
  preempt?: Int32Array
  retain?: Float64Array
  prefetch?: Int32Array
  /** So many of `draftTokens`, in order, are verified instead of what the engine would draft. */
  drafts?: Int32Array
  draftTokens?: Int32Array
  probe?: Int32Array
  demand?: boolean
  /** Further steps that may follow with the same rows and no new plan, each with a result of its own, until anything happens. Default 0. */
  ahead?: number
  /** Milliseconds for which results that another one follows may be kept, to arrive with it. Default 0. */
  hold?: number
}

export interface StepResult {
  outcomes: Int32Array
  tokens: Int32Array
  probes: Int32Array
  misses: Int32Array
  pool: Int32Array
  demand: Int32Array
  drafts: Int32Array
  draftMemory: Float64Array
  /** About the draft memory: a file refused, a save that failed. */
  notices?: string[]
  /** Milliseconds. */
  phases: Float64Array
  logprobs?: Float32Array
  topCounts?: Int32Array
  topIds?: Int32Array
  topLogprobs?: Float32Array
  errors?: Error[]
  unhealthy?: string
  /** How many steps with this plan came before this one. */
  repeat: number
  /** Milliseconds between the step before and this one, where it is repeated; else 0. */
  gap: number
  /** Milliseconds for which it was kept after its step. */
  held: number
  /** A further step with this plan runs already: its result comes by itself. */
  more: boolean
}

/** What config.json says, resolved. Sizes in elements. */
export interface ModelInfo {
  /** As in config.json, such as `PanguEmbeddedForCausalLM`. */
  architecture: string
  /** Of a token's state between layers. */
  hiddenSize: number
  /** Decoder layers. */
  layers: number
  /** Query heads of a layer. */
  heads: number
  /** Heads of keys and values of a layer: `heads` is a multiple. */
  kvHeads: number
  /** Of one head. */
  headDim: number
  /** Of the gated MLP. */
  intermediateSize: number
  /** Rows of the embedding; the tokenizer may know fewer ids. */
  vocabSize: number
  /** Tokens that the model was made for; `maxContext` of the engine may be less. */
  maxPositionEmbeddings: number
  /** Base of the rotary embedding's frequencies. */
  ropeTheta: number
  /** What RMSNorm adds under its root. */
  rmsNormEps: number
  /** Whether the projections of queries, keys and values have biases. */
  qkvBias: boolean
  /** Whether the projection behind attention has a bias. */
  oBias: boolean
  /** Whether the MLP's projections have biases. */
  mlpBias: boolean
  /** Whether queries and keys are normed head by head, as in Qwen3. */
  qkNorm: boolean
  /** Whether attention and MLP are normed behind as well as before. */
  sandwichNorm: boolean
  /** Whether the output matrix is the embedding. */
  tieWordEmbeddings: boolean
  /** Declared for the folder's weights: `BF16`, `F16` or `F32`. What the engine computes with is its option `weights`. */
  dtype: string
  /** Whether the folder has int8 weights with their scales, as `agentinfer quantize` makes them. */
  w8a8: boolean
  /** Of the token before a text; -1: none. */
  bosTokenId: number
  /** Of the token that fills; -1: none. */
  padTokenId: number
  /** Of the tokens that end a generation, those of generation_config.json included. */
  eosTokenIds: Int32Array
}

/** Bytes by purpose, computed from config.json before anything is taken. */
export interface MemoryPlan {
  items: { name: string; bytes: number; detail: string }[]
  total: number
}

/** The memory of one card of a group, filled with KV. Bytes and tokens. */
export interface CardPlan {
  config: ModelInfo
  plan: MemoryPlan
  /** What the card has in all. */
  cardBytes: number
  /** Tokens a sequence may have. */
  context: number
  /** Tokens of KV that have room, and full contexts of them. */
  kvTokens: number
  contexts: number
  /** Bytes each card is short of before one context has room; 0: it fits. */
  missing: number
}

export interface NpuReport {
  /** CANN's libraries are open and good enough. */
  loaded: boolean
  /** Why not, or why no device can be used; empty when all is well. */
  problem: string
  folder: string
  version: string
  /** The oldest release that will do. */
  minimum: string
  soc: string
  /** Optional functions this CANN does not have. */
  absent: string[]
  /** Bytes of device memory, of all processes. */
  devices: { id: number; free: number; total: number; problem: string }[]
}

export interface NativeEngineInfo {
  /** Of the model, from its config.json. */
  config: ModelInfo
  /** 'cpu', 'npu:0' ... */
  device: string
  /** With `device: 'auto'` on the CPU: why it is not an NPU. With `selfCheck: 'warn'`: what was wrong. Otherwise empty. */
  deviceNote: string
  /** The CPU's instruction set, or the NPU's chip. */
  isa: string
  /** Ranks; bytes below are of all of them. */
  tensorParallel: number
  /** CPU threads of all ranks. */
  threads: number
  /** KV blocks of the pool. */
  blocks: number
  /** KV blocks of the host tier. */
  hostBlocks: number
  /** Tokens in a KV block. */
  blockSize: number
  /** Tokens a request may have, prompt and output together. */
  maxContext: number
  /** Tokens computed in one step at most. */
  maxBatchTokens: number
  /** Sequences in one step at most. */
  maxSequences: number
  /** Bytes of the weights. */
  weightBytes: number
  /** Bytes of the KV pool. */
  kvBytes: number
  /** Bytes of what a step computes in. */
  workspaceBytes: number
}

/** Names and units as in lib/options.ts. */
export interface NativeEngineOptions {
  folder: string
  device?: string
  deviceTimeout?: number
  graphs?: boolean
  nz?: boolean
  selfCheck?: 'warn' | 'error' | 'off'
  threads?: number
  isa?: string
  tensorParallel?: number
  weights?: 'bf16' | 'int8'
  kvDtype?: 'f16' | 'f32'
  maxContext?: number
  kvTokens?: number
  hostKvBytes?: number
  blockSize?: number
  maxBatchTokens?: number
  maxSequences?: number
  speculation?: {
    /** Unique: names this engine's sessions in files that outlive it. */
    engineName: string
    /** Of sessions' texts and stored sessions; 0: requests draft from their own text alone. */
    memoryBytes: number
    directory?: string
    siblings: number
    retrieved: number
  }
}

export interface NativeEngineEvents {
  progress: { done: number; total: number }
  opened: NativeEngineInfo
  failed: Error
  rejected: { id: number; error: Error }
  result: StepResult
  /** Empty: every invariant of pool, index and tables holds. */
  checked: string
  closed: undefined
}

export type NativeEngineListener = <K extends keyof NativeEngineEvents>(kind: K, value: NativeEngineEvents[K]) => void

/** Calls return at once and run in order on the engine's thread; `closed` is the last event. */
export interface NativeEngine {
  add(spec: SequenceSpec): void
  remove(id: number): void
  forget(session: number): void
  /** One result for each step; the last of a plan has `more: false`. Any later call makes the step in flight the last. */
  step(plan: StepPlan): void
  /** Nothing else than that. */
  interrupt(): void
  check(): void
  close(): void
  /** Whether an open engine keeps the process alive (it does until unref). */
  ref(): void
  unref(): void
}

export interface TextSegment {
  text: string
  /** Whether special markers in it become special ids. */
  special: boolean
}

export interface NativeDetokenizer {
  /** One id at a time: a number crosses for a fraction of what an array costs. */
  push(id: number): string
  flush(): string
}

export interface NativeTokenizer {
  encode(segments: readonly TextSegment[]): Int32Array
  encodeAsync(segments: readonly TextSegment[]): Promise<Int32Array>
  decode(ids: Int32Array, skipSpecial?: boolean): string
  detokenizer(skipSpecial?: boolean): NativeDetokenizer
  piece(id: number): string
  tokenId(piece: string): number | null
  facts(): {
    vocabSize: number
    bosId: number | null
    eosId: number | null
    padId: number | null
    unkId: number | null
    addBos: boolean
  }
}

/** What this machine can do at most. An addition and a multiplication count as two operations. */
export interface MachineLimits {
  /** Streaming reads of memory far larger than the caches. */
  readBytesPerSecond: number
  /** f32 arithmetic. */
  flopsPerSecond: number
  /** int8 products with int32 sums. */
  int8OpsPerSecond: number
}

export interface NativeAddon {
  NativeEngine: new (options: NativeEngineOptions, listener: NativeEngineListener) => NativeEngine
  openTokenizer(folder: string): Promise<NativeTokenizer>
  /** `planOnly`: from config.json alone, without tensors. */
  inspect(options: NativeEngineOptions & { planOnly?: boolean }): Promise<{
    config: ModelInfo
    plan: MemoryPlan
    tensors: { name: string; dtype: string; shape: string; bytes: number }[]
  }>
  /** From the text of a config.json. Defaults: one card, bf16, the model's own context. */
  planCard(config: string, options: { tensorParallel?: number; weights?: 'bf16' | 'int8'; context?: number }): CardPlan
  /** Makes an int8 folder from a 16-bit one. Progress in bytes of the source. */
  quantize(
    options: { source: string; target: string; threads?: number },
    onProgress: (done: number, total: number) => void,
  ): {
    done: Promise<{ sourceBytes: number; writtenBytes: number; matrices: number; files: number }>
    abort(): void
  }
  /** Instruction sets that can run here, best first, and the cores this process may use. */
  cpu(): { isas: string[]; threads: number }
  /** What CANN and the NPUs of this host look like. Loads CANN if it is there. */
  npu(): Promise<NpuReport>
  /** Medians of `samples` measurements of some tens of milliseconds each, on a thread of the pool; takes 256 MiB meanwhile. */
  limits(options: { threads?: number; isa?: string; samples?: number }): Promise<MachineLimits>
  contract: Record<keyof typeof contract, string[]>
}

/** The folder that holds package.json. */
export const packageRoot: string = addon.packageRoot

/** Where the addon may lie, in the order in which it is looked for. */
export const addonPlaces: readonly string[] = ['build/Release', `prebuilds/${process.platform}-${process.arch}`].map((place) =>
  path.join(packageRoot, place),
)

let loaded: NativeAddon | undefined

/**
 * The addon, loaded on first use.
 * @throws {AgentInferError} `ERR_ADDON_NOT_FOUND` saying where it was looked for, what each place held, and the way out.
 */
export function native(): NativeAddon {
  if (loaded !== undefined) return loaded
  try {
    loaded = addon.load() as NativeAddon
    return loaded
  } catch (cause) {
    const places = addonPlaces.map((place) => `${place} (${existsSync(place) ? 'present, but nothing in it loads here' : 'absent'})`)
    throw new AgentInferError(
      'ERR_ADDON_NOT_FOUND',
      `no native addon for ${process.platform}-${process.arch}, Node ${process.versions.node}: looked in ${places.join(' and ')}. ` +
        `In a clone, run: npm run build:native. Elsewhere \`agentinfer doctor\` says more. The loader said: ${firstLine(cause)}`,
      { cause },
    )
  }
}

function firstLine(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split('\n', 1)[0]!
}
