/** One run of an agent: think, act, observe, until there is an answer or a limit. */
import { randomUUID } from 'node:crypto'

import { AgentInferError } from '../errors.js'
import { CostMeter } from '../policy/compress_costs.js'
import type { Which } from '../policy/route.js'
import { Archive } from './archive.js'
import { Budget } from './budget.js'
import { Calls } from './calls.js'
import { Collab } from './collab.js'
import type { CollabRecord } from './collab.js'
import { Compressor, pressureOn } from './compressor.js'
import type { Side } from './compressor.js'
import type { AgentEvent, EndReason, EventQueue, UsageEvent, UsagePurpose } from './events.js'
import type { AgentResponse } from './host.js'
import type { ResolvedAgent } from './options.js'
import { systemPrompt } from './prompt.js'
import { recallTool } from './recall.js'
import type { RunRecord } from './record.js'
import { Thread } from './thread.js'
import { Told } from './told.js'
import type { CallingRun, Tool } from './tools.js'
import { Transcript } from './transcript.js'
import type { Step, ToolCall } from './transcript.js'
import { readTurn } from './turn.js'
import type { TurnOutput } from './turn.js'

/** Options of `agent.run`. */
export interface RunOptions {
  /** Aborts the run with all that it has begun; its result rejects with the signal's reason. Default: none. */
  readonly signal?: AbortSignal
}

/** How a run ended, and all that was said in it. */
export interface AgentResult {
  /** Undefined when the run ended without one. */
  readonly answer: string | undefined
  /** Why it ended. */
  readonly end: EndReason
  /** All that was said. */
  readonly transcript: Transcript
  /** The run as plain data, to go on from by `agent.resume`. */
  readonly record: RunRecord
}

/** Where a run begins. */
export interface RunStart {
  readonly question?: string | undefined
  readonly record?: RunRecord | undefined
  /** Of the agent that called this one. */
  readonly parent?: CallingRun | undefined
}

/** Tokens that must be left for a turn to be worth beginning. */
const minimalTurn = 64
/** Of the context: above it, old observations are replaced whatever the gate says. */
const nearlyFull = 0.8

class TimeIsUp extends Error {}

/** Before the first turn there is nothing that could be left out. */
function noRoom({ which, engine, thread }: Side): AgentInferError {
  const { maxContext } = engine.info
  return new AgentInferError(
    'ERR_CONTEXT_LENGTH',
    `the system turn (instructions, tools) and the question take ${thread.length} of the ${maxContext} tokens of the ${which} model's context, ` +
      'and it has no room to write; open its engine with a larger maxContext, or give the agent fewer tools',
    { details: { tokens: thread.length, maxContext } },
  )
}

export class Run {
  readonly #agent: ResolvedAgent
  /** Names the tree of runs that this one belongs to. */
  readonly #id: string
  readonly #told: Told
  readonly #controller = new AbortController()
  readonly #transcript: Transcript
  readonly #archive: Archive
  readonly #budget: Budget
  readonly #sides = new Map<Which, Side>()
  readonly #collab: Collab
  readonly #compressor: Compressor | undefined
  readonly #calls: Calls
  readonly #background = new Set<Promise<unknown>>()
  #turn: number
  #silent = 0
  #answer: string | undefined
  #last: 'turns' | 'finish' | undefined
  #turnStats = { seconds: 0, tokens: 0, count: 0 }
  #saved: { steps: number; archive: number; turn: number; route: CollabRecord } | undefined

