/**
 * Schedulers to compare with, and to use where agents are few. They differ in one thing, which waiting request goes next:
 *
 * | name | next is the one with | source |
 * |---|---|---|
 * | `fcfs` | the earliest arrival | |
 * | `sjf` | the fewest tokens, cached or not; long ones may wait for ever | |
 * | `lpm` | the longest prefix in the cache | SGLang, arXiv 2312.07104, section 3 |
 * | `shortest-uncached` | the fewest tokens left to compute | |
 * | `hrrn` | the highest response ratio, (age + work) / work, both in tokens | Brinch Hansen 1971 |
 *
 * In common: priority goes before everything. Running decodes come first, one token each, so no prompt can stall them; what is left of
 * the step's budget goes to prompts already begun, then to new ones, in chunks. A new one starts when the pool has room for all it
 * knows and a block for each sequence that runs; while it has not, nobody passes it. When a running sequence finds no room, the last of
 * the least important gives its blocks back. All but `sjf` let a request go first once `maxAge` prompt tokens were computed
 * for others since it came, so everybody's turn comes.
 *
 * Pure: a snapshot in, a plan out; no state.
 */
import { completed } from './completed.js'
import { stepsAhead } from './ahead.js'
import type { Plan, PlannedRow, RequestView, Scheduler, Snapshot } from './types.js'

/** Options of the schedulers that let nobody wait for ever. */
export interface BaselineOptions {
  /** Prompt tokens computed since its arrival after which a request goes before all younger ones of its priority. Default: 65536. */
  readonly maxAge?: number
}

/** Smaller goes first; equals go by arrival. */
type Rank = (request: RequestView, snapshot: Snapshot) => number

const uncached = (request: RequestView): number => Math.max(1, request.known - (request.probe?.hitTokens ?? 0))
const age = (request: RequestView, snapshot: Snapshot): number => snapshot.prefilled - request.prefilledAtArrival

/** In order of arrival. */
export function firstCome(): Scheduler {
  return baseline('fcfs', undefined, Infinity)
}

/** The shortest prompt first (`sjf`); long ones may wait for ever. */
export function shortestPrompt(): Scheduler {
  return baseline('sjf', (request) => request.known, Infinity)
}

/** The longest prefix in the cache first (`lpm`). */
export function longestPrefix(options: BaselineOptions = {}): Scheduler {
  return baseline('lpm', (request) => -(request.probe?.hitTokens ?? 0), maxAgeOf(options))
}

/** The fewest tokens left to compute first. */
export function shortestUncached(options: BaselineOptions = {}): Scheduler {
  return baseline('shortest-uncached', uncached, maxAgeOf(options))
}

/** The highest response ratio first (`hrrn`): short ones go ahead, and waiting counts. */
export function responseRatio(options: BaselineOptions = {}): Scheduler {
  return baseline('hrrn', (request, snapshot) => -age(request, snapshot) / uncached(request), maxAgeOf(options))
}

function maxAgeOf(options: BaselineOptions): number {
  return completed<Required<BaselineOptions>>(options, { maxAge: 65_536 }, 'scheduler').maxAge
}

function baseline(name: string, rank: Rank | undefined, maxAge: number): Scheduler {
  return { name, wants: { probes: true }, plan: (snapshot) => planStep(snapshot, rank, maxAge) }
}

function planStep(snapshot: Snapshot, rank: Rank | undefined, maxAge: number): Plan {
  const rows = new Rows(snapshot)
  const reasons = new Map<number, string>()
  const preempt: number[] = []
  const decoding: RequestView[] = []
  const begun: RequestView[] = []
  const waiting: RequestView[] = []
  const victim = snapshot.deferred.length > 0 ? preemptionVictim(snapshot.requests, Infinity) : undefined
  if (victim !== undefined) preempt.push(victim.id)
  for (const request of snapshot.requests) {
    if (request === victim) continue
    if (!request.started) waiting.push(request)
    else if (request.known - request.computed === 1) decoding.push(request)
    else begun.push(request)
  }
  // More decodes than a step has rows for take turns.
  const first = decoding.length > rows.budget ? (snapshot.step * rows.budget) % decoding.length : 0
  for (let i = 0; i < decoding.length; ++i) rows.add(decoding[(first + i) % decoding.length]!)
  for (const request of begun.toSorted((a, b) => b.priority - a.priority)) rows.add(request)
  // Whoever gave its blocks back did so for those that run.
  if (victim !== undefined) return explained(waiting, 'no-room', { rows: rows.list, preempt, retain: [], reasons })

  const started = [...decoding, ...begun]
  if (rows.full(started.length)) {
    const outranked = waiting.length === 0 ? undefined : outrankedBy(highestPriority(waiting), snapshot)
    if (outranked !== undefined && started.length >= snapshot.limits.maxSequences) {
      preempt.push(outranked.id)
      rows.remove(outranked.id)
    }
    const ahead = stepsAhead(started, { rows: rows.list, preempt })
    return explained(waiting, 'no-slot', { rows: rows.list, preempt, retain: [], reasons, ahead })
  }
  admit({ snapshot, rows, reasons, preempt, waiting: inOrder(waiting, snapshot, rank, maxAge), started })
  return { rows: rows.list, preempt, retain: [], reasons, ahead: stepsAhead(started, { rows: rows.list, preempt }) }
}

