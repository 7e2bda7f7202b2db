/** What options.ts describes, as it is checked and completed when it is given. Unknown keys are refused. */
import { z } from 'zod'

import { AgentInferError } from './errors.js'
import { maxDraftTokens } from './policy/speculate.js'
import { defaultScheduler, schedulerNames } from './policy/schedulers.js'
import type {
  DraftContext,
  EngineOptions,
  EngineSpeculationOptions,
  GenerateOptions,
  Message,
  RequestSpeculationOptions,
  RetainOptions,
  SamplingOptions,
  SessionGenerateOptions,
  SessionInput,
  SessionOptions,
  SessionPrefillOptions,
} from './options.js'
import type { Scheduler, SessionActivity } from './policy/types.js'

function isScheduler(value: unknown): value is Scheduler {
  const { name, plan } = (value ?? {}) as Partial<Record<keyof Scheduler, unknown>>
  return typeof name === 'string' && typeof plan === 'function'
}

const positive = () => z.int().positive()
/** Of any vocabulary; ids cross as 32-bit integers. */
const tokenId = z.int32().min(0)
/** A copy: what its owner does to theirs later changes nothing. */
const tokenIds = z
  .union([z.array(tokenId), z.custom<Int32Array>((value) => value instanceof Int32Array, 'expected an Int32Array')])
  .transform((ids) => Int32Array.from(ids))
/** Seconds that a timer can wait: 24 days. */
export const longestTimer = 2_147_483

const speculationFields = z.strictObject({
  maxDraft: z.int().min(1).max(maxDraftTokens).default(maxDraftTokens),
  siblings: z.int().min(0).max(11).default(8),
  retrieved: z.int().min(0).max(11).default(8),
  memory: z
    .strictObject({
      bytes: z.int().min(0).default(256 * 1024 * 1024),
      directory: z.string().min(1).optional(),
    })
    .prefault({}),
})
export type ResolvedSpeculation = z.output<typeof speculationFields>

/** Undefined: off. */
const engineSpeculation = z
  .union([z.enum(['auto', 'off']), speculationFields])
  .default('auto')
  .transform((value) => (value === 'off' ? undefined : value === 'auto' ? speculationFields.parse({}) : value))

const requestSpeculationFields = z.strictObject({
  maxDraft: z.int().min(1).max(maxDraftTokens).optional(),
  sources: z.array(z.enum(['session', 'sibling', 'role', 'retrieved'])).optional(),
  query: z.string().optional(),
  vector: z.array(z.number()).min(1).optional(),
  drafter: z.custom<(context: DraftContext) => ArrayLike<number>>((value) => typeof value === 'function', 'expected a function').optional(),
  role: z.string().optional(),
  run: z.string().optional(),
})
const requestSpeculation = z.union([z.enum(['auto', 'off']), requestSpeculationFields])
export type RequestSpeculation = z.output<typeof requestSpeculation>

export const engineOptionsSchema = z.strictObject({
  model: z.string().min(1),
  device: z.string().regex(/^(cpu|auto|npu:\d{1,4}(,\d{1,4})*)$/, "expected 'cpu', 'auto', 'npu:0' or 'npu:0,1'").default('auto'),
  graphs: z.boolean().default(true),
  nz: z.boolean().default(false),
  selfCheck: z.enum(['warn', 'error', 'off']).default('warn'),
  deviceTimeout: z.number().positive().max(86400).default(120),
  weights: z.enum(['bf16', 'int8']).default('bf16'),
  tensorParallel: z.int().min(1).max(64).default(1),
  threads: z.int().min(1).max(256).optional(),
  isa: z.string().optional(),
  maxContext: positive().optional(),
  kvTokens: positive().optional(),
  kvDtype: z.enum(['f16', 'f32']).default('f16'),
  hostKvBytes: z.int().min(0).default(0),
  blockSize: z.int().min(16).max(256).multipleOf(16).optional(),
  maxBatchTokens: z.int().min(16).max(16384).default(512),
  maxSequences: z.int().min(1).max(1024).default(64),
  speculation: engineSpeculation,
  maxQueue: z.int().min(1).default(1024),
  scheduler: z
    .union([z.enum(schedulerNames), z.custom<Scheduler>(isScheduler)], {
      error: `expected one of ${schedulerNames.map((name) => `'${name}'`).join(', ')}, or a scheduler { name, plan }`,
    })
    .default(defaultScheduler),
  signal: z.instanceof(AbortSignal).optional(),
  onProgress: z
    .custom<(progress: { done: number; total: number }) => void>((value) => typeof value === 'function', 'expected a function')
    .optional(),
})

