/**
 * AgentCompress in one run (arXiv 2512.18337, section 4): at a turn border the gate decides; T0 the memory of old observations is written
 * in the background; T1 the new context is composed and its KV computed, also in the background; T2 at a later turn border the new
 * context takes the old one's place, at once and on all models, with every step that was taken meanwhile. Whatever fails before T2
 * leaves the run as it was.
 */
import { costGate, expectedTurns, memoryTokens, paperGate, priceAll } from '../policy/compress.js'
import type { CompressCosts, CompressOptions, ContextPiece, GateVerdict, SwapPlan } from '../policy/compress.js'
import { memoryPressure, relativeCosts } from '../policy/compress_costs.js'
import type { CostMeter } from '../policy/compress_costs.js'
import { handoverGate } from '../policy/handover.js'
import type { HandoverVerdict } from '../policy/handover.js'
import type { Which } from '../policy/route.js'
import type { Archive } from './archive.js'
import type { AgentEvent, UsagePurpose } from './events.js'
import type { AgentEngine, AgentResponse } from './host.js'
import { withoutMarkers } from './prompt.js'
import type { AgentPrompts, CalledObservation } from './prompt.js'
import type { Thread, ThreadPiece } from './thread.js'
import type { Step, StepOf, Transcript, TranscriptMessage } from './transcript.js'

/** One model as a run uses it. */
export interface Side {
  readonly which: Which
  readonly engine: AgentEngine
  readonly meter: CostMeter
  thread: Thread
  /** The last turn's thread, and the tokens it had when the turn was over. */
  last?: { readonly thread: Thread; readonly tokens: number }
}

/** When and how old observations become a memory. */
export interface HistoryOptions extends CompressOptions {
  /** `'gate'`: when it pays. `'paper'`: above `threshold` tokens once a tool was called. Or a rule of one's own. Default: `'gate'`. */
  readonly rule: 'gate' | 'paper' | HistoryRule
  /** Tokens of context above which the paper's rule distils. Default: 5000. */
  readonly threshold: number
  /** Turns a run usually has. Default: 20. */
  readonly usualTurns: number
  /**
   * Of the distillation, its prefill and the precomputation; the agents' own work has theirs, 0 unless set. Higher goes first. Default: -1.
   */
  readonly priority: number
  /** How much longer background work takes than on an idle engine. Default: 1. */
  readonly load: number
  /**
   * Whether a model that takes over may leave out old observations that it has not read yet, when that pays
   * (policy/handover.ts); never by the paper's rule, which knows no such thing. Default: `true`.
   */
  readonly handover: boolean
  /**
   * Shadow price of KV memory: the share of a token's prefill that holding it through a turn costs, 0..1. Default: how short memory is, by
   * the KV lost when it was.
   */
  readonly lambda?: (() => number) | undefined
}

/** When old observations are replaced: `gate`, when that is cheaper than to keep them; `paper`, above a threshold (AgentInfer, section 4). */
export type HistoryRule = (pieces: readonly ContextPiece[], remaining: number, costs: CompressCosts, options: CompressOptions) => GateVerdict

/** What it needs of its run. */
export interface CompressorHost {
  readonly transcript: Transcript
  readonly archive: Archive
  readonly prompts: AgentPrompts
  readonly options: HistoryOptions
  readonly sides: readonly Side[]
  /** The one that writes memories. */
  readonly distiller: Side
  readonly priority: number
  /** Whether KV computed ahead for it will be used. */
  expects(side: Side): boolean
  turn(): number
  /** Turns that are left at most. */
  turnsLeft(): number
  /** Seconds and generated tokens of a turn so far, on average. */
  averages(): { readonly seconds: number; readonly tokens: number }
  emit(event: AgentEvent): void
  used(side: Side, purpose: UsagePurpose, response: Pick<AgentResponse, 'usage' | 'timings'>): void
}

interface Job {
  readonly plan: SwapPlan
  readonly memory: { replaces: readonly string[]; after: string; sources: readonly CalledObservation[] }
  readonly epoch: number
  done: Promise<void>
  step?: StepOf<'memory'>
  prepared?: ReadonlyMap<Side, Thread>
  failure?: unknown
}

