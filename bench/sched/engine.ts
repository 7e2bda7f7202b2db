/** One simulated engine: what native/engine does with a plan, without computing anything. */
import type { DemandView, Plan, ProbeView, RequestView, Scheduler, SessionView, Snapshot } from 'agentinfer'
import type { Context } from './context.js'
import type { CostModel, SequenceStep } from './costs.js'
import type { Match } from './pool.js'
import { SimPool } from './pool.js'

export interface EngineSpec {
  readonly blocks: number
  readonly blockSize: number
  readonly hostBlocks: number
  readonly maxBatchTokens: number
  readonly maxSequences: number
  readonly costs: CostModel
}

/** A request's life, for the report. Seconds; tokens. */
export interface RequestRecord {
  readonly kind: string
  readonly tenant: string
  readonly arrivedAt: number
  readonly promptTokens: number
  /** Of the prompt: what no earlier turn of the agent computed. */
  readonly newTokens: number
  readonly outputTokens: number
  startedAt: number
  firstTokenAt: number
  endedAt: number
  cachedTokens: number
}

/** It is its own view: schedulers get the object that the engine changes. */
export interface SimRequest extends RequestView {
  readonly context: Context
  readonly record: RequestRecord
  probe: ProbeView | undefined
  known: number
  computed: number
  remaining: number
  started: boolean
  /** Blocks of the context that are indexed and pinned, and blocks of its own. */
  pinned: number
  own: number
  /** What the pool held of it when its version was this. */
  match: Match | undefined
  matchVersion: number
}

/** Seconds of a step that computes nothing. */
export const planSeconds = 1e-3
const noDemand: DemandView = { pinned: 0, evictable: 0, host: 0, fresh: 0 }

export class SimEngine {
  readonly spec: EngineSpec
  readonly pool: SimPool
  readonly scheduler: Scheduler
  /** In order of arrival. */
  readonly requests = new Map<number, SimRequest>()
  readonly #sessions = new Map<number, SessionView>()
  #sessionList: readonly SessionView[] | undefined
  /** Contexts of open sessions, for prefetching; and how far each was ever computed. */
  readonly contexts = new Map<number, Context>()
  readonly #reached = new Map<Context, number>()
  prefilled = 0
  recomputed = 0
  steps = 0
  preemptions = 0
  planningSeconds = 0
  plans = 0
  slowestPlans: number[] = []
  busySeconds = 0
  /** Integrals over busy time: running sequences, and blocks they hold. */
  runningSeconds = 0
  usedBlockSeconds = 0
  /** Blocks that all open sessions would fill, over looks at them. */
  openBlocks = 0
  looks = 0
  #deferred: number[] = []
  #demand: DemandView = noDemand
  #demandAt = -1
  #demandOf = ''
  /** Seconds of the last step that prefetching may still hide. */
  #hidden = 0

  constructor(spec: EngineSpec, scheduler: Scheduler) {
    this.spec = spec
    this.scheduler = scheduler
    this.pool = new SimPool(spec.blocks, spec.blockSize, spec.hostBlocks)
  }

  /** A session opens, or does something else. */
  session(view: SessionView): void {
    this.#sessions.set(view.id, view)
    this.#sessionList = undefined
  }

  add(request: SimRequest): void {
    this.requests.set(request.id, request)
  }

  /**
   * Plans and runs a step. Steps that only decode, in blocks they have, are run together up to `horizon`, as the pool stays as it is: up to
   * 8 while something waits, as the passage of time alone may let it in.
   * Returns the seconds taken and the requests that ended; undefined: nothing could run.
   */
  step(now: number, horizon: number): { seconds: number; ended: SimRequest[] } | undefined {
    const snapshot = this.#snapshot(now)
    const begin = performance.now()
    const plan = this.scheduler.plan(snapshot)
    const took = performance.now() - begin
    this.planningSeconds += took / 1000
    this.plans += 1
    this.steps += 1
    if (this.steps % 32 === 1) this.#look()
    const copiedBefore = this.pool.copied
    this.#apply(plan)
    const copiedByPlan = this.#prefetch(plan)
    const sequences: SequenceStep[] = []
    const joined: { request: SimRequest; from: number }[] = []
    this.#deferred = []
    for (const { id, tokens } of plan.rows) {
      const request = this.requests.get(id)
      if (request === undefined) throw new Error(`${this.scheduler.name} planned ${id}, which is gone`)
      const wasRunning = request.started
      const from = this.#join(request, tokens, now)
      if (from === undefined) {
        if (wasRunning) this.#deferred.push(id)
        continue
      }
      joined.push({ request, from })
      const query = request.computed - from
      if (from < request.known - 1) this.prefilled += query
      sequences.push({ query, context: request.computed, logits: request.computed === request.known ? 1 : 0 })
    }
    // Nothing joined: the plan alone takes its time.
    if (joined.length === 0) return plan.preempt.length > 0 ? { seconds: planSeconds, ended: [] } : undefined
    const one = this.spec.costs.step(sequences) + (this.pool.copied - copiedBefore - copiedByPlan) * this.spec.costs.copy
    const times = this.#together(joined, now, one, horizon)
    const seconds = one * times
    this.#hidden = seconds
    this.busySeconds += seconds
    this.runningSeconds += seconds * joined.length
    this.usedBlockSeconds += seconds * this.pool.used
    return { seconds, ended: this.#commit(joined, now + seconds, times) }
  }

  check(): void {
    let own = 0
    for (const request of this.requests.values()) own += request.own
    this.pool.check(own)
  }

  #look(): void {
    this.looks += 1
    for (const context of this.contexts.values()) this.openBlocks += Math.ceil(context.length / this.spec.blockSize)
  }

