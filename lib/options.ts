/** Every public option, once: its type, default, unit and meaning. Unknown keys are refused. */
import { z } from 'zod'

import { AgentInferError } from './errors.js'
import { maxDraftTokens } from './policy/speculate.js'
import { defaultScheduler, schedulerNames } from './policy/schedulers.js'
import type { Scheduler } from './policy/types.js'

function isScheduler(value: unknown): value is Scheduler {
  const { name, plan } = (value ?? {}) as Partial<Record<keyof Scheduler, unknown>>
  return typeof name === 'string' && typeof plan === 'function'
}

const positive = () => z.int().positive()
/** Of any vocabulary; ids cross as 32-bit integers. */
const tokenId = z.int32().min(0)
/** Seconds that a timer can wait: 24 days. */
export const longestTimer = 2_147_483

const speculationFields = z.strictObject({
  /** Tokens drafted for a sequence and step at most. */
  maxDraft: z.int().min(1).max(maxDraftTokens).default(maxDraftTokens),
  /** Other agents of the same run to draft from, for each request at most. */
  siblings: z.int().min(0).max(11).default(8),
  /** Stored sessions with similar queries to draft from, for each request at most. */
  retrieved: z.int().min(0).max(11).default(8),
  memory: z
    .strictObject({
      /** Host memory for sessions' texts and stored sessions, of all tenants; 0: each request drafts from its own text alone. */
      bytes: z.int().min(0).default(256 * 1024 * 1024),
      /** Keeps stored sessions over restarts, one file for each tenant. For one engine at a time. */
      directory: z.string().min(1).optional(),
    })
    .prefault({}),
})
export type EngineSpeculationOptions = z.output<typeof speculationFields>

/**
 * Speculation: tokens that the texts at hand suggest are verified several at a time. The output is the same with and without, token
 * for token; only its speed changes. `'auto'` drafts as far as it is expected to pay, which may be not at all.
 */
const engineSpeculation = z
  .union([z.enum(['auto', 'off']), speculationFields])
  .default('auto')
  .transform((value) => (value === 'off' ? undefined : value === 'auto' ? speculationFields.parse({}) : value))

/** What the model has read and said so far. */
export interface DraftContext {
  readonly prompt: Int32Array
  readonly output: readonly number[]
}

/** Of one request. Without a query, a role or a run of its own, those of its messages and its session are taken. */
const requestSpeculation = z.union([
  z.enum(['auto', 'off']),
  z.strictObject({
    /** Tokens drafted for it in a step at most; the engine's limit holds too. */
    maxDraft: z.int().min(1).max(maxDraftTokens).optional(),
    /**
     * What it may draft from beside its own text, and is kept for: earlier turns of its session, other agents of its run, agents with
     * the same system prompt, stored sessions with similar queries. Default: all.
     */
    sources: z.array(z.enum(['session', 'sibling', 'role', 'retrieved'])).optional(),
    /** Its task in words, to find stored sessions by. Default: the first user message. */
    query: z.string().optional(),
    /** An embedding of the query; all of a tenant's of one size. */
    vector: z.array(z.number()).min(1).optional(),
    /**
     * Drafts of your own instead of the engine's: called before each step of decoding, gives the ids that may come next, at most
     * maxDraft. All of them are verified, whether that pays or not. It holds the loop up, so it must be quick.
     */
    drafter: z.custom<(context: DraftContext) => ArrayLike<number>>((value) => typeof value === 'function', 'expected a function').optional(),
    /** Names the role; default: the system prompt does. */
    role: z.string().optional(),
    /** Names the run; default: the session's. */
    run: z.string().optional(),
  }),
])
export type RequestSpeculation = z.output<typeof requestSpeculation>

