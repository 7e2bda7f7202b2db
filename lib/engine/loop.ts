/** The step loop: drain results, deliver tokens, plan, step. One step is in flight at a time. */
import { AgentInferError, fromNative } from '../errors.js'
import type { NativeEngine, SequenceSpec, StepResult } from '../native.js'
import { contract, OutcomeKind } from '../native.js'
import { planFirstCome, preemptionVictim } from '../policy/first_come.js'
import type { PlanLimits } from '../policy/first_come.js'
import { readLogprobs } from './request.js'
import type { Request } from './request.js'

const stride = contract.outcome.length
const field = Object.fromEntries(contract.outcome.map((name, index) => [name, index])) as Record<
  (typeof contract.outcome)[number],
  number
>

export interface LoopStats {
  running: number
  waiting: number
  steps: number
  /** KV blocks. */
  pool: { total: number; free: number; cached: number; used: number }
  preemptions: number
  /** Of the last step, milliseconds by phase. */
  phases: Record<(typeof contract.phases)[number], number>
  /** Milliseconds between a step's result and the next step's plan, summed over steps. */
  planning: number
}

export class StepLoop {
  readonly #native: NativeEngine
  readonly #limits: PlanLimits
  readonly #maxQueue: number
  /** All live requests, in order of arrival. */
  readonly #requests = new Map<number, Request>()
  #inFlight = false
  #scheduled = false
  /** No request is started until something gives room. */
  #full = false
  #unhealthy: string | undefined
  #lastProgress = 0
  #steps = 0
  #preemptions = 0
  #planning = 0
  #pool: Int32Array = new Int32Array(contract.pool.length)
  #phases: Float64Array = new Float64Array(contract.phases.length)

  constructor(native: NativeEngine, limits: PlanLimits & { maxQueue: number }) {
    this.#native = native
    this.#limits = limits
    this.#maxQueue = limits.maxQueue
  }

