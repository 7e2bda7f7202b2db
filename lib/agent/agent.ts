/** An agent: instructions, tools and one or two models. It keeps no state between runs, so runs can go side by side. */
import { z } from 'zod'

import { onAbort } from '../engine/abort.js'
import { AgentInferError } from '../errors.js'
import { refuseUnknown } from '../option_schemas.js'
import type { AgentEvent } from './events.js'
import { resolveAgent } from './options.js'
import type { AgentOptions, ResolvedAgent } from './options.js'
import type { RunRecord } from './record.js'
import { Run } from './run.js'
import type { AgentResult, RunOptions, RunStart } from './run.js'
import { defineTool } from './tools.js'
import type { Tool, ToolContext } from './tools.js'

const runOptions = ['signal'] as const satisfies readonly (keyof RunOptions)[]

/** Thinks, calls tools and observes, on one model or on two, until it has an answer or meets a limit. */
export class Agent {
  /** As given, or the default: what its sessions have as their role, and events and records name it by. */
  readonly name: string
  readonly #agent: ResolvedAgent

  /** @throws {AgentInferError} `ERR_INVALID_ARGUMENT` */
  constructor(options: AgentOptions) {
    this.#agent = resolveAgent(options)
    this.name = this.#agent.name
  }

  /**
   * Begins at once, whether or not the events are read.
   * @throws {AgentInferError} `ERR_INVALID_ARGUMENT` for an option that there is not, `ERR_CLOSED` when an engine is closed.
   */
  run(question: string, options: RunOptions = {}): AgentRun {
    refuseUnknown(options, runOptions, 'agent.run')
    checkQuestion(question, 'agent.run')
    return new AgentRun(this.#agent, { question }, options)
  }

  /**
   * Goes on from a record; with `question`, after its answer. The agent should be made as the one that wrote it was.
   * @throws as `run`; {AgentInferError} `ERR_INVALID_ARGUMENT` for what is no record, or one of another version.
   */
  resume(record: RunRecord, options: RunOptions & { readonly question?: string } = {}): AgentRun {
    const { question, ...rest } = options
    refuseUnknown(rest, runOptions, 'agent.resume')
    if (question !== undefined) checkQuestion(question, 'agent.resume')
    checkRecord(record)
    return new AgentRun(this.#agent, { record, question }, rest)
  }

  /**
   * This agent as a tool of another. Its events come inside `agent` events; it ends with the run that called it, and spends of that
   * run's budget: calls of one turn get equal parts of what is left.
   */
  asTool(options: AgentToolOptions): Tool {
    const { name = this.name, description, timeout = 3600, include = [], final = false, ...unknown } = options
    refuseUnknown(unknown, [], 'asTool')
    return defineTool({
      name,
      description,
      timeout,
      final,
      verbatim: true,
      parameters: z.object({ task: z.string().describe('all that it has to know: it sees nothing else') }),
      run: async ({ task }, context) => await this.#called(withResults(task, include, context), context),
    })
  }

  async #called(task: string, { signal, callId, agents }: ToolContext): Promise<string> {
    const run = new AgentRun(this.#agent, { question: task, parent: agents }, { signal })
    agents?.until(run.result)
    const { name: agent } = this
    for await (const event of run) agents?.emit({ type: 'agent', agent, id: callId, event })
    const { answer, end } = await run.result
    if (answer === undefined) throw new Error(`${agent} ended without an answer (${end})`)
    return answer
  }
}

/** Options of `agent.asTool`. */
export interface AgentToolOptions {
  /** Default: the agent's name. */
  readonly name?: string
  /** What it is for, for the model that calls it. */
  readonly description: string
  /** Seconds after which a call is given up, 24 days at most. Default: 3600. */
  readonly timeout?: number
  /** Tools of the caller: what they gave so far comes behind the task. Default: none. */
  readonly include?: readonly string[]
  /** Its answer is the caller's. Default: `false`. */
  readonly final?: boolean
}

/** Without one a run would go on from nothing. */
function checkQuestion(question: unknown, what: string): void {
  if (typeof question !== 'string') throw new AgentInferError('ERR_INVALID_ARGUMENT', `${what}: expected a question, a string, got ${typeof question}`)
}

function checkRecord(record: RunRecord): void {
  const { version, transcript, archive } = (record ?? {}) as Partial<RunRecord>
  if (version !== 1 || !Array.isArray(transcript?.steps) || !Array.isArray(archive))
    throw new AgentInferError('ERR_INVALID_ARGUMENT', `agent.resume: expected what run.save() gives, of version 1, got ${version === undefined ? typeof record : `version ${String(version)}`}`)
}

function withResults(task: string, include: readonly string[], { agents }: ToolContext): string {
  const results = (agents?.archive.toJSON() ?? []).filter(({ tool }) => include.includes(tool))
  return [task, ...results.map(({ id, call, text }) => `${id} = ${call}:\n${text}`)].join('\n\n')
}

/** A run: iterate for its events, await `result` for its end. Leaving the loop early aborts it. */
export class AgentRun implements AsyncIterable<AgentEvent> {
  /** Rejects with the reason of the signal, or when an engine fails; resolves with end `abort` when the loop was left early. */
  readonly result: Promise<AgentResult>
  readonly #run: Run
  #left = false

  /** @internal */
  constructor(agent: ResolvedAgent, start: RunStart, { signal }: RunOptions) {
    this.#run = new Run(agent, start)
    const abort = (): void => this.#run.abort(signal?.reason)
    if (signal?.aborted === true) abort()
    const ignore = signal === undefined ? undefined : onAbort(signal, abort)
    this.result = this.#run
      .run()
      .catch((error: unknown): AgentResult => {
        if (!this.#left) throw error
        const record = this.#run.record()
        return { answer: undefined, end: 'abort', transcript: this.#run.transcript, record }
      })
      .finally(ignore)
    // Whoever only iterates meets the error there.
    this.result.catch(() => undefined)
  }

  /** The run as of its last turn border, to go on with by `agent.resume`. */
  save(): RunRecord {
    return this.#run.record()
  }

  /** Its events from the beginning on, but for deltas of turns that were over before anybody read; read once. */
  async *[Symbol.asyncIterator](): AsyncGenerator<AgentEvent, void, undefined> {
    let ended = false
    try {
      yield* this.#run.events.read()
      ended = true
    } finally {
      if (!ended && !this.#run.over) {
        this.#left = true
        this.#run.abort(new Error('the reader has left'))
        await this.result.catch(() => undefined)
      }
    }
  }
}