export const engineOptionsSchema = z.strictObject({
  /** Folder of a Hugging Face style checkpoint. */
  model: z.string().min(1),
  /**
   * Where to run: `'cpu'`, `'npu:0'`, `'npu:0,1'` (tensor parallel over these; numbers as `ASCEND_RT_VISIBLE_DEVICES` leaves them), or
   * `'auto'`: the first NPU, or the CPU where there is none. `engine.info.device` says what was chosen, `engine.info.deviceNote` why it is not an NPU.
   */
  device: z.string().regex(/^(cpu|auto|npu:\d{1,4}(,\d{1,4})*)$/, "expected 'cpu', 'auto', 'npu:0' or 'npu:0,1'").default('auto'),
  /** NPU: capture decode and verification steps as graphs and replay them; off: every operator is launched by itself. */
  graphs: z.boolean().default(true),
  /**
   * NPU: lay weights out in FRACTAL_NZ, the blocks that its matrix units read, instead of row by row. Others report gains for decode, most with
   * int8; loading takes longer. Tokens differ by rounding at most. Without effect where CANN has no products by it, or
   * `'auto'` finds no NPU; refused with `'cpu'`.
   */
  nz: z.boolean().default(false),
  /**
   * NPU: at opening, a small model of the same kind runs on the device and on the CPU, and then the model's own first layers, as loaded, on
   * every device and on the CPU (which takes about 1 GB of memory and a few seconds while opening). If their logits differ by more than
   * rounding, `'error'` refuses to open and `'warn'` says so in `engine.info.deviceNote` and as a process warning.
   */
  selfCheck: z.enum(['warn', 'error', 'off']).default('warn'),
  /** Seconds that an NPU may take to answer before it counts as lost. */
  deviceTimeout: z.number().positive().max(86400).default(120),
  /** Weight format: 16-bit, or int8 weights with int8 activations (W8A8). Folders that are int8 already stay so. */
  weights: z.enum(['bf16', 'int8']).default('bf16'),
  /**
   * Ranks the model is cut over (tensor parallel): query heads, feed-forward width and vocabulary must divide by it. On the CPU the
   * ranks share the threads: for tests of what several devices do, never faster. With NPUs: as many as `device` names.
   */
  tensorParallel: z.int().min(1).max(64).default(1),
  /** CPU threads, of all ranks; default: the cores this process may use. */
  threads: z.int().min(1).max(256).optional(),
  /** Forces an instruction set (see `agentinfer doctor`); default: the best there is. */
  isa: z.string().optional(),
  /** Tokens a request may have, prompt and output together; default: the model's own limit, at most 8192. */
  maxContext: positive().optional(),
  /** Tokens of KV kept in all; default: four full contexts, less where memory is short. */
  kvTokens: positive().optional(),
  /** Element type of the KV cache on the CPU; an NPU keeps bf16 and takes only the default. */
  kvDtype: z.enum(['f16', 'f32']).default('f16'),
  /** Bytes of host memory for KV that left the device; 0: none. */
  hostKvBytes: z.int().min(0).default(0),
  /** Tokens in a KV block, the unit of sharing; a multiple of 16 from 16 to 256. Default: 32; an NPU has 128 and takes nothing else. */
  blockSize: z.int().min(16).max(256).multipleOf(16).optional(),
  /** Tokens computed in one step at most: decodes first, the rest for prefill chunks. */
  maxBatchTokens: z.int().min(16).max(16384).default(512),
  /** Sequences in one step at most. */
  maxSequences: z.int().min(1).max(1024).default(64),
  speculation: engineSpeculation,
  /** Requests that may wait; more are refused with `ERR_BUSY`. */
  maxQueue: z.int().min(1).default(1024),
  /** Who runs next: a scheduler by name (see lib/policy/schedulers.ts), or your own. */
  scheduler: z
    .union([z.enum(schedulerNames), z.custom<Scheduler>(isScheduler)], {
      error: `expected one of ${schedulerNames.map((name) => `'${name}'`).join(', ')}, or a scheduler { name, plan }`,
    })
    .default(defaultScheduler),
  /** Aborts loading; the returned promise rejects with the signal's reason. */
  signal: z.instanceof(AbortSignal).optional(),
  /** Called while the checkpoint is read, with bytes done and in total. */
  onProgress: z
    .custom<(progress: { done: number; total: number }) => void>((value) => typeof value === 'function', 'expected a function')
    .optional(),
})
/** Options of `Engine.open`. @interface */
export type EngineOptions = z.input<typeof engineOptionsSchema>

