/**
 * AgentCollab in one run (arXiv 2512.18337, section 3): which model writes the next turn. After each turn its model is asked whether it
 * made progress; the router decides; and whichever model may be needed soon reads along in the background, so that a change of model
 * finds its KV.
 */
import { confidenceOf } from '../policy/route.js'
import type { Routed, Router, Which } from '../policy/route.js'
import type { Side } from './compressor.js'
import type { AgentEvent, UsageEvent, UsagePurpose } from './events.js'
import type { AgentResponse } from './host.js'
import { checkProgress } from './progress.js'
import type { AgentPrompts } from './prompt.js'
import { SignalTracker } from './signals.js'
import type { NewStep, Step, Transcript } from './transcript.js'

export interface CollabSettings {
  readonly route: Router
  readonly reasonTokens: number
  readonly warmFrom: number
  readonly priority: number
  readonly prompts: AgentPrompts
}

/** What it needs of its run. */
export interface CollabHost {
  readonly settings: CollabSettings
  readonly transcript: Transcript
  readonly sides: ReadonlyMap<Which, Side>
  readonly signal: AbortSignal
  turn(): number
  emit(event: AgentEvent): void
  used(side: Side, purpose: UsagePurpose, response: Pick<AgentResponse, 'usage' | 'timings'>): void
  inBackground(work: Promise<unknown>): void
  /** Before `side` reads what `from` knows: what of it need not be read. */
  handOver(side: Side, from: Side): void
  /** Whether `side` had better not read ahead what `from` knows: it would leave most of it out when it takes over. */
  leavesOut(side: Side, from: Side): boolean
}

/** Where the router of a run stands, as plain data. */
export interface CollabRecord {
  /** Of the router. */
  readonly name: string
  /** What it said last. */
  readonly state: Routed
}

/** Tokens of context that make it worth having another model write a turn. */
const leastRoom = 256

export class Collab {
  readonly #host: CollabHost
  readonly #tracker: SignalTracker
  #route: CollabRecord['state']
  /** Models that have read ahead in the background since they last wrote. */
  readonly #warmed = new Set<Which>()
  #lastModel: Which | undefined
  /** Of the turn that is being done; undefined: not asked for. */
  #confidence: number | undefined
  /** Tokens that were new to every model, as the last one to write counts them. */
  #appended = 0

  /** `record`: of a run that goes on; ignored when it had another router. */
  constructor(host: CollabHost, record?: CollabRecord) {
    this.#host = host
    const { route } = host.settings
    this.#tracker = SignalTracker.from(host.transcript.log)
    this.#route = record?.name === route.name ? record.state : route.initial()
  }