/** Turns after a failure in which nothing is tried. */
const pauseAfterFailure = 3

export class Compressor {
  readonly #host: CompressorHost
  readonly #controller = new AbortController()
  #job: Job | undefined
  #notBefore = 0
  #catchingUp: Promise<void> = Promise.resolve()

  constructor(host: CompressorHost) {
    this.#host = host
  }

  /** At a turn border, when the active side has all messages. `must`: the context is nearly full, so it is done now if it can be. */
  async border(active: Side, must: boolean): Promise<void> {
    if (this.#job === undefined) this.#consider(active, must)
    const job = this.#job
    if (job === undefined) return
    if (must) await job.done
    if ('failure' in job) return this.#fail(job)
    if (job.prepared !== undefined) await this.#swap(job)
  }

  /**
   * Before a side reads what another one knows already: what of it is left out, if that pays. The one that writes memories reads all.
   * Nothing happens where both are one engine, whose KV has it.
   */
  handOver(side: Side, from: Side): void {
    const { transcript, archive, prompts, options } = this.#host
    const { unread, verdict } = this.#weigh(side, from, options.keepRecent)
    if (!verdict.omit) return
    const gone = unread.flatMap(({ compressible, steps }) => (compressible ? steps.filter((step) => step.kind === 'observation') : []))
    const omits = gone.map(({ id }) => id)
    const until = Math.max(...gone.map(({ turn }) => turn)) + 1
    const thoughts = transcript.log.flatMap((step) => (step.kind === 'think' && step.turn <= until ? [step.text] : []))
    const text = prompts.omission(sourcesOf(gone, archive), thoughts)
    transcript.add<'omission'>({ kind: 'omission', turn: this.#host.turn(), model: side.which, text, omits })
    this.#host.emit({ type: 'compress', turn: this.#host.turn(), phase: 'omit', model: side.which, omitted: omits, saved: verdict.saved })
  }

  /**
   * Whether a side had better not read ahead what another one knows: by when it takes over, that is old, and will be left out. More will have
   * gathered by then, so of the turns that knowing less adds, what is unread now bears its share.
   */
  leavesOut(side: Side, from: Side): boolean {
    const { length } = from.thread
    const unread = length - Math.min(length, side.thread.length)
    return this.#weigh(side, from, 0, unread / Math.max(1, length)).verdict.omit
  }

  #weigh(side: Side, from: Side, keepRecent: number, share = 1): { readonly unread: readonly UnreadPiece[]; readonly verdict: Pick<HandoverVerdict, 'omit' | 'saved'> } {
    const { transcript, options, distiller } = this.#host
    // A context that is being prepared has what its side had when that began.
    if (this.#job !== undefined || !options.handover || side === distiller || side.engine === from.engine)
      return { unread: [], verdict: { omit: false, saved: 0 } }
    const unread = unreadOf(side, from, transcript, keepRecent)
    // What it never reads takes no blocks from anybody: where memory is short, all of them count.
    const costs = this.#costs(side, 1)
    // Where it has computed nothing yet: the other one, which is the small model or as dear.
    const known = costs.prefill === 0 ? from.meter : side.meter
    const prefill = known.prefill + known.prefillAttend * (from.thread.length / 2)
    const extraTurns = options.extraTurns * share
    return { unread, verdict: handoverGate(unread, this.#remaining(), { ...costs, prefill }, { ...options, extraTurns }) }
  }

  /** While tools run, and as soon as it is ready: the steps taken meanwhile are added to the prepared context, so that little is left to do at the border. */
  catchUp(): void {
    const job = this.#job
    if (job?.prepared === undefined || job.step === undefined) return
    this.#catchingUp = this.#addMeanwhile(job, job.step)
  }

  /** Nothing of it runs any more afterwards. */
  async close(): Promise<void> {
    const job = this.#job
    this.#controller.abort(new Error('the run has ended'))
    await job?.done
    await this.#catchingUp
    if (job === undefined) return
    this.#drop(job)
    this.#host.emit({ type: 'compress', turn: this.#host.turn(), phase: 'late', reason: 'the run ended before the new context was used' })
  }

  #consider(active: Side, must: boolean): void {
    const { transcript, options } = this.#host
    if (this.#host.turn() < this.#notBefore) return
    const messages = transcript.messagesFor(active.which)
    const threadPieces = active.thread.pieces()
    const pieces = piecesOf(threadPieces, messages, options.keepRecent).map((piece, index) =>
      piece.compressible ? { ...piece, stays: this.#stays(piece, messages.slice(threadPieces[index]!.from, threadPieces[index]!.to)) } : piece,
    )
    const verdict = this.#verdict(pieces, active)
    // A context that is nearly full loses all it can, whatever that costs.
    const plan = must && !verdict.swap ? priceAll(pieces, this.#remaining(), this.#costs(active), options) : verdict.plan
    if (plan === undefined || !(verdict.swap || (must && plan.saved > 0))) return
    const memory = memoryOf(plan, threadPieces, pieces, messages, this.#host.archive)
    const job: Job = { plan, memory, epoch: transcript.epoch, done: Promise.resolve() }
    const rule = typeof options.rule === 'function' ? 'custom' : options.rule
    this.#host.emit({ type: 'compress', turn: this.#host.turn(), phase: 'launch', plan, rule: verdict.swap ? rule : 'context full' })
    this.#job = job
    job.done = this.#prepare(job, active, transcript.messagesFor(this.#host.distiller.which).slice()).catch((error: unknown) => {
      job.failure = error
    })
  }

  /** Tokens that a memory has of each observation beside facts, by the length of their text and what its tokens are long. */
  #stays({ tokens }: ContextPiece, messages: readonly TranscriptMessage[]): number {
    const { prompts, archive } = this.#host
    const sources = sourcesOf(messages.flatMap(({ steps }) => steps.filter((step) => step.kind === 'observation')), archive)
    if (sources.length === 0) return 0
    const added = prompts.memory('', [...sources, ...sources]).length - prompts.memory('', sources).length
    const characters = messages.reduce((sum, { content }) => sum + content.length, 0)
    return Math.min(tokens, Math.round((Math.max(0, added) * tokens) / Math.max(1, characters)))
  }

  #verdict(pieces: readonly ContextPiece[], active: Side): GateVerdict {
    const { options } = this.#host
    const remaining = this.#remaining()
    const costs = this.#costs(active)
    if (typeof options.rule === 'function') return options.rule(pieces, remaining, costs, options)
    if (options.rule === 'gate') return costGate(pieces, remaining, costs, options)
    return paperGate(pieces, pieces.some(({ compressible }) => compressible), remaining, costs, options, options.threshold)
  }

  #remaining(): number {
    const turn = this.#host.turn()
    return expectedTurns(turn, this.#host.options.usualTurns, turn + this.#host.turnsLeft())
  }

  /** `loss`: the share of a context that is lost in a turn where memory is short. */
  #costs(active: Side, loss = active.meter.loss): CompressCosts {
    const { options, distiller } = this.#host
    const { engine, meter } = active
    const { seconds, tokens } = this.#host.averages()
    const { blockSize } = engine.info
    const context = active.thread.length
    const lambda = options.lambda?.() ?? pressureOn(engine) * loss
    const { prefill, prefillAttend } = meter
    // Who holds a block through a turn makes others compute a block's tokens again, in the middle of a context, with probability λ.
    const block = seconds === 0 ? 0 : (lambda * blockSize * (prefill + prefillAttend * (context / 2))) / seconds
    const other = costsOf(distiller, active)
    const unread = distiller === active ? 0 : Math.max(0, context - distiller.thread.length)
    return {
      prefill,
      prefillAttend,
      attend: meter.attend,
      distil: other.decode,
      distilAttend: other.attend,
      distilRead: unread * (other.prefill + other.prefillAttend * (context - unread / 2)),
      load: options.load,
      block,
      blockSize,
      turnSeconds: seconds,
      turnTokens: tokens,
      turnPrompt: meter.appended,
    }
  }

  async #prepare(job: Job, active: Side, messages: readonly TranscriptMessage[]): Promise<void> {
    const started = performance.now()
    const { transcript, prompts, sides } = this.#host
    const facts = await this.#distil(job, messages)
    if (facts === '') throw new Error('the memory is empty')
    const { replaces, after, sources } = job.memory
    const step: StepOf<'memory'> = {
      id: transcript.nextMemoryId,
      kind: 'memory',
      text: prompts.memory(facts, sources),
      replaces,
      after,
    }
    const prepared = new Map<Side, Thread>()
    try {
      for (const side of sides) {
        if (side.thread.count === 0) continue
        const thread = side.thread.branch(transcript.messagesWith(step, side.which))
        prepared.set(side, thread)
        await thread.follow(transcript.messagesWith(step, side.which))
        if (this.#host.expects(side)) await this.#prefill(thread, side)
      }
      const [before, now] = [active.thread.length, prepared.get(active)!.length]
      if (now >= before) throw new Error(`the new context has ${now} tokens, the old one ${before}`)
    } catch (error) {
      for (const thread of prepared.values()) thread.release()
      throw error
    }
    job.step = step
    job.prepared = prepared
    this.catchUp()
    this.#host.emit({ type: 'compress', turn: this.#host.turn(), phase: 'ready', memory: step.text, milliseconds: performance.now() - started })
  }

  async #distil(job: Job, messages: readonly TranscriptMessage[]): Promise<string> {
    const { distiller, prompts, options } = this.#host
    const tokens = memoryTokens(job.plan.replaced, options)
    await distiller.thread.follow(messages)
    const { session } = distiller.thread.branch(messages)
    try {
      await session.append([{ role: 'user', content: prompts.distil(job.memory.sources, tokens) }])
      const response = await session.generate({
        lead: prompts.distilLead,
        append: false,
        maxTokens: Math.ceil(tokens * 1.3),
        stop: prompts.distilStop,
        sampling: { temperature: 0 },
        priority: options.priority,
        signal: this.#controller.signal,
      }).response
      this.#host.used(distiller, 'distil', response)
      return withoutMarkers(response.text).trim()
    } finally {
      session.release()
    }
  }

  async #prefill(thread: Thread, side?: Side): Promise<void> {
    const started = performance.now()
    const result = await thread.session.prefill({ priority: this.#host.options.priority, signal: this.#controller.signal })
    if (side === undefined) return
    const total = performance.now() - started
    this.#host.used(side, 'precompute', {
      usage: { promptTokens: result.cachedTokens + result.computedTokens, cachedTokens: result.cachedTokens, completionTokens: 0 },
      timings: { queued: 0, prefill: total, decode: 0, total },
    })
  }

  async #addMeanwhile(job: Job, step: StepOf<'memory'>): Promise<void> {
    const known = Array.from(job.prepared ?? [], ([side, thread]) => ({
      side, thread, messages: this.#host.transcript.messagesWith(step, side.which),
    }))
    await this.#catchingUp
    try {
      for (const { side, thread, messages } of known) {
        await thread.follow(messages)
        if (this.#host.expects(side)) await this.#prefill(thread)
      }
    } catch {
      // The border meets it again, or the run is over.
    }
  }

  /** All that can fail comes before anything changes. */
  async #swap(job: Job): Promise<void> {
    const { transcript, sides } = this.#host
    const { step, prepared } = job
    if (step === undefined || prepared === undefined) return
    try {
      for (const [side, thread] of prepared) await thread.follow(transcript.messagesWith(step, side.which))
    } catch (error) {
      job.failure = error
      this.#fail(job)
      return
    }
    this.#job = undefined
    const before = sides.map(({ thread }) => thread.length)
    transcript.add<'memory'>({ kind: 'memory', text: step.text, replaces: step.replaces, after: step.after })
    for (const side of sides) {
      const old = side.thread
      side.thread = prepared.get(side) ?? old.branch(transcript.messagesFor(side.which))
      old.release()
    }
    const changed = sides.findIndex((side) => prepared.has(side))
    this.#host.emit({
      type: 'compress',
      turn: this.#host.turn(),
      phase: 'swap',
      before: before[changed]!,
      after: sides[changed]!.thread.length,
      kept: job.plan.kept,
      replaced: step.replaces,
    })
  }

  #fail(job: Job): void {
    this.#drop(job)
    this.#notBefore = this.#host.turn() + pauseAfterFailure
    const reason = job.failure instanceof Error ? job.failure.message : String(job.failure)
    this.#host.emit({ type: 'compress', turn: this.#host.turn(), phase: 'fail', reason })
  }

  #drop(job: Job): void {
    for (const thread of job.prepared?.values() ?? []) thread.release()
    this.#job = undefined
  }
}

