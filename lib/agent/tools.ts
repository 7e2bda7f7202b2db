/** Tools: what a model may call. Whatever goes wrong in one becomes an observation that the model can act on, never an exception of the run. */
import { z } from 'zod'

import { onAbort } from '../engine/abort.js'
import { longestTimer, parseOptions } from '../option_schemas.js'
import type { SearchResult } from '../policy/observe.js'
import { isMalformed } from '../text/tool_calls.js'
import type { ParsedCall } from '../text/tool_calls.js'
import type { Archive } from './archive.js'
import type { Budget } from './budget.js'
import type { AgentEvent } from './events.js'

/** What a tool is told beside its arguments. */
export interface ToolContext {
  /** Aborted when the run ends, or this call has taken too long. */
  readonly signal: AbortSignal
  /** Unique in the run. */
  readonly callId: string
  /** @internal For agents that are called as tools. */
  readonly agents?: CallingRun
}

/** What an agent that is called as a tool gets from the run that calls it. */
export interface CallingRun {
  /** Names the tree of runs. */
  readonly run: string
  readonly budget: Budget
  /** Calls of the same turn, this one included. */
  readonly siblings: number
  readonly archive: Archive
  emit(event: AgentEvent): void
  /** The caller is not over before this is. */
  until(work: Promise<unknown>): void
}

/** Options of `defineTool`. */
export interface ToolOptions<Parameters extends z.ZodObject, Value> {
  /** What the model calls it: 1 to 64 letters, digits, `_`, `-` and `.`. */
  readonly name: string
  /** What it is for, for the model. */
  readonly description: string
  /** The arguments, of zod 4. Their descriptions go to the model with the schema. */
  readonly parameters: Parameters
  /** What it does. An exception becomes an observation that the model can act on. */
  run(args: z.output<Parameters>, context: ToolContext): Value | Promise<Value>
  /** Seconds after which a call is given up: above 0, 2147483 (24 days) at most. Default: 60. */
  readonly timeout?: number
  /** Further attempts after a failure, 0.2 s, 0.4 s, … apart, 10 at most. Default: 0. */
  readonly retries?: number
  /** Whether calls of one turn run at the same time. Default: `true`. */
  readonly parallel?: boolean
  /** How the model reads a value. Default: strings as they are, others as JSON. */
  render?(value: Value): string
  /**
   * The value's search results, where it has some: they are ranked, and the poor ones left out (they stay in the archive). `undefined`:
   * the value is not a list of results. Default: an array of objects with a title, snippet or url is one.
   */
  results?(value: Value): readonly SearchResult[] | undefined
  /** The models read its results as they are, whatever is filtered. Default: `false`. */
  readonly verbatim?: boolean
  /** A call that succeeds ends the run: what it gives is the answer. Default: `false`. */
  readonly final?: boolean
}

/** A tool as the runtime sees it. */
export interface Tool {
  /** What the model calls it. */
  readonly name: string
  /** What it is for, for the model. */
  readonly description: string
  /** JSON schema of the arguments. */
  readonly schema: Readonly<Record<string, unknown>>
  /** Seconds after which a call is given up. */
  readonly timeout: number
  /** Further attempts after a failure. */
  readonly retries: number
  /** Whether calls of one turn run at the same time. */
  readonly parallel: boolean
  /** Nothing of its results is left out. */
  readonly verbatim: boolean
  /** Its result is the run's answer. */
  readonly final: boolean
  /** Checks the arguments: those to run with, or what is wrong with them. */
  check(args: unknown):
    | {
        /** To run with: defaults filled in. */
        readonly args: unknown
      }
    | {
        /** For the model to read. */
        readonly problem: string
      }
  /** Runs it with arguments that `check` has given. */
  invoke(args: unknown, context: ToolContext): Promise<unknown>
  /** How the model reads a value. */
  render(value: unknown): string
  /** The value's search results, where it has some. */
  results(value: unknown): readonly SearchResult[] | undefined
}

const given = z.custom((value) => typeof value === 'function', 'expected a function')

const toolSchema = z.strictObject({
  name: z.string().regex(/^[\w.-]{1,64}$/, 'expected 1 to 64 letters, digits, "_", "-" or "."'),
  description: z.string().min(1),
  parameters: z.custom((value) => value instanceof z.ZodObject, 'expected z.object({ … }) of zod 4'),
  run: given,
  render: given.optional(),
  results: given.optional(),
  timeout: z.number().positive().max(longestTimer).default(60),
  retries: z.int().min(0).max(10).default(0),
  parallel: z.boolean().default(true),
  verbatim: z.boolean().default(false),
  final: z.boolean().default(false),
})