  get record(): CollabRecord {
    return { name: this.#host.settings.route.name, state: this.#route }
  }

  /** The model of the next turn. */
  get active(): Side {
    return this.#host.sides.get(this.#route.decision.model)!
  }

  /** The router has given up: the next turn is to answer. */
  get finish(): boolean {
    return this.#route.decision.finish
  }

  /** The active model reads what it has not; how much that is shows what a change of model costs beyond it. */
  async read(side: Side): Promise<void> {
    const before = side.thread.length
    const last = this.#lastModel === undefined ? undefined : this.#host.sides.get(this.#lastModel)
    if (last !== undefined && last !== side) this.#host.handOver(side, last)
    await side.thread.follow(this.#host.transcript.messagesFor(side.which))
    const read = side.thread.length - before
    if (this.#lastModel === side.which && read > 0) this.#appended = read
  }

  /** A model has written a turn. Says what is to be told when another one wrote the turn before. */
  wrote(side: Side): UsageEvent['switched'] {
    const from = this.#lastModel
    const warm = this.#warmed.delete(side.which)
    this.#lastModel = side.which
    return from === undefined || from === side.which ? undefined : { from, warm, appended: this.#appended }
  }

  /** What the model just wrote: true when the other model is to write it again, and is the active one from now on. */
  withdraws(steps: readonly NewStep[], logprobs: readonly number[]): boolean {
    const { settings, sides } = this.#host
    const { route } = settings
    const window = route.confidenceWindow
    this.#confidence = window === undefined ? undefined : confidenceOf(logprobs, window)
    const reviewed = route.review?.(this.#route.state, this.#tracker.written(steps, this.#confidence))
    const other = reviewed && sides.get(reviewed.decision.model)
    if (reviewed === undefined || other === undefined || other === this.active) return false
    // Both have about as much to read; a turn that is there is better than none.
    if (other.engine.info.maxContext < this.active.thread.length + leastRoom) return false
    this.#change(reviewed)
    return true
  }

  /** The probability that the active model calls its last turn progress; undefined: not worth asking, no room, or neither word. */
  async judge(steps: readonly Step[]): Promise<number | undefined> {
    const { settings, signal } = this.#host
    const { route } = settings
    const side = this.active
    const room = side.engine.info.maxContext - side.thread.length
    if (!route.wantsProgress || room < 160 + settings.reasonTokens) return undefined
    if (route.asks?.(this.#route.state, this.#tracker.written(steps, this.#confidence)) === false) return undefined
    const { probability, reason, responses } = await checkProgress(side.thread.session.fork({ role: 'progress' }), {
      prompts: settings.prompts,
      reasonTokens: settings.reasonTokens,
      signal,
      detokenize: (ids) => side.engine.detokenize(ids),
    })
    for (const response of responses) this.#host.used(side, 'progress', response)
    this.#host.emit({ type: 'progress', turn: this.#host.turn(), model: side.which, probability, reason })
    return probability
  }

  /** After a turn and its observations. */
  decide(steps: readonly Step[], progress: number | undefined): void {
    const { route } = this.#host.settings
    this.#change(route.next(this.#route.state, this.#tracker.turn(steps, progress, this.#confidence)))
  }

  #change(route: CollabRecord['state']): void {
    const { model: from } = this.#route.decision
    this.#route = route
    const { model: to, reason, stuck } = this.#route.decision
    if (to !== from) this.#host.emit({ type: 'escalate', turn: this.#host.turn(), from, to, reason, stuck })
  }

  /** Whether it is worth computing a model's KV ahead: of the one that writes, and of the other if it may be needed soon. */
  expects(which: Which): boolean {
    const { route, warmFrom } = this.#host.settings
    const { model, stuck } = this.#route.decision
    if (which === model) return true
    if (!route.wantsProgress || warmFrom === Number.POSITIVE_INFINITY) return false
    return which === 'small' || stuck >= warmFrom
  }

  /** The other model reads in the background what it has not, if it may be needed soon. */
  warm(): void {
    const other = this.#host.sides.get(this.#route.decision.model === 'small' ? 'large' : 'small')
    if (other === undefined || !this.expects(other.which)) return
    other.thread.session.activity({ kind: 'elsewhere', tokens: 0 })
    if (this.#host.leavesOut(other, this.active)) return
    // Whatever goes wrong here is met again, and told, when the model is needed.
    this.#host.inBackground(this.#readAhead(other).catch(() => undefined))
  }

  async #readAhead(side: Side): Promise<void> {
    const { settings, transcript, signal } = this.#host
    const started = performance.now()
    const { thread } = side
    this.#host.handOver(side, this.active)
    await thread.follow(transcript.messagesFor(side.which))
    const { cachedTokens, computedTokens } = await thread.session.prefill({ priority: settings.priority - 1, signal })
    this.#warmed.add(side.which)
    if (computedTokens <= 1) return
    const total = performance.now() - started
    this.#host.used(side, 'warm', {
      usage: { promptTokens: cachedTokens + computedTokens, cachedTokens, completionTokens: 0 },
      timings: { queued: 0, prefill: total, decode: 0, total },
    })
  }
}