interface Admission {
  snapshot: Snapshot
  rows: Rows
  reasons: Map<number, string>
  preempt: number[]
  waiting: readonly RequestView[]
  started: readonly RequestView[]
}

/** Starts waiting requests in order, until one finds no rows or no room. */
function admit({ snapshot, rows, reasons, preempt, waiting, started }: Admission): void {
  const { pool, limits } = snapshot
  const blocks = (tokens: number): number => Math.ceil(tokens / limits.blockSize)
  let running = started.length
  // What those that run will still take: the rest of their prompts, and a block each to grow into.
  let room = pool.free + pool.cached - running
  for (const request of started) room -= blocks(request.known) - blocks(request.computed)
  for (const [i, request] of waiting.entries()) {
    let reason: string | undefined
    if (rows.full(running)) reason = 'no-slot'
    // Cached blocks that nobody holds count as room until a request takes them.
    const need = request.probe === undefined ? blocks(request.known) : request.probe.need + request.probe.evictable
    if (reason === undefined && running > 0 && need + 1 > room) {
      reason = 'no-room'
      const outranked = outrankedBy(request.priority, snapshot)
      if (outranked !== undefined) {
        preempt.push(outranked.id)
        rows.remove(outranked.id)
      }
    }
    if (reason !== undefined) {
      reasons.set(request.id, reason)
      for (let j = i + 1; j < waiting.length; ++j) reasons.set(waiting[j]!.id, 'behind')
      return
    }
    room -= need + 1
    running += 1
    rows.add(request)
  }
}

function explained(waiting: readonly RequestView[], reason: string, plan: Plan & { reasons: Map<number, string> }): Plan {
  for (const request of waiting) plan.reasons.set(request.id, reason)
  return plan
}

/** The rows of one step, within its limits. */
class Rows {
  list: PlannedRow[] = []
  budget: number
  readonly #maxSequences: number

  constructor({ limits }: Snapshot) {
    this.budget = limits.maxBatchTokens
    this.#maxSequences = limits.maxSequences
  }

  /** Whether no further sequence can start. */
  full(running: number): boolean {
    return this.budget === 0 || running >= this.#maxSequences || this.list.length >= this.#maxSequences
  }

  /** As many tokens of it as there is budget for. */
  add({ id, known, computed }: RequestView): void {
    if (this.budget === 0 || this.list.length === this.#maxSequences) return
    const tokens = Math.min(this.budget, known - computed)
    this.list.push({ id, tokens })
    this.budget -= tokens
  }

  remove(id: number): void {
    this.list = this.list.filter((row) => row.id !== id)
  }
}

function inOrder(waiting: RequestView[], snapshot: Snapshot, rank: Rank | undefined, maxAge: number): readonly RequestView[] {
  const keys = new Map<number, number>()
  for (const request of waiting) {
    const old = age(request, snapshot) >= maxAge
    keys.set(request.id, rank === undefined ? 0 : old ? -Infinity : rank(request, snapshot))
  }
  // Array.sort is stable: equals stay in order of arrival.
  return waiting.toSorted((a, b) => b.priority - a.priority || compare(keys.get(a.id)!, keys.get(b.id)!))
}

function compare(a: number, b: number): number {
  return a < b ? -1 : a > b ? 1 : 0
}

function highestPriority(requests: readonly RequestView[]): number {
  return requests.reduce((highest, request) => Math.max(highest, request.priority), -Infinity)
}

function outrankedBy(priority: number, { requests }: Snapshot): RequestView | undefined {
  return preemptionVictim(requests, priority, false)
}

/**
 * Who gives its blocks back: of those that run with a priority below `below`, the least important, of these the last to come; with
 * `keepOne` never the only one that runs. Undefined: nobody can.
 */
export function preemptionVictim(requests: readonly RequestView[], below: number, keepOne = true): RequestView | undefined {
  let victim: RequestView | undefined
  let running = 0
  for (const request of requests) {
    if (!request.started) continue
    running += 1
    if (request.priority < below && (victim === undefined || request.priority <= victim.priority)) victim = request
  }
  return running > 1 || !keepOne ? victim : undefined
}