  /** @throws {AgentInferError} `ERR_BUSY`, `ERR_DEVICE` when the device has failed. */
  add(request: Request): void {
    if (this.#unhealthy !== undefined) throw new AgentInferError('ERR_DEVICE', `the engine failed: ${this.#unhealthy}`)
    if (this.#requests.size >= this.#maxQueue + this.#limits.maxSequences)
      throw new AgentInferError('ERR_BUSY', `the queue is full: ${this.#requests.size} requests, maxQueue ${this.#maxQueue}`)
    const { init } = request
    const { id, tokens, maxTokens, sampling, salt, session } = init
    const spec: SequenceSpec = { id, tokens, maxTokens, sampling, salt, ...(session !== undefined && { session }) }
    if (this.#requests.size === 0) {
      this.#native.ref()
      this.#lastProgress = performance.now()
    }
    this.#requests.set(request.id, request)
    this.#native.add(spec)
    this.#schedule()
  }

  /** Seconds on the clock of plans and retention. */
  now(): number {
    return performance.now() / 1000
  }

  /** Takes a request out; its stream must have been ended by the caller. */
  remove(id: number): void {
    if (!this.#requests.delete(id)) return
    this.#native.remove(id)
    this.#full = false
    this.#idle()
  }

  /** Blocks of higher classes are evicted after all of lower ones; `expiresAt` in seconds on the clock of the plans. */
  retain(session: number, retentionClass: number, expiresAt: number): void {
    this.#toRetain.push(session, retentionClass, expiresAt)
    this.#schedule()
  }

  /** The session will not come back. */
  forget(session: number): void {
    this.#native.forget(session)
  }

  rejected(id: number, error: unknown): void {
    this.#requests.get(id)?.fail(fromNative(error))
    this.#requests.delete(id)
    this.#idle()
  }

  failAll(error: unknown): void {
    for (const request of this.#requests.values()) request.fail(error)
    this.#requests.clear()
  }

  /** Forward progress, not liveness: how long ago the last step ended while work was there. */
  health(): { healthy: boolean; reason: string | undefined; stalledMs: number } {
    const stalledMs = this.#requests.size === 0 ? 0 : performance.now() - this.#lastProgress
    return { healthy: this.#unhealthy === undefined, reason: this.#unhealthy, stalledMs }
  }

  stats(): LoopStats {
    const [total = 0, free = 0, cached = 0, used = 0] = this.#pool
    const running = this.#started().length
    return {
      running,
      waiting: this.#requests.size - running,
      steps: this.#steps,
      pool: { total, free, cached, used },
      preemptions: this.#preemptions,
      phases: Object.fromEntries(contract.phases.map((name, i) => [name, this.#phases[i] ?? 0])) as LoopStats['phases'],
      planning: this.#planning,
    }
  }

  result(result: StepResult): void {
    const now = performance.now()
    this.#inFlight = false
    this.#steps += 1
    this.#lastProgress = now
    this.#pool = result.pool
    this.#phases = result.phases
    this.#deliver(result, now)
    if (result.unhealthy !== undefined) {
      this.#unhealthy = result.unhealthy
      this.failAll(new AgentInferError('ERR_DEVICE', `the engine failed: ${result.unhealthy}`))
    }
    this.#idle()
    this.#step()
    this.#planning += performance.now() - now
  }

  #deliver(result: StepResult, now: number): void {
    let at = 0
    let deferredRunning = false
    for (let i = 0; i < result.outcomes.length; i += stride) {
      const outcome = result.outcomes.subarray(i, i + stride)
      const emitted = outcome[field.emitted]!
      const request = this.#requests.get(outcome[field.sequence]!)
      if (request !== undefined) deferredRunning = this.#apply(request, outcome, result, at, now) || deferredRunning
      at += emitted
    }
    if (deferredRunning) this.#preempt()
  }

  /** Returns true when a running request found no room. */
  #apply(request: Request, outcome: Int32Array, result: StepResult, at: number, now: number): boolean {
    switch (outcome[field.kind]) {
      case OutcomeKind.committed:
        return this.#committed(request, outcome, result, at, now)
      case OutcomeKind.deferred:
        if (request.started) return true
        this.#full = true
        return false
      case OutcomeKind.failed:
        request.fail(fromNative(result.errors?.[outcome[field.error]!]))
        break
      default:
        request.fail(new AgentInferError('ERR_INTERNAL', `sequence ${request.id} was lost`))
    }
    this.#drop(request)
    return false
  }

  #committed(request: Request, outcome: Int32Array, result: StepResult, at: number, now: number): false {
    if (!request.started) {
      request.start(now - result.phases[contract.phases.indexOf('total')]!)
      request.cachedTokens = outcome[field.cachedTokens]!
    }
    request.computed = outcome[field.computed]!
    const emitted = outcome[field.emitted]!
    if (emitted === 0) return false
    const { sampling } = request.init
    const stopped = request.emit(
      {
        tokens: result.tokens.subarray(at, at + emitted),
        finish: outcome[field.finish]!,
        logprobs: sampling.logprobs === true ? readLogprobs(result, at, emitted, sampling.topLogprobs ?? 0) : undefined,
      },
      now,
    )
    if (stopped) this.#native.remove(request.id)
    if (request.ended) this.#drop(request)
    return false
  }

  #drop(request: Request): void {
    this.#requests.delete(request.id)
    this.#full = false
  }

  #started(): Request[] {
    return Array.from(this.#requests.values()).filter((request) => request.started)
  }

  #preempt(): void {
    const victim = preemptionVictim(this.#started())
    if (victim === undefined) return
    const request = this.#requests.get(victim.id)!
    request.started = false
    request.computed = 0
    this.#preemptions += 1
    this.#full = true
    this.#toPreempt.push(request.id)
  }
  readonly #toPreempt: number[] = []
  readonly #toRetain: number[] = []

  #schedule(): void {
    if (this.#scheduled || this.#inFlight) return
    this.#scheduled = true
    // Requests added in the same turn of the event loop share the first step.
    setImmediate(() => {
      this.#scheduled = false
      this.#step()
    })
  }

  #step(): void {
    if (this.#inFlight || (this.#requests.size === 0 && this.#toRetain.length === 0)) return
    const candidates = Array.from(this.#requests.values())
    const rows = planFirstCome(this.#full ? candidates.filter((request) => request.started) : candidates, this.#limits)
    if (rows.length === 0 && this.#toRetain.length === 0) {
      // Everything that ran has ended or was preempted: there is room again.
      this.#full = false
      if (candidates.length > 0) this.#schedule()
      return
    }
    this.#inFlight = true
    this.#native.step({
      now: this.now(),
      rows: Int32Array.from(rows.flatMap((row) => [row.id, row.tokens, 0])),
      preempt: Int32Array.from(this.#toPreempt.splice(0)),
      retain: Float64Array.from(this.#toRetain.splice(0)),
    })
  }

  #idle(): void {
    if (this.#requests.size === 0) this.#native.unref()
  }
}