  constructor(agent: ResolvedAgent, start: RunStart) {
    this.#agent = agent
    const { record, parent } = start
    this.#id = parent?.run ?? randomUUID()
    this.#told = new Told({ agent: agent.name, run: this.#id })
    const now = performance.now()
    this.#archive = Archive.from(record?.archive ?? [])
    const { recall } = agent
    const own = recall === undefined ? agent.tools : [...agent.tools, recallTool(this.#archive, agent.observations?.characters ?? 4000)]
    const rendering = { suffix: agent.suffix }
    this.#transcript = record === undefined ? new Transcript(rendering) : Transcript.from(record.transcript, rendering)
    this.#budget = parent === undefined ? new Budget(agent.limits, now, undefined, record?.spent) : parent.budget.share(parent.siblings, agent.limits, now)
    this.#turn = record?.turn ?? 0
    if (record === undefined) {
      const { instructions, prompts, markers } = agent
      const text = systemPrompt({ instructions, tools: recall === 'listed' ? own : agent.tools, progress: agent.route.wantsProgress, prompts, markers })
      this.#transcript.add<'system'>({ kind: 'system', text })
    }
    if (start.question !== undefined) this.#transcript.add<'query'>({ kind: 'query', text: start.question, by: 'user' })
    this.#openSides()
    this.#collab = this.#makeCollab(record?.route)
    this.#compressor = this.#makeCompressor()
    this.#calls = this.#makeCalls(own)
    this.#told.begin(start.question, { resumed: record !== undefined, called: parent !== undefined })
  }

  get events(): EventQueue {
    return this.#told.events
  }

  get transcript(): Transcript {
    return this.#transcript
  }

  /** It has ended; what events there are can still be read. */
  get over(): boolean {
    return this.events.ended
  }

  abort(reason: unknown): void {
    this.#controller.abort(reason)
  }

  /** Runs to the end. Rejects with the reason of an abort, or what broke an engine; nothing is left behind either way. */
  async run(): Promise<AgentResult> {
    const { seconds } = this.#budget.left(performance.now())
    const timer = Number.isFinite(seconds) ? setTimeout(() => this.abort(new TimeIsUp('time is up')), Math.min(seconds * 1000, 2 ** 31 - 1)) : undefined
    try {
      const end = await this.#loop().catch((error: unknown) => {
        if (this.#controller.signal.reason instanceof TimeIsUp) return 'seconds' as const
        throw this.#controller.signal.aborted ? this.#controller.signal.reason : error
      })
      await this.#cleanUp()
      this.#save()
      this.#emit({ type: 'end', reason: end, spent: this.#budget.spent(performance.now()) })
      this.#told.end(end, this.#answer)
      return { answer: this.#answer, end, transcript: this.#transcript, record: this.record() }
    } catch (error) {
      await this.#cleanUp()
      this.#told.fail(error)
      throw error
    } finally {
      clearTimeout(timer)
    }
  }

  /** As of the last turn border. */
  record(): RunRecord {
    const saved = this.#saved ?? { steps: this.#transcript.log.length, archive: this.#archive.size, turn: this.#turn, route: this.#collab.record }
    return {
      version: 1,
      agent: this.#agent.name,
      transcript: { version: 1, steps: this.#transcript.log.slice(0, saved.steps) },
      archive: this.#archive.toJSON().slice(0, saved.archive),
      turn: saved.turn,
      spent: this.#budget.spent(performance.now()),
      route: saved.route,
      events: this.#told.log.slice(),
    }
  }

  async #loop(): Promise<EndReason> {
    for (;;) {
      this.#controller.signal.throwIfAborted()
      const limit = this.#budget.reached(performance.now())
      if (limit !== undefined) return limit
      const steps = await this.#think()
      if (steps === undefined) return 'context'
      const answer = steps.find((step) => step.kind === 'answer')
      if (answer !== undefined) return this.#end(answer.text)
      if (this.#last !== undefined) return this.#last === 'turns' ? 'turns' : 'silent'
      const calls = steps.flatMap((step) => (step.kind === 'act' ? step.calls : []))
      this.#silent = calls.length > 0 ? 0 : this.#silent + 1
      if (this.#silent >= this.#agent.silentTurns) return 'silent'
      const final = await this.#act(steps, calls)
      await this.#border()
      if (final !== undefined) return this.#end(final)
    }
  }

  #end(answer: string): EndReason {
    this.#answer = answer
    this.#emit({ type: 'answer', turn: this.#turn, text: answer })
    return 'answer'
  }

  /** One turn. Undefined: the context has no room for it. */
  async #think(): Promise<readonly Step[] | undefined> {
    const started = performance.now()
    this.#sayIfLast()
    let side = this.#collab.active
    await this.#collab.read(side)
    if (!this.#hasRoom(side)) return undefined
    ++this.#turn
    this.#budget.turn()
    let output = await this.#write(side)
    if (this.#hasTokens(output) && this.#collab.withdraws(output.steps, output.logprobs)) {
      this.#used(side, 'withdrawn', output.response)
      const { thread } = side
      side.thread = thread.branch(this.#transcript.messagesFor(side.which))
      thread.release()
      side = this.#collab.active
      await this.#collab.read(side)
      if (!this.#hasRoom(side)) return undefined
      output = await this.#write(side)
    }
    const steps = output.steps.map((step) => this.#transcript.add(step as never) as Step)
    side.thread.adopt(this.#transcript.messages.at(-1)!)
    this.#tellTurn(side, steps, output.response)
    this.#turnStats.tokens += output.response.usage.completionTokens
    this.#turnStats.seconds += (performance.now() - started) / 1000
    ++this.#turnStats.count
    return steps
  }

  /** Whether the run's limit allows the turn to be written once more. */
  #hasTokens({ response }: TurnOutput): boolean {
    return this.#budget.left(performance.now()).tokens >= 2 * response.usage.completionTokens + minimalTurn
  }

  #roomOf({ engine, thread }: Side): number {
    return engine.info.maxContext - thread.length - 16
  }

  #hasRoom(side: Side): boolean {
    if (this.#roomOf(side) >= Math.min(minimalTurn, this.#agent.turnTokens)) return true
    if (this.#turn === 0) throw noRoom(side)
    return false
  }

  /** One generation. */
  async #write(side: Side): Promise<TurnOutput> {
    const turn = this.#turn
    this.#emit({ type: 'turn', turn, model: side.which })
    const { sampling, turnTokens, markers, route, priority } = this.#agent
    const { tokens } = this.#budget.left(performance.now())
    const stream = side.thread.session.generate({
      maxTokens: Math.max(1, Math.floor(Math.min(turnTokens, this.#roomOf(side), tokens))),
      sampling: {
        ...sampling,
        ...(sampling.seed !== undefined && { seed: sampling.seed + turn }),
        ...(route.confidenceWindow !== undefined && { logprobs: sampling.logprobs ?? 0 }),
      },
      priority,
      signal: this.#controller.signal,
    })
    return await readTurn(stream, { turn, model: side.which, markers, emit: (event) => this.#emit(event) })
  }

  #tellTurn(side: Side, steps: readonly Step[], response: AgentResponse): void {
    const turn = this.#turn
    const text = steps.flatMap((step) => (step.kind === 'think' ? [step.text] : [])).join('\n').trim()
    if (text !== '') this.#emit({ type: 'think', turn, model: side.which, text })
    this.#used(side, 'turn', response, this.#collab.wrote(side))
  }

  /** Tools, and beside them the verdict on the step, and whatever can be prepared meanwhile. Returns what a final tool gave. */
  async #act(steps: readonly Step[], calls: readonly ToolCall[]): Promise<string | undefined> {
    const started = performance.now()
    const turn = this.#turn
    for (const call of calls) this.#emit({ type: 'tool-call', turn, call })
    if (calls.length > 0) this.#announce(calls)
    const verdict = this.#collab.judge(steps)
    verdict.catch(() => undefined) // awaited below, where what comes before does not throw
    this.#collab.warm()
    this.#compressor?.catchUp()
    const [outcomes, progress] = await Promise.all([this.#calls.run(calls), verdict])
    this.#controller.signal.throwIfAborted()
    const observations = calls.map((call, index) => this.#calls.observe(call, outcomes[index]!))
    if (calls.length === 0) this.#transcript.add<'query'>({ kind: 'query', text: this.#agent.prompts.nudge, by: 'agent' })
    this.#collab.decide([...steps, ...observations], progress)
    if (this.#collab.finish) this.#last = 'finish'
    this.#turnStats.seconds += (performance.now() - started) / 1000
    const last = outcomes.find((outcome, index) => outcome.ok && outcome.tool.final && observations[index]!.ok)
    return last?.ok === true ? last.tool.render(last.value) : undefined
  }

  /** Between two turns: the only place where contexts change. */
  async #border(): Promise<void> {
    const side = this.#collab.active
    await this.#collab.read(side)
    const { maxContext } = side.engine.info
    if (this.#last === undefined) await this.#compressor?.border(side, side.thread.length > nearlyFull * maxContext)
    this.#save()
    if (this.#last === undefined) this.#collab.warm()
  }

  #announce(calls: readonly ToolCall[]): void {
    const tool = [...new Set(calls.map(({ call }) => ('name' in call ? call.name : '')))].filter((name) => name !== '').toSorted().join('+')
    if (tool !== '') this.#collab.active.thread.session.activity({ kind: 'tool', tool })
  }

  #sayIfLast(): void {
    const { turns } = this.#budget.left(performance.now())
    if (this.#last === undefined && turns === 1 && this.#turn > 0) this.#last = 'turns'
    if (this.#last === undefined) return
    this.#transcript.add<'query'>({ kind: 'query', text: this.#agent.prompts.lastTurn, by: 'agent' })
  }

  /** Both or none: one of the engines may be closed. */
  #openSides(): void {
    try {
      for (const which of ['small', 'large'] as const) this.#addSide(which)
    } catch (error) {
      for (const { thread } of this.#sides.values()) thread.release()
      throw error
    }
  }

  #addSide(which: Which): void {
    const engine = this.#agent.models[which]
    if (engine === undefined) return
    const { name, tenant, priority } = this.#agent
    const open = () => engine.session({ tenant, role: name, run: this.#id, priority, name: `${name} (${which})` })
    this.#sides.set(which, { which, engine, meter: new CostMeter(), thread: new Thread(open) })
  }

  #makeCollab(record: CollabRecord | undefined): Collab {
    return new Collab(
      {
        settings: this.#agent,
        transcript: this.#transcript,
        sides: this.#sides,
        signal: this.#controller.signal,
        turn: () => this.#turn,
        emit: (event) => this.#emit(event),
        used: (side, purpose, response) => this.#used(side, purpose, response),
        inBackground: (work) => this.#inBackground(work),
        handOver: (side, from) => this.#compressor?.handOver(side, from),
        leavesOut: (side, from) => this.#compressor?.leavesOut(side, from) ?? false,
      },
      record,
    )
  }

  #makeCalls(tools: readonly Tool[]): Calls {
    return new Calls({
      agent: this.#agent,
      tools: new Map(tools.map((tool) => [tool.name, tool])),
      transcript: this.#transcript,
      archive: this.#archive,
      budget: this.#budget,
      signal: this.#controller.signal,
      run: this.#id,
      turn: () => this.#turn,
      emit: (event) => this.#emit(event),
      inBackground: (work) => this.#inBackground(work),
    })
  }

  #makeCompressor(): Compressor | undefined {
    const { history, prompts, priority } = this.#agent
    if (history === undefined) return undefined
    const sides = [...this.#sides.values()]
    return new Compressor({
      transcript: this.#transcript,
      archive: this.#archive,
      prompts,
      options: history,
      sides,
      distiller: sides[0]!,
      priority,
      expects: ({ which }) => this.#collab.expects(which),
      turn: () => this.#turn,
      turnsLeft: () => this.#budget.left(performance.now()).turns,
      averages: () => {
        const { seconds, tokens, count } = this.#turnStats
        return { seconds: seconds / Math.max(1, count), tokens: tokens / Math.max(1, count) }
      },
      emit: (event) => this.#emit(event),
      used: (side, purpose, response) => this.#used(side, purpose, response),
    })
  }

  #used(
    side: Side,
    purpose: UsagePurpose,
    response: Pick<AgentResponse, 'usage' | 'timings'> & Partial<Pick<AgentResponse, 'finishReason'>>,
    switched?: UsageEvent['switched'],
  ): void {
    const { usage, timings, finishReason } = response
    this.#budget.spend(usage.completionTokens)
    // Of a model that does no turns, distillation is all there is to measure.
    if (purpose === 'turn' || (purpose === 'distil' && side !== this.#collab.active)) {
      side.meter.add({
        computedTokens: usage.promptTokens - usage.cachedTokens,
        prefillSeconds: timings.prefill / 1000,
        contextTokens: usage.promptTokens,
        decodedTokens: usage.completionTokens,
        decodeSeconds: timings.decode / 1000,
        knownTokens: purpose === 'turn' && side.last?.thread === side.thread ? side.last.tokens : undefined,
        pressure: this.#compressor === undefined ? 0 : pressureOn(side.engine),
      })
    }
    if (purpose === 'turn') side.last = { thread: side.thread, tokens: usage.promptTokens + usage.completionTokens }
    this.#emit({
      type: 'usage',
      turn: this.#turn,
      model: side.which,
      purpose,
      ...usage,
      milliseconds: timings.total,
      queued: timings.queued,
      prefill: timings.prefill,
      ...(finishReason !== undefined && { finishReason }),
      ...(switched !== undefined && { switched }),
    })
  }

  #emit(event: AgentEvent): void {
    this.#told.emit(event)
  }

  #inBackground(work: Promise<unknown>): void {
    this.#background.add(work)
    void work.finally(() => this.#background.delete(work))
  }

  #save(): void {
    this.#saved = { steps: this.#transcript.log.length, archive: this.#archive.size, turn: this.#turn, route: this.#collab.record }
  }

  async #cleanUp(): Promise<void> {
    if (!this.#controller.signal.aborted) this.#controller.abort(new Error('the run has ended'))
    await this.#compressor?.close()
    await Promise.all(this.#background)
    for (const { thread } of this.#sides.values()) thread.release()
  }
}

