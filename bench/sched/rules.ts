/**
 * Rules that order the waiting queue and nothing else, on one common body: decodes first, then prefills that have begun, then the queue in
 * the rule's order. KV is evicted by the engine, least recently used first.
 */
import type { Plan, PlannedRow, RequestView, Retention, Scheduler, Snapshot } from 'agentinfer'

export interface Rule {
  readonly name: string
  readonly wants?: { readonly probes?: boolean; readonly demand?: boolean }
  /** Higher goes first; equals in order of arrival. */
  score(snapshot: Snapshot, waiting: readonly RequestView[]): (request: RequestView) => number
  /** Whether requests behind one that does not fit may start. */
  readonly skip?: boolean
}

const uncached = (request: RequestView): number => Math.max(1, request.known - (request.probe?.hitTokens ?? 0))

export const fcfs: Rule = { name: 'fcfs', wants: { probes: true }, score: () => (request) => -request.arrivedAt }
export const sjf: Rule = { name: 'sjf', wants: { probes: true }, score: () => (request) => -request.known }
export const shortestUncached: Rule = { name: 'shortest-uncached', wants: { probes: true }, score: () => (request) => -uncached(request) }
/** Longest matched prefix, as SGLang does it: in order of arrival above 128 waiting, and of those that share what is not cached, one goes. */
export const lpm: Rule = {
  name: 'lpm',
  wants: { probes: true },
  score: (_, waiting) => {
    if (waiting.length > 128) return (request) => -request.arrivedAt
    const groups = new Set<number>()
    const later = new Set<number>()
    for (const request of waiting) {
      const { probe } = request
      if (probe === undefined || probe.hitTokens > 32) continue
      if (groups.has(probe.group)) later.add(request.id)
      groups.add(probe.group)
    }
    return (request) => (later.has(request.id) ? -1 : (request.probe?.hitTokens ?? 0))
  },
}
/** Highest response ratio, aged by prefilled tokens. */
export const hrrn: Rule = {
  name: 'hrrn',
  wants: { probes: true },
  score: ({ prefilled }) => (request) => 1 + (prefilled - request.prefilledAtArrival) / uncached(request),
}
/** ShortRequestFirst of vllm-ascend: long requests that waited long, then short ones, then long ones. */
export const shortRequestFirst: Rule = {
  name: 'srf',
  wants: { probes: true },
  score: ({ now }) => (request) => {
    const short = request.promptTokens <= shortTokens
    const lane = !short && now - request.arrivedAt > longMaxWait ? 2 : short ? 1 : 0
    return lane * 1e9 - request.arrivedAt
  },
}
/** About the 75th percentile of prompts here, as its documentation advises; seconds. */
const shortTokens = 16384
const longMaxWait = 30

/**
 * AgentSched as printed (arXiv 2512.18337, algorithm 3): hits and needs added up over requests, hits on pinned blocks included. The paper
 * leaves its constants open: λmax = 1, k = 4, ε = 1, a = b = 1, c = 1 block a second.
 */
export const printed: Rule = {
  name: 'paper',
  wants: { probes: true },
  skip: true,
  score: ({ pool, limits }, waiting) => {
    let hits = 0
    let needs = 0
    for (const { probe } of waiting) {
      hits += (probe?.pinned ?? 0) + (probe?.evictable ?? 0)
      needs += probe?.need ?? 0
    }
    const usable = Math.max(0, pool.free + pool.cached - hits)
    const lambda = 1 / (1 + Math.exp(-4 * (needs / (usable + 1) - 1)))
    return (request) => {
      const { probe } = request
      const prompt = request.promptTokens / limits.blockSize
      const need = probe?.need ?? prompt
      const effective = (1 - lambda) * prompt + lambda * need
      return (probe === undefined ? 0 : probe.pinned + probe.evictable) - (1 + lambda) * effective + ages.get(request.id)!
    }
  },
}
// Filled by the body below just before a rule is asked: rules see requests, not clocks.
const ages = new Map<number, number>()

export class RuleScheduler implements Scheduler {
  readonly name: string
  readonly wants: { readonly probes?: boolean; readonly demand?: boolean }
  readonly #rule: Rule
  readonly #demote: boolean
  #sessions = 0

  /** `demote`: evicted KV of sessions goes to the host tier, the least recently used first. */
  constructor(rule: Rule, demote = false) {
    this.#rule = rule
    this.#demote = demote
    this.name = rule.name
    this.wants = rule.wants ?? {}
  }

  plan(snapshot: Snapshot): Plan {
    const { limits, pool } = snapshot
    const rows: PlannedRow[] = []
    const preempt: number[] = []
    let budget = limits.maxBatchTokens
    let running = snapshot.requests.filter((request) => request.started)
    const waiting = snapshot.requests.filter((request) => !request.started)
    if (snapshot.deferred.length > 0 && running.length > 1) {
      const victim = running.reduce((last, request) => (request.priority <= last.priority ? request : last))
      preempt.push(victim.id)
      running = running.filter((request) => request !== victim)
    }
    const row = (request: RequestView, tokens: number): void => {
      if (tokens <= 0) return
      rows.push({ id: request.id, tokens })
      budget -= tokens
    }
    for (const request of running) if (request.known - request.computed === 1) row(request, Math.min(budget, 1))
    let room = pool.free + pool.cached
    for (const request of running) {
      room -= Math.ceil((request.known + 1) / limits.blockSize) - Math.ceil(request.computed / limits.blockSize)
      if (request.known - request.computed > 1) row(request, Math.min(budget, request.known - request.computed))
    }
    // After a preemption nobody starts in its place at once.
    if (preempt.length === 0) this.#start(snapshot, waiting, running.length, room, () => budget, row)
    return { rows, preempt, retain: this.#demote ? this.#demotions(snapshot) : [], reasons: new Map() }
  }

  /** For each new session once. Sessions come in order of their ids. */
  #demotions({ sessions }: Snapshot): Retention[] {
    const fresh = sessions.filter(({ id }) => id >= this.#sessions)
    for (const { id } of fresh) this.#sessions = id + 1
    return fresh.map(({ id }) => ({ session: id, retentionClass: 1, expiresAt: Infinity }))
  }

  #start(
    snapshot: Snapshot, waiting: readonly RequestView[], running: number, room: number, budget: () => number,
    row: (request: RequestView, tokens: number) => void,
  ): void {
    if (waiting.length === 0 || budget() <= 0) return
    ages.clear()
    for (const request of waiting) ages.set(request.id, snapshot.now - request.arrivedAt)
    const score = this.#rule.score(snapshot, waiting)
    const scored = waiting.map((request) => ({ request, score: score(request) }))
    scored.sort((x, y) => y.request.priority - x.request.priority || y.score - x.score || x.request.arrivedAt - y.request.arrivedAt)
    let places = snapshot.limits.maxSequences - running
    let left = room
    for (const { request } of scored) {
      if (budget() <= 0 || places <= 0) break
      const takes = Math.ceil((request.known + 1) / snapshot.limits.blockSize) - (request.probe?.pinned ?? 0)
      if (takes > left && running > 0) {
        if (this.#rule.skip === true) continue
        break
      }
      row(request, Math.min(budget(), uncached(request)))
      left -= takes
      places -= 1
      running += 1
    }
  }
}