export const samplingSchema = z.strictObject({
  /** 0: greedy. Default: the model's generation_config.json does not apply; 1. */
  temperature: z.number().min(0).max(100).default(1),
  /** Keep the k most likely tokens; 0: off. */
  topK: z.int32().min(0).default(0),
  /** Keep the fewest most likely tokens whose probabilities sum to this, above 0 to 1; 1: off. */
  topP: z.number().gt(0).max(1).default(1),
  /** Keep tokens at least this likely, relative to the most likely, 0..1; 0: off. */
  minP: z.number().min(0).max(1).default(0),
  /** Above 1 makes tokens of prompt and output less likely; 1: off. */
  repetitionPenalty: z.number().positive().default(1),
  /** Taken from the logit of every token already in the output, -100..100; 0: off. */
  presencePenalty: z.number().min(-100).max(100).default(0),
  /** Taken from a token's logit for each time it is in the output, -100..100; 0: off. */
  frequencyPenalty: z.number().min(-100).max(100).default(0),
  /** Added to logits, by token id. */
  logitBias: z.record(z.string().regex(/^\d{1,9}$/, 'expected a token id'), z.number()).optional(),
  /** Only these ids may be chosen. */
  allowedIds: z.array(tokenId).min(1).optional(),
  /**
   * Teacher forcing: the output begins with these ids, whatever the model says. For replaying traces, where speed is to be that of a
   * model that says them. Not together with `logprobs`.
   */
  forced: z.union([z.array(tokenId), z.instanceof(Int32Array)]).optional(),
  /** End tokens are not chosen before so many tokens were produced. */
  minTokens: z.int().min(0).default(0),
  /** Same seed, same prompt, same output, whatever else runs. Default: random. */
  seed: z.int().min(0).optional(),
  /** Report the chosen token's log probability and the n highest (0..20) of the model's own distribution. */
  logprobs: z.int().min(0).max(20).optional(),
})
/** How tokens are chosen. @interface */
export type SamplingOptions = z.input<typeof samplingSchema>

const message = z.strictObject({
  role: z.string().min(1),
  content: z.string(),
})
/** A message of a chat, as the model's template takes it. @interface */
export type Message = z.infer<typeof message>

const tokenIds = z.union([z.array(tokenId), z.instanceof(Int32Array)])

/** What every generation takes, inside a session or alone. */
const generationFields = {
  /** Tokens to generate at most; default: what the context leaves. */
  maxTokens: positive().optional(),
  sampling: samplingSchema.prefault({}),
  /** Text that ends the output and is not part of it; the first of several to come (64 at most). */
  stop: z.union([z.string().min(1), z.array(z.string().min(1)).max(64)]).optional(),
  /** Ids that end the output beside the model's own end tokens. */
  stopIds: z.array(tokenId).default([]),
  /** Go on past the model's own end tokens. */
  ignoreEos: z.boolean().default(false),
  /** Leave special markers such as `[unused16]` in the text. */
  keepSpecial: z.boolean().default(true),
  /** Higher goes first. Default: 0, or the session's. */
  priority: z.int().optional(),
  /** Seconds from now after which the request is ended with `ERR_DEADLINE`, waiting or running; 24 days at most. */
  deadline: z.number().positive().max(longestTimer).optional(),
  signal: z.instanceof(AbortSignal).optional(),
  /** `'off'`: no drafts for it, and others do not draft from it. */
  speculation: requestSpeculation.default('auto'),
}

export const generateOptionsSchema = z
  .strictObject({
    /** A chat, rendered with the model's template. One of messages, prompt and tokens is needed. */
    messages: z.array(message).min(1).optional(),
    /** Plain text, continued as it is (a BOS is put in front where the model wants one). */
    prompt: z.string().optional(),
    /** Token ids, used exactly as they are. */
    tokens: tokenIds.optional(),
    /** Jinja template for `messages`, instead of the model's. */
    chatTemplate: z.string().optional(),
    /** Whether special markers in `prompt` become special ids. */
    parseSpecial: z.boolean().default(false),
    /** Requests of different tenants share no KV; `''` is nobody's in particular. */
    tenant: z.string().default(''),
    ...generationFields,
  })
  .refine((options) => [options.messages, options.prompt, options.tokens].filter((x) => x !== undefined).length === 1, {
    message: 'expected exactly one of messages, prompt and tokens',
  })
/** Options of `engine.generate`. @interface */
export type GenerateOptions = z.input<typeof generateOptionsSchema>
export type ResolvedGenerateOptions = z.output<typeof generateOptionsSchema>

