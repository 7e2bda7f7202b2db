/** The calls of a turn: run, and what the models read of what came back. */
import { interest } from '../policy/observe.js'
import type { Archive } from './archive.js'
import type { Budget } from './budget.js'
import type { AgentEvent } from './events.js'
import { observe } from './observe.js'
import type { ResolvedAgent } from './options.js'
import { runCall } from './tools.js'
import type { Tool, ToolOutcome } from './tools.js'
import { describeCall } from './transcript.js'
import type { StepOf, ToolCall, Transcript } from './transcript.js'

/** What it needs of its run. */
export interface CallsHost {
  readonly agent: Pick<ResolvedAgent, 'prompts' | 'observations'>
  readonly tools: ReadonlyMap<string, Tool>
  readonly transcript: Transcript
  readonly archive: Archive
  readonly budget: Budget
  readonly signal: AbortSignal
  /** Names the tree of runs. */
  readonly run: string
  turn(): number
  emit(event: AgentEvent): void
  inBackground(work: Promise<unknown>): void
}

export class Calls {
  readonly #host: CallsHost

  constructor(host: CallsHost) {
    this.#host = host
  }

  /** All at once, but for tools that want to be alone. Never rejects; in the order of the calls. */
  run(calls: readonly ToolCall[]): Promise<ToolOutcome[]> {
    const { budget, archive, tools, signal, run } = this.#host
    const agents = {
      run,
      budget,
      archive,
      siblings: Math.max(1, calls.length),
      emit: (event: AgentEvent) => this.#host.emit(event),
      until: (work: Promise<unknown>) => this.#host.inBackground(work.catch(() => undefined)),
    }
    let previous: Promise<unknown> = Promise.resolve()
    return Promise.all(
      calls.map(({ id, call }) => {
        const context = { signal, callId: id, agents }
        const alone = 'name' in call && tools.get(call.name)?.parallel === false
        const outcome = alone ? previous.then(() => runCall(call, tools, context)) : runCall(call, tools, context)
        if (alone) previous = outcome
        return outcome
      }),
    )
  }

  /** Adds what the models read of an outcome to the transcript, and all of it to the archive. */
  observe({ id, call }: ToolCall, outcome: ToolOutcome): StepOf<'observation'> {
    const { agent, transcript, archive } = this.#host
    const question = transcript.log.findLast((step) => step.kind === 'query' && step.by === 'user')
    const plan = transcript.log.findLast((step) => step.kind === 'think' && step.text !== '')
    const turn = this.#host.turn()
    const { text, ref, ok, tool } = observe(outcome, {
      archive,
      turn,
      call: describeCall(call),
      query: interest(question?.kind === 'query' ? question.text : '', plan?.kind === 'think' ? plan.text : ''),
      prompts: agent.prompts,
      options: agent.observations,
    })
    const step = transcript.add<'observation'>({ kind: 'observation', turn, call: id, tool, text, ref, ok })
    this.#host.emit({ type: 'observation', turn, call: { id, call }, text, ref, ok, milliseconds: outcome.milliseconds })
    return step
  }
}