/** Seconds per token as the meter has them; of a model that has done nothing yet, as those of the other suggest. */
function costsOf(side: Side, measured: Side): Pick<CostMeter, 'prefill' | 'prefillAttend' | 'decode' | 'attend'> {
  if (side === measured || side.meter.measured) return side.meter
  const { weights, attention } = relativeCosts(side.engine.info.config, measured.engine.info.config)
  const { prefill, prefillAttend, decode, attend } = measured.meter
  return { prefill: prefill * weights, prefillAttend: prefillAttend * attention, decode: decode * weights, attend: attend * attention }
}

/** How short its KV memory is, 0..1. */
export function pressureOn(engine: AgentEngine): number {
  const { pool, sessionTokens, sched } = engine.stats()
  return memoryPressure({ blocks: pool.total, blockSize: engine.info.blockSize, sessionTokens, lambda: sched.figures['lambda'] })
}

/** The context as the gate sees it. Observations of the last `keepRecent` turns that had some stay. */
function piecesOf(
  pieces: readonly ThreadPiece[],
  messages: readonly TranscriptMessage[],
  keepRecent: number,
): ContextPiece[] {
  const result: ContextPiece[] = []
  let recent = keepRecent
  for (let index = pieces.length - 1; index >= 0; --index) {
    const { from, to, tokens } = pieces[index]!
    let observed = false
    for (let at = from; at < to && !observed; ++at) observed = messages[at]!.steps[0]!.kind === 'observation'
    result.push({ tokens, compressible: observed && recent-- <= 0 })
  }
  return result.toReversed()
}

