/**
 * What goes down to native code: plans made flat, with what waited to go along, and which of them is under way. One plan is under way at
 * a time. Native code may carry it out several times by itself (`StepPlan.ahead`), until something happens there, or here: whatever may
 * change the plan interrupts it.
 */
import { stepsAreHeard } from '../diagnostics.js'
import { fromNative } from '../errors.js'
import type { NativeEngine, StepPlan, StepResult } from '../native.js'
import { contract } from '../native.js'
import type { Plan, RequestView, Scheduler } from '../policy/types.js'
import type { Request } from './request.js'
import { nativeTime } from './result_views.js'

/** Of most plans. */
const none = { rows: new Int32Array(0), preempt: new Int32Array(0), retain: new Float64Array(0) }

const retainWidth = contract.planRetain.length

/**
 * Milliseconds for which results wait where nobody reads token by token. Each waking of the event loop takes a core from the step, a
 * hundredth of a small model's time; figures and `health` may be as old as this.
 */
const patience = 100

/** A plan made flat, without what is known only when it leaves. */
export type Departing = Pick<StepPlan, 'rows' | 'prefetch' | 'drafts' | 'draftTokens' | 'ahead' | 'hold'>

/** A step that only looks things up, or frees blocks. */
export const lookingOnly: Departing = { rows: none.rows }

/** Whose plans they are. */
export interface Home {
  /** All live requests. */
  readonly requests: ReadonlyMap<number, Request>
  readonly scheduler: Scheduler
  /** Seconds on the clock of plans and retention. */
  now(): number
  /** Its drafter threw: it must end. */
  fail(request: Request, error: unknown): void
}

export class Departures {
  readonly #native: NativeEngine
  readonly #home: Home
  /** For the next step, beside its plan. */
  readonly #toPreempt: number[] = []
  readonly #toRetain: number[] = []
  /** Sessions whose retention their owner has chosen, until when: the scheduler does not change it. */
  readonly #chosen = new Map<number, number>()
  #underWay = false
  #sentAt = 0
  /** Of the plan under way, or the last one. */
  #rows: Int32Array = none.rows
  /** The plan under way may be repeated, and nobody has asked it to stop. */
  #repeats = false

  constructor(native: NativeEngine, home: Home) {
    this.#native = native
    this.#home = home
  }

  /** A result is yet to come: no plan may be sent. */
  get underWay(): boolean {
    return this.#underWay
  }

  /** Rows of the last plan, records of `contract.planRow`. */
  get rows(): Int32Array {
    return this.#rows
  }

  /** Requests that give their blocks back with the next plan. */
  get preempting(): number {
    return this.#toPreempt.length
  }

  preempt(id: number): void {
    this.#toPreempt.push(id)
  }

  /** As the session's owner wishes; with the next plan. */
  retain(session: number, retentionClass: number, expiresAt: number): void {
    this.#chosen.set(session, expiresAt)
    this.#toRetain.push(session, retentionClass, expiresAt)
  }

  /** It has been closed: what was to be said of it and has not left is not said, or it would be remembered for ever. */
  forget(session: number): void {
    this.#chosen.delete(session)
    for (let at = this.#toRetain.length - retainWidth; at >= 0; at -= retainWidth)
      if (this.#toRetain[at] === session) this.#toRetain.splice(at, retainWidth)
  }

  /** Makes a plan flat; those it preempts are told to `preempt` already. Undefined: there is nothing to do. */
  pack({ rows, retain, prefetch = [], ahead = 0 }: Plan): Departing | undefined {
    for (const { session, retentionClass, expiresAt } of retain) {
      const chosen = this.#chosen.get(session)
      if (chosen === undefined || chosen <= this.#home.now()) this.#toRetain.push(session, retentionClass, expiresAt)
    }
    if (rows.length + this.#toPreempt.length + this.#toRetain.length + prefetch.length === 0) return undefined
    const { requests } = this.#home
    const flat = new Int32Array(rows.length * contract.planRow.length)
    let repeatable = this.#toPreempt.length + prefetch.length === 0
    let unread = !stepsAreHeard()
    for (let i = 0; i < rows.length; ++i) {
      const { id, tokens } = rows[i]!
      const { view, init, endsByText } = requests.get(id)!
      flat[3 * i] = id
      flat[3 * i + 1] = tokens
      flat[3 * i + 2] = init.drafting?.draftLimit ?? 0
      repeatable &&= view.started && view.known - view.computed === 1 && init.drafting?.drafter === undefined
      unread &&= !init.stream.isRead && !endsByText
    }
    // A step beyond the end of the only one that runs would be for nothing, and hold up whatever comes then.
    if (rows.length === 1 && requests.get(rows[0]!.id)!.endsByText) repeatable = false
    return {
      rows: flat,
      ahead: repeatable ? ahead : 0,
      hold: unread ? patience : 0,
      ...this.#supplied(rows),
      ...(prefetch.length > 0 && { prefetch: Int32Array.from(prefetch) }),
    }
  }

  /** The drafts of requests that bring their own drafter. */
  #supplied(rows: Plan['rows']): Pick<StepPlan, 'drafts' | 'draftTokens'> {
    const drafts: number[] = []
    const draftTokens: number[] = []
    for (const { id } of rows) {
      const request = this.#home.requests.get(id)!
      try {
        const tokens = request.supplied()
        if (tokens === undefined) continue
        drafts.push(id, tokens.length)
        for (let i = 0; i < tokens.length; ++i) draftTokens.push(tokens[i]!)
      } catch (error) {
        this.#home.fail(request, fromNative(error))
      }
    }
    return drafts.length === 0 ? {} : { drafts: Int32Array.from(drafts), draftTokens: Int32Array.from(draftTokens) }
  }

  /** `views`: of all live requests. */
  send(plan: Departing, views: readonly RequestView[]): void {
    const { probes = false, demand: union = false } = this.#home.scheduler.wants ?? {}
    const waiting = new Int32Array(probes || union ? views.length : 0)
    let count = 0
    if (waiting.length > 0) for (const view of views) if (!view.started) waiting[count++] = view.id
    this.#underWay = true
    this.#rows = plan.rows
    this.#repeats = (plan.ahead ?? 0) > 0
    this.#native.step({
      now: this.#home.now(),
      ...plan,
      preempt: this.#toPreempt.length === 0 ? none.preempt : Int32Array.from(this.#toPreempt.splice(0)),
      retain: this.#toRetain.length === 0 ? none.retain : Float64Array.from(this.#toRetain.splice(0)),
      ...(count > 0 && { probe: waiting.subarray(0, count), demand: union }),
    })
    this.#sentAt = performance.now()
  }

  /** A result is there. Returns the milliseconds of its step outside native code: see `EngineStats.stepTimes.crossing`. */
  arrived(result: StepResult, now: number): number {
    this.#underWay = result.more
    return result.repeat > 0 ? result.gap : now - this.#sentAt - nativeTime(result) - result.held
  }

  /** Something has happened that may change the plan: its step in flight is its last. */
  interrupt(): void {
    if (!this.#underWay || !this.#repeats) return
    this.#repeats = false
    this.#native.interrupt()
  }
}