export const sessionOptionsSchema = z.strictObject({
  /** The beginning of the chat; more comes by `append`. */
  messages: z.array(message).optional(),
  /** Sessions of different tenants share no KV; `''` is nobody's in particular. */
  tenant: z.string().default(''),
  /** What it does in a run of agents, such as 'planner'; for schedulers and figures. */
  role: z.string().optional(),
  /** The run it belongs to; sessions of one run may be on different engines. */
  run: z.string().optional(),
  /** Of its requests, unless they say otherwise. Higher goes first. */
  priority: z.int().default(0),
  /** Jinja template for its messages, instead of the model's. */
  chatTemplate: z.string().optional(),
  /** For people: it appears in figures. */
  name: z.string().optional(),
})
/** Options of `engine.session`. @interface */
export type SessionOptions = z.input<typeof sessionOptionsSchema>

export const sessionInputSchema = z.union(
  [
    z.array(message),
    /** Text in parts; `special`: whether markers in a part become special ids. */
    z.strictObject({ segments: z.array(z.strictObject({ text: z.string(), special: z.boolean() })) }),
    /** Ids, used exactly as they are. */
    z.strictObject({ tokens: tokenIds }),
  ],
  { error: 'expected messages, { segments } or { tokens }' },
)
/** What `session.append` takes: messages, text in parts, or ids. */
export type SessionInput = z.input<typeof sessionInputSchema>

export const sessionGenerateSchema = z.strictObject({
  ...generationFields,
  /** What is generated becomes part of the session, the end token included. */
  append: z.boolean().default(true),
  /** Begin an answer as the template does. Default: yes, when the session has messages and no answer is left open. */
  addGenerationPrompt: z.boolean().optional(),
  /** Text the answer begins with, given instead of generated; markers in it become special ids. Part of the session, not of the output. */
  lead: z.string().min(1).optional(),
})
/** Options of `session.generate`. @interface */
export type SessionGenerateOptions = z.input<typeof sessionGenerateSchema>

export const sessionPrefillSchema = z.strictObject({
  /** Default: one below the session's. */
  priority: z.int().optional(),
  signal: z.instanceof(AbortSignal).optional(),
})
/** Options of `session.prefill`. @interface */
export type SessionPrefillOptions = z.input<typeof sessionPrefillSchema>

export const retainSchema = z.strictObject({
  /** Seconds from now; `Infinity` is allowed. */
  ttl: z.union([z.number().positive(), z.literal(Infinity)]),
  /** Blocks of higher classes are evicted after all blocks of lower ones. 0: none. */
  retentionClass: z.int().min(0).max(3).default(1),
})
/** Options of `session.retain`. @interface */
export type RetainOptions = z.input<typeof retainSchema>

export const sessionActivitySchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('idle') }),
  z.strictObject({ kind: z.literal('running') }),
  z.strictObject({ kind: z.literal('tool'), tool: z.string() }),
  z.strictObject({ kind: z.literal('elsewhere'), tokens: z.int().min(0) }),
])

/** For options that are not parsed. @throws {AgentInferError} `ERR_INVALID_ARGUMENT` naming those that are not known: a misspelt one would have no effect. */
export function refuseUnknown(given: object, known: readonly string[], what: string, prefix = ''): void {
  const unknown = Object.keys(given).filter((key) => !known.includes(key))
  if (unknown.length === 0) return
  const named = unknown.map((key) => prefix + key).join(', ')
  throw new AgentInferError('ERR_INVALID_ARGUMENT', `${what}: unknown option ${named}${known.length === 0 ? '' : `: expected some of ${known.join(', ')}`}`)
}

/** @throws {AgentInferError} `ERR_INVALID_ARGUMENT` naming each wrong option, what was expected and what came. */
export function parseOptions<Schema extends z.ZodType>(schema: Schema, value: unknown, what: string): z.output<Schema> {
  const parsed = schema.safeParse(value)
  if (parsed.success) return parsed.data
  const problems = parsed.error.issues.map((issue) => describeIssue(issue, []))
  throw new AgentInferError('ERR_INVALID_ARGUMENT', `${what}: ${problems.join('; ')}`, { cause: parsed.error })
}

function describeIssue(issue: z.core.$ZodIssue, above: readonly PropertyKey[]): string {
  const path = [...above, ...issue.path]
  // Of a choice, the branch that fits but for something inside says more than that no branch fits.
  const nearest = issue.code === 'invalid_union' ? issue.errors.find((issues) => issues.some((inner) => inner.path.length > 0)) : undefined
  if (nearest !== undefined) return nearest.map((inner) => describeIssue(inner, path)).join('; ')
  return path.length === 0 ? issue.message : `${path.join('.')}: ${issue.message}`
}