function memoryOf(
  plan: SwapPlan,
  threadPieces: readonly ThreadPiece[],
  pieces: readonly ContextPiece[],
  messages: readonly TranscriptMessage[],
  archive: Archive,
): Job['memory'] {
  const steps = threadPieces.slice(plan.from, plan.to).flatMap(({ from, to }, index) =>
    pieces[plan.from + index]!.compressible ? messages.slice(from, to).flatMap((message) => message.steps) : [],
  )
  const gone = steps.filter((step): step is StepOf<'observation'> => step.kind === 'observation')
  const last = threadPieces[plan.to - 1]!
  return { replaces: gone.map(({ id }) => id), after: messages[last.to - 1]!.steps.at(-1)!.id, sources: sourcesOf(gone, archive) }
}

interface UnreadPiece extends ContextPiece {
  readonly steps: readonly Step[]
}

/** What a side has not read of what another one has, in the other's pieces. */
function unreadOf(side: Side, from: Side, transcript: Transcript, keepRecent: number): UnreadPiece[] {
  const messages = transcript.messagesFor(from.which)
  const read = new Set(transcript.messagesFor(side.which).slice(0, side.thread.asked).map(({ key }) => key))
  const threadPieces = from.thread.pieces()
  // What it left out before lies before what it has read since.
  const behind = threadPieces.findLastIndex(({ from: first, to }) => messages.slice(first, to).some(({ key }) => read.has(key))) + 1
  // The other one need not have read what came last.
  const latest = messages.slice(threadPieces.at(-1)?.to ?? 0).some(({ steps }) => steps[0]!.kind === 'observation') ? 1 : 0
  return piecesOf(threadPieces, messages, keepRecent - latest).slice(behind).map((piece, index) => {
    const { from: first, to } = threadPieces[behind + index]!
    return { ...piece, steps: messages.slice(first, to).flatMap(({ steps }) => steps) }
  })
}

function sourcesOf(observations: readonly StepOf<'observation'>[], archive: Archive): CalledObservation[] {
  return observations.flatMap(({ ref }) => (ref === undefined ? [] : [{ ref, call: archive.get(ref)?.call ?? '' }]))
}
