/**
 * Every public option of engines and sessions, once: its type, unit, range, default and meaning. Those of agents are in agent/options.ts.
 * What is checked when they are given is in option_schemas.ts; that it is the same is checked when this is compiled. Unknown keys are refused.
 */
import type { SchedulerName } from './policy/schedulers.js'
import type { Scheduler } from './policy/types.js'

/** Options of `Engine.open`. */
export interface EngineOptions {
  /** Folder of a Hugging Face style checkpoint. */
  model: string
  /**
   * Where to run: `'cpu'`, `'npu:0'`, `'npu:0,1'` (tensor parallel over these; numbers as `ASCEND_RT_VISIBLE_DEVICES` leaves them), or
   * `'auto'`: the first NPU, or the CPU where there is none. `engine.info.device` says what was chosen, `engine.info.deviceNote` why it is not an NPU.
   * Default: `'auto'`.
   */
  device?: string | undefined
  /** NPU: capture decode and verification steps as graphs and replay them; `false`: every operator is launched by itself. Default: `true`. */
  graphs?: boolean | undefined
  /**
   * NPU: lay weights out in FRACTAL_NZ, the blocks that its matrix units read, instead of row by row. Others report gains for decode, most with
   * int8; loading takes longer. Tokens differ by rounding at most. Without effect where CANN has no products by it, or
   * `'auto'` finds no NPU; refused with `'cpu'`. Default: `false`.
   */
  nz?: boolean | undefined
  /**
   * NPU: at opening, a small model of the same kind runs on the device and on the CPU, and then the model's own first layers, as loaded, on
   * every device and on the CPU (which takes about 1 GB of memory and a few seconds while opening). If their logits differ by more than
   * rounding, `'error'` refuses to open and `'warn'` says so in `engine.info.deviceNote` and as a process warning. Default: `'warn'`.
   */
  selfCheck?: 'warn' | 'error' | 'off' | undefined
  /** Seconds that an NPU may take to answer before it counts as lost: above 0, 86400 at most. Default: 120. */
  deviceTimeout?: number | undefined
  /** Weight format: 16-bit, or int8 weights with int8 activations (W8A8). Folders that are int8 already stay so. Default: `'bf16'`. */
  weights?: 'bf16' | 'int8' | undefined
  /**
   * Ranks the model is cut over (tensor parallel), 1 to 64: query heads, feed-forward width and vocabulary must divide by it. On the CPU the
   * ranks share the threads: for tests of what several devices do, never faster. With NPUs: as many as `device` names. Default: 1.
   */
  tensorParallel?: number | undefined
  /** CPU threads, of all ranks, 1 to 256. Default: the cores this process may use. */
  threads?: number | undefined
  /** Forces an instruction set of the CPU (see `agentinfer doctor`). Default: the best there is. */
  isa?: string | undefined
  /** Tokens a request may have, prompt and output together. Default: the model's own limit, at most 8192. */
  maxContext?: number | undefined
  /** Tokens of KV kept in all. Default: four full contexts, less where memory is short. */
  kvTokens?: number | undefined
  /** Element type of the KV cache on the CPU; an NPU keeps bf16 and takes only the default. Default: `'f16'`. */
  kvDtype?: 'f16' | 'f32' | undefined
  /** Bytes of host memory for KV that left the device; 0: none. Default: 0. */
  hostKvBytes?: number | undefined
  /** Tokens in a KV block, the unit of sharing: a multiple of 16 from 16 to 256. Default: 32; an NPU has 128 and takes nothing else. */
  blockSize?: number | undefined
  /** Tokens computed in one step at most, 16 to 16384: decodes first, the rest for prefill chunks. Default: 512. */
  maxBatchTokens?: number | undefined
  /** Sequences in one step at most, 1 to 1024. Default: 64. */
  maxSequences?: number | undefined
  /**
   * Speculation: tokens that the texts at hand suggest are verified several at a time. The output is the same with and without, token
   * for token; only its speed changes. `'auto'` drafts as far as it is expected to pay, which may be not at all. Default: `'auto'`.
   */
  speculation?: 'auto' | 'off' | EngineSpeculationOptions | undefined
  /** Requests that may be there beside the `maxSequences` that run; more are refused with `ERR_BUSY`. Default: 1024. */
  maxQueue?: number | undefined
  /** Who runs next: a scheduler by name, or your own. Default: `'agent-sched'`. */
  scheduler?: SchedulerName | Scheduler | undefined
  /** Aborts loading; the returned promise rejects with the signal's reason. Default: none. */
  signal?: AbortSignal | undefined
  /** Called while the checkpoint is read, with bytes done and in total. Default: nobody is told. */
  onProgress?: ((progress: { done: number; total: number }) => void) | undefined
}