  // ---- the snapshot

  #snapshot(now: number): Snapshot {
    const { wants } = this.scheduler
    const listed: { content: Context; tokens: number; match: Match }[] = []
    const requests: RequestView[] = []
    const probes = wants?.probes === true || wants?.demand === true
    for (const request of this.requests.values()) {
      requests.push(request)
      if (request.started || !probes) request.probe = undefined
      else listed.push({ content: request.context, tokens: request.known - 1, match: this.#match(request) })
    }
    const { pool, spec } = this
    return {
      now, step: this.steps, requests, sessions: (this.#sessionList ??= Array.from(this.#sessions.values())),
      pool: { total: pool.total, free: pool.free, cached: pool.cached, used: pool.used, hostTotal: pool.hostTotal, hostFree: pool.hostFree },
      demand: wants?.demand === true ? this.#union(listed) : noDemand,
      limits: { maxBatchTokens: spec.maxBatchTokens, maxSequences: spec.maxSequences, blockSize: spec.blockSize },
      prefilled: this.prefilled, deferred: this.#deferred,
    }
  }

  /** Of a request that waits; also makes its probe. */
  #match(request: SimRequest): Match {
    if (request.match === undefined || request.matchVersion !== this.pool.version) {
      request.match = this.pool.match(request.context, request.known - 1, request.match)
      request.matchVersion = this.pool.version
      request.probe = undefined
    }
    request.probe ??= this.#probe(request, request.match)
    return request.match
  }

  #probe(request: SimRequest, match: Match): ProbeView {
    const { blockSize } = this.spec
    const blocks = Math.ceil(request.known / blockSize)
    return {
      hitTokens: match.device * blockSize + match.partial, pinned: match.pinned, evictable: match.device - match.pinned, host: match.host,
      need: blocks - match.device, group: this.pool.group(request.context, match),
    }
  }