export const samplingSchema = z.strictObject({
  temperature: z.number().min(0).max(100).default(1),
  topK: z.int32().min(0).default(0),
  topP: z.number().gt(0).max(1).default(1),
  minP: z.number().min(0).max(1).default(0),
  repetitionPenalty: z.number().positive().default(1),
  presencePenalty: z.number().min(-100).max(100).default(0),
  frequencyPenalty: z.number().min(-100).max(100).default(0),
  logitBias: z.record(z.string().regex(/^\d{1,9}$/, 'expected a token id'), z.number()).optional(),
  allowedIds: z.array(tokenId).min(1).optional(),
  forced: tokenIds.optional(),
  minTokens: z.int().min(0).default(0),
  seed: z.int().min(0).optional(),
  logprobs: z.int().min(0).max(20).optional(),
})

const chatMessage = z.strictObject({
  role: z.string().min(1),
  content: z.string(),
})

/** What every generation takes, inside a session or alone. */
const generationFields = {
  maxTokens: positive().optional(),
  sampling: samplingSchema.prefault({}),
  stop: z.union([z.string().min(1), z.array(z.string().min(1)).max(64)]).optional(),
  stopIds: z.array(tokenId).default([]),
  ignoreEos: z.boolean().default(false),
  keepSpecial: z.boolean().default(true),
  priority: z.int().optional(),
  deadline: z.number().positive().max(longestTimer).optional(),
  signal: z.instanceof(AbortSignal).optional(),
  speculation: requestSpeculation.default('auto'),
}

export const generateOptionsSchema = z
  .strictObject({
    messages: z.array(chatMessage).min(1).optional(),
    prompt: z.string().optional(),
    tokens: tokenIds.optional(),
    chatTemplate: z.string().optional(),
    parseSpecial: z.boolean().default(false),
    tenant: z.string().default(''),
    ...generationFields,
  })
  .refine((options) => [options.messages, options.prompt, options.tokens].filter((x) => x !== undefined).length === 1, {
    message: 'expected exactly one of messages, prompt and tokens',
  })
export type ResolvedGenerateOptions = z.output<typeof generateOptionsSchema>

export const sessionOptionsSchema = z.strictObject({
  messages: z.array(chatMessage).optional(),
  tenant: z.string().default(''),
  role: z.string().optional(),
  run: z.string().optional(),
  priority: z.int().default(0),
  chatTemplate: z.string().optional(),
  name: z.string().optional(),
})

export const sessionInputSchema = z.union(
  [
    z.array(chatMessage),
    z.strictObject({ segments: z.array(z.strictObject({ text: z.string(), special: z.boolean() })) }),
    z.strictObject({ tokens: tokenIds }),
  ],
  { error: 'expected messages, { segments } or { tokens }' },
)
export type ResolvedSessionInput = z.output<typeof sessionInputSchema>

export const sessionGenerateSchema = z.strictObject({
  ...generationFields,
  append: z.boolean().default(true),
  addGenerationPrompt: z.boolean().optional(),
  lead: z.string().min(1).optional(),
})

export const sessionPrefillSchema = z.strictObject({
  priority: z.int().optional(),
  signal: z.instanceof(AbortSignal).optional(),
})

export const retainSchema = z.strictObject({
  ttl: z.union([z.number().positive(), z.literal(Infinity)]),
  retentionClass: z.int().min(0).max(3).default(1),
})

export const sessionActivitySchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('idle') }),
  z.strictObject({ kind: z.literal('running') }),
  z.strictObject({ kind: z.literal('tool'), tool: z.string() }),
  z.strictObject({ kind: z.literal('elsewhere'), tokens: z.int().min(0) }),
])