/** What an engine drafts from, and how far. */
export interface EngineSpeculationOptions {
  /** Tokens drafted for a sequence and step at most, 1 to 15. Default: 15. */
  maxDraft?: number | undefined
  /** Other agents of the same run to draft from, for each request at most, 0 to 11. Default: 8. */
  siblings?: number | undefined
  /** Stored sessions with similar queries to draft from, for each request at most, 0 to 11. Default: 8. */
  retrieved?: number | undefined
  /** What is kept to draft from. Default: 256 MiB, gone with the engine. */
  memory?: SpeculationMemoryOptions | undefined
}

/** Texts that an engine keeps to draft from. */
export interface SpeculationMemoryOptions {
  /**
   * Bytes of host memory for sessions' texts and stored sessions, of all tenants; 0: each request drafts from its own text alone.
   * Default: 268435456.
   */
  bytes?: number | undefined
  /** Folder that keeps stored sessions over restarts, one file for each tenant. For one engine at a time. Default: nothing outlives the engine. */
  directory?: string | undefined
}

/** What the model has read and said so far. */
export interface DraftContext {
  /** Ids of the prompt. */
  readonly prompt: Int32Array
  /** Ids generated so far. */
  readonly output: readonly number[]
}

/** Speculation of one request. Without a query, a role or a run of its own, those of its messages and its session are taken. */
export interface RequestSpeculationOptions {
  /** Tokens drafted for it in a step at most, 1 to 15; the engine's limit holds too. Default: the engine's. */
  maxDraft?: number | undefined
  /**
   * What it may draft from beside its own text, and is kept for: earlier turns of its session, other agents of its run, agents with
   * the same system prompt, stored sessions with similar queries. Default: all.
   */
  sources?: readonly ('session' | 'sibling' | 'role' | 'retrieved')[] | undefined
  /** Its task in words, to find stored sessions by. Default: the first user message. */
  query?: string | undefined
  /** An embedding of the query; all of a tenant's of one size. Default: none; sessions are found by the words of the query. */
  vector?: readonly number[] | undefined
  /**
   * Drafts of your own instead of the engine's: called before each step of decoding, gives the ids that may come next, at most
   * maxDraft. All of them are verified, whether that pays or not. It holds the loop up, so it must be quick. Default: the engine drafts.
   */
  drafter?: ((context: DraftContext) => ArrayLike<number>) | undefined
  /** Names the role. Default: the system prompt does. */
  role?: string | undefined
  /** Names the run. Default: the session's. */
  run?: string | undefined
}

/** How tokens are chosen. */
export interface SamplingOptions {
  /** Divides the logits, 0 to 100; 0: greedy. Default: 1; the model's generation_config.json does not apply. */
  temperature?: number | undefined
  /** Keep the k most likely tokens; 0: off. Default: 0. */
  topK?: number | undefined
  /** Keep the fewest most likely tokens whose probabilities sum to this, above 0 to 1; 1: off. Default: 1. */
  topP?: number | undefined
  /** Keep tokens at least this likely, relative to the most likely, 0 to 1; 0: off. Default: 0. */
  minP?: number | undefined
  /** Above 1 makes tokens of prompt and output less likely, above 0; 1: off. Default: 1. */
  repetitionPenalty?: number | undefined
  /** Taken from the logit of every token already in the output, -100 to 100; 0: off. Default: 0. */
  presencePenalty?: number | undefined
  /** Taken from a token's logit for each time it is in the output, -100 to 100; 0: off. Default: 0. */
  frequencyPenalty?: number | undefined
  /** Added to logits, by token id. Default: nothing. */
  logitBias?: Record<string, number> | undefined
  /** Only these ids may be chosen. Default: all. */
  allowedIds?: readonly number[] | undefined
  /**
   * Teacher forcing: the output begins with these ids, whatever the model says. For replaying traces, where speed is to be that of a
   * model that says them. Not together with `logprobs`. Default: nothing is forced.
   */
  forced?: readonly number[] | Int32Array | undefined
  /** End tokens are not chosen before so many tokens were produced. Default: 0. */
  minTokens?: number | undefined
  /** Same seed, same prompt, same output, whatever else runs. Default: random. */
  seed?: number | undefined
  /** Report the chosen token's log probability and the n highest (0 to 20) of the model's own distribution. Default: none. */
  logprobs?: number | undefined
}

/** A message of a chat, as the model's template takes it. */
export interface Message {
  /** Who speaks, such as `'system'`, `'user'`, `'assistant'` or `'tool'`: what the template knows. */
  role: string
  /** The text. That of system messages may contain special markers; in others they are plain text. */
  content: string
}