  /** The union changes slowly and costs much here: every eighth step, or when other requests wait. */
  #union(listed: readonly { content: Context; tokens: number; match: Match }[]): DemandView {
    if (listed.length === 0) return noDemand
    const of = `${listed.length}/${listed.at(-1)!.tokens}`
    if (of !== this.#demandOf || this.steps >= this.#demandAt + 8) {
      this.#demand = this.pool.demand(listed)
      this.#demandAt = this.steps
      this.#demandOf = of
    }
    return this.#demand
  }

  // ---- the step

  #apply(plan: Plan): void {
    for (const id of plan.preempt) {
      const request = this.requests.get(id)
      if (request === undefined || !request.started) continue
      this.#release(request)
      this.preemptions += 1
    }
    for (const { session, retentionClass, expiresAt } of plan.retain) this.pool.retain(session, retentionClass, expiresAt)
  }

  /** Copies ahead hide behind the step before. */
  #prefetch(plan: Plan): number {
    let copied = 0
    let room = Math.floor(this.#hidden / this.spec.costs.copy)
    for (const session of plan.prefetch ?? []) {
      const context = this.contexts.get(session)
      if (context === undefined || room <= 0) continue
      const count = this.pool.prefetch(session, context.blocks, room)
      room -= count
      copied += count
    }
    return copied
  }

  /** Takes blocks for the next tokens; returns where they begin, or undefined if there is no room. */
  #join(request: SimRequest, tokens: number, now: number): number | undefined {
    const { blockSize } = this.spec
    const { pool } = this
    if (!request.started) {
      const match = pool.match(request.context, request.known - 1)
      pool.pin(request.context.blocks, match.device)
      let taken = match.device
      let own = 0
      let computed = match.device * blockSize
      const extra = match.host + (match.partial > 0 ? 1 : 0)
      // The whole of its hit, or else what is on the device.
      pool.holdHost(request.context.blocks, match.device, match.device + match.host)
      if (extra > 0 && pool.take(extra, now)) {
        pool.fromHost(request.context.blocks, match.device, match.device + match.host)
        taken += match.host
        computed = taken * blockSize + match.partial
        if (match.partial > 0) {
          own = 1
          const { blocks, tail } = request.context
          pool.touchPartial(taken < blocks.length ? blocks[taken]! : tail)
        }
      } else pool.letHost(request.context.blocks, match.device, match.device + match.host)
      const end = Math.min(request.known, computed + Math.max(1, tokens))
      const missing = Math.ceil(end / blockSize) - taken - own
      if (missing > 0 && !pool.take(missing, now)) {
        pool.unpin(request.context.blocks, taken)
        pool.give(own)
        return undefined
      }
      request.started = true
      request.pinned = taken
      request.own = own + Math.max(0, missing)
      if (Number.isNaN(request.record.startedAt)) {
        request.record.startedAt = now
        request.record.cachedTokens = computed
      }
      request.computed = end
      this.#recount(request, computed, end)
      return computed
    }
    const end = Math.min(request.known, request.computed + Math.max(1, tokens))
    const missing = Math.ceil(end / blockSize) - request.pinned - request.own
    if (missing > 0 && !pool.take(missing, now)) return undefined
    request.own += Math.max(0, missing)
    const from = request.computed
    request.computed = end
    this.#recount(request, from, end)
    return from
  }

  #recount(request: SimRequest, from: number, to: number): void {
    const reached = this.#reached.get(request.context) ?? 0
    this.recomputed += Math.max(0, Math.min(to, reached) - from)
    if (to > reached) this.#reached.set(request.context, to)
  }

  /** How many equal steps to run at once. */
  #together(joined: readonly { request: SimRequest }[], now: number, one: number, horizon: number): number {
    const { blockSize, costs } = this.spec
    if (costs.varies === true) return 1
    let running = 0
    for (const request of this.requests.values()) if (request.started) running += 1
    if (joined.length !== running) return 1
    let times = Math.floor((horizon - now) / one)
    for (const { request } of joined) {
      if (request.computed !== request.known || request.known === request.record.promptTokens) return 1
      // Up to the end of its block, so that each step needs no new one.
      times = Math.min(times, request.remaining, (request.pinned + request.own) * blockSize - request.computed + 1)
    }
    return Math.max(1, Math.min(times, running === this.requests.size ? 64 : 8))
  }

  #commit(joined: readonly { request: SimRequest }[], now: number, times: number): SimRequest[] {
    const ended: SimRequest[] = []
    for (const { request } of joined) {
      // `times` - 1 more decodes of one token each.
      if (times > 1) {
        request.context.grow(times - 1)
        request.known += times - 1
        request.computed += times - 1
        request.remaining -= times - 1
      }
      this.#publish(request)
      if (request.computed < request.known) continue
      if (Number.isNaN(request.record.firstTokenAt)) request.record.firstTokenAt = now
      request.context.grow(1)
      request.known += 1
      request.remaining -= 1
      if (request.remaining > 0) continue
      request.record.endedAt = now
      this.#release(request)
      this.requests.delete(request.id)
      ended.push(request)
    }
    return ended
  }

  #publish(request: SimRequest): void {
    while ((request.pinned + 1) * this.spec.blockSize <= request.computed) {
      this.pool.publish(request.context.blocks, request.pinned, request.session)
      request.pinned += 1
      request.own -= 1
    }
  }

  /** What is computed stays cached. */
  #release(request: SimRequest): void {
    const { blockSize } = this.spec
    const { context } = request
    const valid = request.computed - request.pinned * blockSize
    if (request.own > 0 && valid > 0) {
      const content = request.pinned < context.blocks.length ? context.blocks[request.pinned]! : context.tail
      this.pool.publishTail(context.blocks, request.pinned, content, valid, request.session)
      request.own -= 1
    }
    this.pool.give(request.own)
    request.own = 0
    this.pool.unpin(context.blocks, request.pinned)
    request.pinned = 0
    request.computed = 0
    request.started = false
    request.matchVersion = -1
  }

  close(session: number): void {
    this.#sessions.delete(session)
    this.#sessionList = undefined
    this.pool.forget(session)
    const context = this.contexts.get(session)
    if (context !== undefined) this.#reached.delete(context)
    this.contexts.delete(session)
  }
}