type Mutable<Given> = Given extends AbortSignal | Int32Array | Scheduler | ((...args: never[]) => unknown)
  ? Given
  : Given extends readonly (infer Item)[]
    ? Mutable<Item>[]
    : Given extends object
      ? { -readonly [Key in keyof Given]: Mutable<Given[Key]> }
      : Given
/** Every key, and of each its type and whether it may be left out. Readonly is for whoever gives an option, schemas have nothing to do with it. */
// Two conditional types in a type that is not known yet are assignable only when they are identical.
// oxlint-disable-next-line no-unnecessary-type-parameters
type Same<A, B> = (<T>() => T extends Mutable<A> ? 1 : 2) extends <T>() => T extends Mutable<B> ? 1 : 2 ? true : false
type AllTrue<Claims extends readonly true[]> = Claims
/** Compiles only while the schemas above take just what options.ts describes. @internal */
export type Described = AllTrue<
  [
    Same<EngineOptions, z.input<typeof engineOptionsSchema>>,
    Same<EngineSpeculationOptions, z.input<typeof speculationFields>>,
    Same<RequestSpeculationOptions, z.input<typeof requestSpeculationFields>>,
    Same<SamplingOptions, z.input<typeof samplingSchema>>,
    Same<Message, z.input<typeof chatMessage>>,
    Same<GenerateOptions, z.input<typeof generateOptionsSchema>>,
    Same<SessionOptions, z.input<typeof sessionOptionsSchema>>,
    Same<SessionInput, z.input<typeof sessionInputSchema>>,
    Same<SessionGenerateOptions, z.input<typeof sessionGenerateSchema>>,
    Same<SessionPrefillOptions, z.input<typeof sessionPrefillSchema>>,
    Same<RetainOptions, z.input<typeof retainSchema>>,
    Same<SessionActivity, z.input<typeof sessionActivitySchema>>,
  ]
>

/** For options that are not parsed. @throws {AgentInferError} `ERR_INVALID_ARGUMENT` naming those that are not known: a misspelt one would have no effect. */
export function refuseUnknown(given: object, known: readonly string[], what: string, prefix = ''): void {
  const unknown = Object.keys(given).filter((key) => !known.includes(key))
  if (unknown.length === 0) return
  const named = unknown.map((key) => prefix + key).join(', ')
  throw new AgentInferError('ERR_INVALID_ARGUMENT', `${what}: unknown option ${named}${known.length === 0 ? '' : `: expected some of ${known.join(', ')}`}`)
}

/** @throws {AgentInferError} `ERR_INVALID_ARGUMENT` naming each wrong option, what was expected and what came. */
export function parseOptions<Schema extends z.ZodType>(schema: Schema, value: unknown, what: string): z.output<Schema> {
  const parsed = schema.safeParse(value, { reportInput: true })
  if (parsed.success) return parsed.data
  const problems = parsed.error.issues.map((issue) => describeIssue(issue, []))
  throw new AgentInferError('ERR_INVALID_ARGUMENT', `${what}: ${problems.join('; ')}`, { cause: parsed.error })
}

function describeIssue(issue: z.core.$ZodIssue, above: readonly PropertyKey[]): string {
  const path = [...above, ...issue.path]
  // Of a choice, the branch that fits but for something inside says more than that no branch fits.
  const nearest = issue.code === 'invalid_union' ? issue.errors.find((issues) => issues.some((inner) => inner.path.length > 0)) : undefined
  if (nearest !== undefined) return nearest.map((inner) => describeIssue(inner, path)).join('; ')
  const came = issue.code === 'unrecognized_keys' || issue.message.includes('received') ? undefined : describeValue(issue.input)
  const message = came === undefined ? issue.message : `${issue.message}, got ${came}`
  return path.length === 0 ? message : `${path.join('.')}: ${message}`
}

/** Undefined for what says nothing by itself, such as all options together. */
function describeValue(value: unknown): string | undefined {
  if (typeof value === 'string') return JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}…` : value)
  if (Array.isArray(value)) return `an array of ${value.length}`
  if (typeof value === 'function') return 'a function'
  return typeof value === 'object' && value !== null ? undefined : String(value)
}