/** What every generation takes, inside a session or alone. */
export interface GenerationOptions {
  /** Tokens to generate at most. Default: what the context leaves. */
  maxTokens?: number | undefined
  /** How tokens are chosen. Default: as the model's own distribution says, with a random seed. */
  sampling?: SamplingOptions | undefined
  /** Text that ends the output and is not part of it; the first of several to come (64 at most). Default: none. */
  stop?: string | readonly string[] | undefined
  /** Ids that end the output beside the model's own end tokens. Default: none. */
  stopIds?: readonly number[] | undefined
  /** Go on past the model's own end tokens. Default: `false`. */
  ignoreEos?: boolean | undefined
  /** Leave special markers such as `[unused16]` in the text. Default: `true`. */
  keepSpecial?: boolean | undefined
  /** Higher goes first. Default: 0, or the session's. */
  priority?: number | undefined
  /** Seconds from now after which the request is ended with `ERR_DEADLINE`, waiting or running: above 0, 2147483 (24 days) at most. Default: none. */
  deadline?: number | undefined
  /** Ends the request; what waits for it rejects with the signal's reason. Default: none. */
  signal?: AbortSignal | undefined
  /** `'off'`: no drafts for it, and others do not draft from it. Default: `'auto'`. */
  speculation?: 'auto' | 'off' | RequestSpeculationOptions | undefined
}

/** Options of `engine.generate`. One of messages, prompt and tokens is needed. */
export interface GenerateOptions extends GenerationOptions {
  /** A chat, rendered with the model's template. */
  messages?: readonly Message[] | undefined
  /** Plain text, continued as it is (a BOS is put in front where the model wants one). */
  prompt?: string | undefined
  /** Token ids, used exactly as they are. */
  tokens?: readonly number[] | Int32Array | undefined
  /** Jinja template for `messages`. Default: the model's. */
  chatTemplate?: string | undefined
  /** Whether special markers in `prompt` become special ids. Default: `false`. */
  parseSpecial?: boolean | undefined
  /** Requests of different tenants share no KV; `''` is nobody's in particular. Default: `''`. */
  tenant?: string | undefined
}

/** Options of `engine.session`. */
export interface SessionOptions {
  /** The beginning of the chat; more comes by `append`. Default: nothing. */
  messages?: readonly Message[] | undefined
  /** Sessions of different tenants share no KV; `''` is nobody's in particular. Default: `''`. */
  tenant?: string | undefined
  /** What it does in a run of agents, such as 'planner'; for schedulers and figures. Default: none. */
  role?: string | undefined
  /** The run it belongs to; sessions of one run may be on different engines. Default: none. */
  run?: string | undefined
  /** Of its requests, unless they say otherwise. Higher goes first. Default: 0. */
  priority?: number | undefined
  /** Jinja template for its messages. Default: the model's. */
  chatTemplate?: string | undefined
  /** For people: it appears in figures. Default: none. */
  name?: string | undefined
}

/** Text in parts. */
export interface SessionSegments {
  /** In their order. */
  segments: readonly {
    /** Goes on where the one before it ends: a word may span the border, a marker only where both may have some. */
    text: string
    /** Whether special markers in it become special ids. */
    special: boolean
  }[]
}

/** Ids. */
export interface SessionTokens {
  /** Used exactly as they are. */
  tokens: readonly number[] | Int32Array
}

/** What `session.append` takes: messages, text in parts, or ids. */
export type SessionInput = readonly Message[] | SessionSegments | SessionTokens

/** Options of `session.generate`. */
export interface SessionGenerateOptions extends GenerationOptions {
  /** What is generated becomes part of the session, the end token included. Default: `true`. */
  append?: boolean | undefined
  /** Begin an answer as the template does. Default: yes, when the session has messages and no answer is left open. */
  addGenerationPrompt?: boolean | undefined
  /**
   * Text the answer begins with, given instead of generated; markers in it become special ids. Part of the session, not of the output.
   * Default: none.
   */
  lead?: string | undefined
}

/** Options of `session.prefill`. */
export interface SessionPrefillOptions {
  /** Higher goes first. Default: one below the session's. */
  priority?: number | undefined
  /** Ends the prefill; what waits for it rejects with the signal's reason. Default: none. */
  signal?: AbortSignal | undefined
}

/** Options of `session.retain`. */
export interface RetainOptions {
  /** Seconds from now; `Infinity` is allowed. */
  ttl: number
  /** Blocks of higher classes are evicted after all blocks of lower ones, 0 to 3; 0: none. Default: 1. */
  retentionClass?: number | undefined
}