/** A tool from its options. @throws {AgentInferError} `ERR_INVALID_ARGUMENT` naming each option that is wrong or unknown. */
export function defineTool<Parameters extends z.ZodObject, Value>(options: ToolOptions<Parameters, Value>): Tool {
  const { name, description, timeout, retries, parallel, verbatim, final } = parseOptions(toolSchema, options, 'defineTool')
  const { $schema: _dialect, ...schema } = z.toJSONSchema(options.parameters, { io: 'input' })
  return {
    name,
    description,
    schema,
    timeout,
    retries,
    parallel,
    verbatim,
    final,
    check(args) {
      const parsed = options.parameters.safeParse(args)
      if (parsed.success) return { args: parsed.data }
      const problems = parsed.error.issues.map(({ path, message }) => (path.length === 0 ? message : `${path.join('.')}: ${message}`))
      return { problem: problems.join('; ') }
    },
    invoke: async (args, context) => await options.run(args as z.output<Parameters>, context),
    render: (value) => (options.render === undefined ? renderValue(value) : options.render(value as Value)),
    results: (value) => (options.results === undefined ? resultList(value) : options.results(value as Value)),
  }
}

function renderValue(value: unknown): string {
  if (typeof value === 'string') return value
  return value === undefined ? 'done' : (JSON.stringify(value) ?? `a ${typeof value}`)
}

function resultList(value: unknown): readonly SearchResult[] | undefined {
  if (!Array.isArray(value) || value.length === 0) return undefined
  const like = (entry: unknown): boolean =>
    typeof entry === 'object' && entry !== null && ['title', 'snippet', 'url'].some((key) => key in entry)
  return value.every(like) ? (value as SearchResult[]) : undefined
}

/** What came of one call. `value` where it succeeded. */
export type ToolOutcome = { readonly milliseconds: number } & (
  | { readonly ok: true; readonly tool: Tool; readonly value: unknown }
  | { readonly ok: false; readonly tool: string; readonly problem: string }
)

/** Runs one call to its end. Never rejects; when the signal is aborted it ends at once, whether or not the tool does. */
export async function runCall(call: ParsedCall, tools: ReadonlyMap<string, Tool>, context: ToolContext): Promise<ToolOutcome> {
  const started = performance.now()
  const failed = (tool: string, problem: string): ToolOutcome => ({ ok: false, tool, problem, milliseconds: performance.now() - started })
  if (isMalformed(call)) return failed('', `${call.error}. Write [{"name": "<tool>", "arguments": {...}}]`)
  const tool = tools.get(call.name)
  if (tool === undefined) return failed(call.name, `there is no tool "${call.name}": expected one of ${[...tools.keys()].join(', ')}`)
  const checked = checkedBy(tool, call.arguments)
  if ('problem' in checked) return failed(tool.name, `arguments of ${tool.name}: ${checked.problem}`)
  for (let attempt = 0; ; ++attempt) {
    try {
      const value = await within(tool, (signal) => tool.invoke(checked.args, { ...context, signal }), context.signal)
      return { ok: true, tool, value, milliseconds: performance.now() - started }
    } catch (error) {
      const last = attempt >= tool.retries || context.signal.aborted
      if (last) return failed(tool.name, messageOf(error))
      await pause(200 * 2 ** attempt, context.signal)
    }
  }
}

/** A check that throws, as zod does of asynchronous refinements, refuses. */
function checkedBy(tool: Tool, args: unknown): ReturnType<Tool['check']> {
  try {
    return tool.check(args)
  } catch (error) {
    return { problem: messageOf(error) }
  }
}

/** What whoever wrote a tool has thrown may be anything. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

/** Runs `work` until it ends, the tool's time is over, or the signal is aborted. No timer or listener stays. */
async function within<T>(tool: Tool, work: (signal: AbortSignal) => Promise<T>, outer: AbortSignal): Promise<T> {
  const controller = new AbortController()
  return await new Promise<T>((resolve, reject) => {
    const end = (reason: unknown): void => {
      controller.abort(reason)
      settle()
      reject(reason)
    }
    const timer = setTimeout(() => end(new Error(`${tool.name} took more than ${tool.timeout} s`)), tool.timeout * 1000)
    const ignore = onAbort(outer, () => end(outer.reason))
    const settle = (): void => {
      clearTimeout(timer)
      ignore()
    }
    if (outer.aborted) return end(outer.reason)
    // Asynchronous, so that what throws at once leaves no timer either.
    const done = (async () => await work(controller.signal))()
    done.then(resolve, reject).finally(settle)
  })
}

/** Ends early when the signal is aborted. */
export function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve()
    const end = (): void => {
      clearTimeout(timer)
      ignore()
      resolve()
    }
    const timer = setTimeout(end, milliseconds)
    const ignore = onAbort(signal, end)
  })
}
