/**
 * The step loop: apply a result, plan, send the next step off, then deliver text while it runs. One plan is in flight at a time; where
 * its scheduler says that it holds for longer, native code repeats it, and results are applied beside the step that follows. Whatever
 * may change the plan interrupts it, at the latest one step later than if each step were planned.
 * Decisions are the scheduler's; what it says is checked, and a scheduler that breaks a rule or throws fails the requests it was asked
 * about, not the engine.
 */
import { randomUUID } from 'node:crypto'

import { publish } from '../diagnostics.js'
import { AgentInferError, fromNative } from '../errors.js'
import type { NativeEngine, StepResult } from '../native.js'
import { contract, Finish, OutcomeKind } from '../native.js'
import { preemptionVictim } from '../policy/baselines.js'
import type { DemandView, Plan, PlanLimits, Scheduler, Snapshot } from '../policy/types.js'
import { Departures, lookingOnly } from './departures.js'
import type { Departing } from './departures.js'
import { checkPlan } from './plan_check.js'
import { readLogprobs } from './request.js'
import type { Emission, LiveView, Request } from './request.js'
import { demandOf, eachMiss, eachProbe, nativeTime, outcomeField, poolOf } from './result_views.js'
import type { PoolFigures } from './result_views.js'
import type { Sessions } from './sessions.js'
import { EngineSpeculation } from './speculation.js'
import { Counters, StepTimes } from './stats.js'
import type { EngineHealth, EngineStats } from './stats.js'
import { tellResult, tellSent } from './step_messages.js'
import type { AboutStep } from './step_messages.js'

/** Steps in which nobody found room before the loop itself makes some: for schedulers that never preempt. */
const stuckSteps = 4
/** Milliseconds before a scheduler that planned nothing though requests wait is asked again; doubled each time. */
const patience = { first: 1, last: 64 }

export interface LoopOptions {
  readonly limits: PlanLimits
  /** Blocks of the pool and the host tier. */
  readonly blocks: number
  readonly hostBlocks: number
  readonly maxQueue: number
  readonly scheduler: Scheduler
}

export class StepLoop {
  /** `engine` of the messages about it. */
  readonly name = randomUUID()
  readonly #native: NativeEngine
  readonly #options: LoopOptions
  readonly #scheduler: Scheduler
  readonly #sessions: Sessions
  /** All live requests, in order of arrival. */
  readonly #requests = new Map<number, Request>()
  readonly #counters = new Counters()
  readonly speculation = new EngineSpeculation()
  readonly #times = new StepTimes()
  /** Plans asked for, and steps that went without: a policy that keeps everybody waiting sees time pass. */
  #plans = 0
  #closed = false
  readonly #departures: Departures
  #scheduled = false
  #retry: NodeJS.Timeout | undefined
  #retryAfter = patience.first
  /** The last step only looked: it had no rows. */
  #looked = false
  /** Steps in a row that had rows and committed none. */
  #stuck = 0
  #unhealthy: string | undefined
  #lastProgress = 0
  /** Blocks were given back since the last step was sent: its figures are no longer right. */
  #stale = false
  /** Something happened since the last plan was asked for. */
  #changed = false
  /** Of the last result. */
  #pool: PoolFigures
  #demand: DemandView = { pinned: 0, evictable: 0, host: 0, fresh: 0 }
  #phases: Float64Array = new Float64Array(contract.phases.length)
  #deferred: number[] = []
  #plan: Pick<Plan, 'reasons' | 'figures'> = { reasons: new Map() }
  #deliveries: { request: Request; emission: Emission }[] = []

  constructor(native: NativeEngine, sessions: Sessions, options: LoopOptions) {
    this.#native = native
    this.#options = options
    this.#scheduler = options.scheduler
    this.#sessions = sessions
    this.#departures = new Departures(native, {
      requests: this.#requests,
      scheduler: options.scheduler,
      now: () => this.now(),
      fail: (request, error) => {
        request.fail(error)
        this.remove(request.id, 'failed')
      },
    })
    const { blocks, hostBlocks } = options
    this.#pool = { total: blocks, free: blocks, cached: 0, used: 0, hostTotal: hostBlocks, hostFree: hostBlocks, evicted: 0 }
    sessions.onChange = () => this.#schedule()
  }

  /** @throws {AgentInferError} `ERR_BUSY`, `ERR_DEVICE` when the device has failed, `ERR_CLOSED`. */
  add(request: Request): void {
    if (this.#closed) throw new AgentInferError('ERR_CLOSED', 'the engine is closed')
    if (this.#unhealthy !== undefined) throw new AgentInferError('ERR_DEVICE', `the engine failed: ${this.#unhealthy}`)
    const { maxQueue, limits } = this.#options
    if (this.#requests.size >= maxQueue + limits.maxSequences)
      throw new AgentInferError('ERR_BUSY', `the queue is full: ${this.#requests.size} requests, maxQueue ${maxQueue}`)
    this.#native.add(request.spec()) // before anything else: where it throws, nothing has happened
    if (this.#requests.size === 0) {
      this.#native.ref()
      this.#lastProgress = performance.now()
    }
    request.view.arrivedAt = this.now()
    request.view.prefilledAtArrival = this.#counters.prefilled
    this.#requests.set(request.id, request)
    this.#retryAfter = patience.first
    this.#schedule()
  }

  /** Seconds on the clock of plans and retention. */
  now(): number {
    return performance.now() / 1000
  }

  /** Takes a request out; its stream must be ended by the caller. */
  remove(id: number, why: 'aborted' | 'failed'): void {
    if (!this.#requests.delete(id)) return
    this.#counters[why] += 1
    this.#native.remove(id)
    this.#stale = true
    this.#idle()
    this.#schedule()
  }

  /** Somebody begins to read a stream: results are not kept any more. */
  read(): void {
    this.#departures.interrupt()
  }

  /** Blocks of higher classes are evicted after all of lower ones; `expiresAt` in seconds on the clock of the plans. */
  retain(session: number, retentionClass: number, expiresAt: number): void {
    this.#departures.retain(session, retentionClass, expiresAt)
    this.#schedule()
  }

  /** The session will not come back. */
  forget(session: number): void {
    this.#departures.forget(session)
    this.#native.forget(session)
  }

  rejected(id: number, error: unknown): void {
    const request = this.#requests.get(id)
    if (request === undefined) return
    this.#requests.delete(id)
    this.#counters.failed += 1
    request.fail(fromNative(error))
    this.#idle()
  }

  /** Fails what is there; no step is sent any more. */
  close(error: unknown): void {
    this.#closed = true
    clearTimeout(this.#retry)
    this.#failAll(error)
  }

  health(): EngineHealth {
    const queued = this.#requests.size
    const stalledMs = queued === 0 ? 0 : performance.now() - this.#lastProgress
    return { healthy: this.#unhealthy === undefined, reason: this.#unhealthy, stalledMs, queued }
  }

  stats(): EngineStats {
    const [scheduler, times] = [this.#scheduler, this.#times]
    const { hostTotal, hostFree, ...device } = this.#pool
    let running = 0
    for (const { view } of this.#requests.values()) running += Number(view.started)
    const counts = this.#counters.report()
    const reasons: Record<string, number> = {}
    for (const [id, reason] of this.#plan.reasons) if (this.#requests.has(id)) reasons[reason] = (reasons[reason] ?? 0) + 1
    return {
      running,
      waiting: this.#requests.size - running,
      sessions: this.#sessions.count,
      sessionTokens: this.#sessions.views.reduce((sum, { tokens }) => sum + tokens, 0),
      ...counts,
      pool: device,
      host: { total: hostTotal, free: hostFree },
      phases: Object.fromEntries(contract.phases.map((name, i) => [name, this.#phases[i] ?? 0])) as EngineStats['phases'],
      // What takes sorting, or has hundreds of points, is made for those who read it: agents ask for the rest at every turn.
      get stepTimes() {
        return times.report()
      },
      speculation: this.speculation.stats(),
      sched: {
        scheduler: scheduler.name,
        hitRate: counts.hitRate,
        reasons,
        figures: this.#plan.figures ?? {},
        get history() {
          return scheduler.history?.() ?? []
        },
      },
    }
  }

  /** A fault of ours while a result is handled must not leave anybody waiting for ever. */
  result(result: StepResult): void {
    try {
      this.#take(result)
    } catch (cause) {
      this.#unhealthy = `a result could not be handled: ${cause instanceof Error ? cause.message : String(cause)}`
      this.#broke(new AgentInferError('ERR_INTERNAL', this.#unhealthy, { cause }))
      this.#deliver(performance.now()) // of those that have ended, and are in no list any more
    }
  }

  #take(result: StepResult): void {
    const now = performance.now()
    const native = nativeTime(result)
    const crossing = this.#departures.arrived(result, now)
    tellResult(result, native, crossing, this.#about())
    this.#counters.steps += 1
    this.#lastProgress = now
    this.#phases = result.phases
    this.#times.native.add(native)
    this.#times.crossing.add(crossing)
    this.#pool = poolOf(result)
    if (result.repeat > 0) this.#plans += 1
    else this.#demand = demandOf(result)
    eachProbe(result, (id, view) => {
      const request = this.#requests.get(id)
      if (request !== undefined) request.view.probe = view
    })
    eachMiss(result, (id, fields) => {
      const request = this.#requests.get(id)
      if (request !== undefined) request.miss ??= fields
    })
    this.speculation.result(result, (id) => this.#requests.get(id)?.speculation)
    this.#apply(result, now - native, now)
    if (result.unhealthy !== undefined) {
      this.#unhealthy = result.unhealthy
      this.#broke(new AgentInferError('ERR_DEVICE', `the engine failed: ${result.unhealthy}`))
    }
    if (result.more) this.#tellRepeated()
    // Where nothing is wanted and nothing was done there is nothing to decide: a scheduler that always has something to say would be
    // asked for ever.
    if (this.#requests.size > 0 || this.#changed || result.outcomes.length > 0) this.#step()
    const planned = performance.now()
    this.#times.planning.add(planned - now)
    this.#deliver(now)
    this.#times.delivery.add(performance.now() - planned)
    this.#idle()
  }

  #apply(result: StepResult, begunAt: number, now: number): void {
    const { outcomes } = result
    this.#deferred = []
    let at = 0
    let committed = false
    for (let i = 0; i < outcomes.length; i += contract.outcome.length) {
      const emitted = outcomes[i + outcomeField.emitted]!
      const kind = outcomes[i + outcomeField.kind]
      committed ||= kind !== OutcomeKind.deferred
      const request = this.#requests.get(outcomes[i + outcomeField.sequence]!)
      if (request !== undefined) {
        if (kind === OutcomeKind.committed) this.#committed(request, i, result, at, begunAt, now)
        else if (kind === OutcomeKind.deferred) this.#foundNoRoom(request)
        else this.#failed(request, result.errors?.[outcomes[i + outcomeField.error]!])
      }
      at += emitted
    }
    if (outcomes.length > 0) this.#stuck = committed ? 0 : this.#stuck + 1
  }

  /** `record`, `at`: where its outcome begins, and its tokens. */
  #committed(request: Request, record: number, result: StepResult, at: number, begunAt: number, now: number): void {
    const { view } = request
    const { outcomes } = result
    const computed = outcomes[record + outcomeField.computed]!
    const from = view.started ? view.computed : outcomes[record + outcomeField.cachedTokens]!
    if (!view.started) {
      if (request.cached === undefined) {
        this.#counters.promptTokens += view.promptTokens
        this.#counters.cachedTokens += from
      }
      request.start(begunAt, from)
    }
    this.#counters.computedTokens += computed - from
    if (view.known - from > 1) this.#counters.prefilled += Math.min(computed, view.known) - from
    view.computed = computed
    const emitted = outcomes[record + outcomeField.emitted]!
    if (emitted === 0) return
    view.known += emitted
    view.remaining -= emitted
    this.#counters.generatedTokens += emitted
    const finish = outcomes[record + outcomeField.finish]!
    const { sampling } = request.init
    const emission = {
      tokens: result.tokens,
      begin: at,
      end: at + emitted,
      finish,
      logprobs: sampling.logprobs === true ? readLogprobs(result, at, emitted, sampling.topLogprobs ?? 0) : undefined,
    }
    if (request.endsByText) {
      if (this.#emit(request, emission, now)) this.#native.remove(request.id)
    } else {
      this.#deliveries.push({ request, emission })
    }
    if (finish === Finish.none && !request.over) return
    request.over = true
    this.#requests.delete(request.id)
    this.#counters.finished += 1
  }

  #foundNoRoom({ view }: Request): void {
    if (view.started) this.#deferred.push(view.id)
  }

  #failed(request: Request, error: Error | undefined): void {
    this.#requests.delete(request.id)
    this.#counters.failed += 1
    request.fail(error === undefined ? new AgentInferError('ERR_INTERNAL', `sequence ${request.id} was lost`) : fromNative(error))
  }

  #deliver(now: number): void {
    const deliveries = this.#deliveries
    this.#deliveries = []
    for (const { request, emission } of deliveries) this.#emit(request, emission, now)
  }

  /** Returns true when native code must be told that it is over. A request that cannot be delivered fails; others go on. */
  #emit(request: Request, emission: Emission, now: number): boolean {
    try {
      return request.emit(emission, now)
    } catch (error) {
      request.fail(fromNative(error))
      this.remove(request.id, 'failed')
      return false
    }
  }

  /** A step could not be made, or what came of it used. */
  #broke(error: unknown): void {
    publish('agentinfer:step:error', () => ({ engine: this.name, error }))
    this.#failAll(error)
  }

  #failAll(error: unknown): void {
    const requests = Array.from(this.#requests.values())
    this.#requests.clear()
    this.#counters.failed += requests.length
    for (const request of requests) {
      if (!this.#closed) this.#native.remove(request.id)
      request.fail(error)
    }
    this.#idle()
  }

  #schedule(): void {
    this.#changed = true
    if (this.#closed) return
    this.#departures.interrupt()
    if (this.#scheduled || this.#departures.underWay) return
    this.#scheduled = true
    // Requests added in the same turn of the event loop share the first step.
    setImmediate(() => {
      this.#scheduled = false
      this.#step()
    })
  }

  #step(): void {
    if (this.#departures.underWay || this.#closed || this.#unhealthy !== undefined) return
    clearTimeout(this.#retry)
    this.#changed = false
    if (this.#stuck >= stuckSteps) this.#makeRoom()
    const views: LiveView[] = []
    for (const { view } of this.#requests.values()) views.push(view)
    if (this.#mustLook(views)) return this.#send(lookingOnly, views)
    const plan = this.#planned(views)
    if (plan === undefined) return
    this.#plan = plan
    for (const id of plan.preempt) this.#preempt(this.#requests.get(id)!)
    const sent = this.#departures.pack(plan)
    // A scheduler that keeps everybody waiting and retains something each time would be asked again at once, for ever.
    if (sent !== undefined && (sent.rows.length > 0 || !this.#looked || views.length === 0)) return this.#send(sent, views)
    if (views.length === 0 && this.#stale) return this.#send(lookingOnly, views)
    if (views.length === 0) return
    this.#retry = setTimeout(() => this.#step(), this.#retryAfter)
    this.#retryAfter = Math.min(2 * this.#retryAfter, patience.last)
  }

  /** Nothing runs and somebody's hits are unknown: the step that looks them up costs nobody anything. */
  #mustLook(views: readonly LiveView[]): boolean {
    if (this.#scheduler.wants?.probes !== true || this.#looked) return false
    let unknown = false
    for (const view of views) {
      if (view.started) return false
      unknown ||= view.probe === undefined
    }
    return unknown
  }

  /** Undefined when the scheduler failed. */
  #planned(views: readonly LiveView[]): Plan | undefined {
    const { prefilled } = this.#counters
    const snapshot: Snapshot = {
      now: this.now(),
      step: this.#plans++,
      requests: views,
      sessions: this.#sessions.views,
      pool: this.#pool,
      demand: this.#demand,
      limits: this.#options.limits,
      prefilled,
      deferred: this.#deferred,
    }
    const { name } = this.#scheduler
    try {
      const plan = this.#scheduler.plan(snapshot)
      checkPlan(plan, name, snapshot.limits, {
        request: (id) => this.#requests.get(id)?.view,
        session: (id) => this.#sessions.has(id),
      })
      return plan
    } catch (cause) {
      const failed = `scheduler '${name}' threw: ${cause instanceof Error ? cause.message : String(cause)}`
      this.#broke(cause instanceof AgentInferError && cause.code === 'ERR_SCHEDULER' ? cause : new AgentInferError('ERR_SCHEDULER', failed, { cause }))
      return undefined
    }
  }

  #send(plan: Departing, views: readonly LiveView[]): void {
    this.#stale = false
    this.#looked = plan.rows.length === 0
    if (!this.#looked) this.#retryAfter = patience.first
    tellSent({ rows: plan.rows, preempted: this.#departures.preempting, repeated: false }, () => views, this.#about())
    this.#departures.send(plan, views)
  }

  /** Native code goes on by itself. */
  #tellRepeated(): void {
    const views = (): LiveView[] => Array.from(this.#requests.values(), ({ view }) => view)
    tellSent({ rows: this.#departures.rows, preempted: 0, repeated: true }, views, this.#about())
  }

  #about(): AboutStep {
    return { engine: this.name, step: this.#counters.steps, scheduler: this.#scheduler.name }
  }

  #preempt(request: Request): void {
    request.preempted()
    this.#counters.preemptions += 1
    this.#departures.preempt(request.id)
  }

  /** The scheduler lets nobody give way, and nobody can go on. */
  #makeRoom(): void {
    this.#stuck = 0
    const victim = preemptionVictim(Array.from(this.#requests.values(), (request) => request.view), Infinity)
    if (victim !== undefined) this.#preempt(this.#requests.get(victim.id)!)
  }

  #idle(): void {
    if (this.#requests.size === 0 && !this.#closed) this.#native.unref()
  }
}
