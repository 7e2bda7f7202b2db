/**
 * AgentSched: which requests a step computes, who waits, and whose KV is kept. AgentSched of arXiv 2512.18337 (section 5) with its defects
 * mended: shortest uncached prefill first while memory is ample; the more λ says it is short, the more cached blocks count and new ones
 * cost. On top of the paper: whole sessions are paused at turn borders when they do not fit together (sessions.ts), retention while tools
 * run, a hard bound on waiting, requests that share a prefix wait for the first of them, priorities, fairness between tenants, preemption.
 *
 *   score = a · hit − (b + λ) · need_eff + c · age − order · rank − f · excess        (all in pool sizes)
 *   need_eff = mix · prompt + (1 − mix) · need,   mix = 1 − λ / λmax
 *
 * age: prompt tokens the engine computed since the request arrived; rank: the part of the runs that began before its own; excess: tokens
 * its tenant was served beyond the least served one.
 * Order: urgent requests (wait >= urgentAfter · maxWait), then priority, then score, then arrival, then id. While an urgent request or one
 * of higher priority finds no room, nothing behind it starts, and running requests of lower priority (or, near the bound, any) give way.
 */
import { completed } from './completed.js'
import { stepsAhead } from './ahead.js'
import { Candidates } from './candidates.js'
import type { Candidate } from './candidates.js'
import { Reasons } from './reasons.js'
import { KnownSessions } from './sessions.js'
import type { PausingOptions, SessionPlan } from './sessions.js'
import { ShadowPrice } from './shadow_price.js'
import type { PriceView, ShadowPriceOptions } from './shadow_price.js'
import { StepCosts } from './step_costs.js'
import { Tenants } from './tenants.js'
import type { Plan, PlannedRow, PolicyPoint, RequestView, Scheduler, Snapshot } from './types.js'

/** Weights and limits of agent-sched. */
export interface AgentSchedOptions {
  /** a: what a cached block is worth. Default: 1. */
  readonly a: number
  /** b: what a new block costs. Equal to a: with λ = 0, shortest uncached prefill first. Default: 1. */
  readonly b: number
  /** c: what a pool's size of tokens prefilled since arrival is worth. >= (a + b + λmax) / (pool sizes one is willing to wait). Default: 1. */
  readonly c: number
  /** What a request of the latest run loses to one of the run that began first, in pool sizes: a run is done when its last request is. Default: 2. */
  readonly order: number
  /** f: what a tenant loses for each pool size of tokens it got beyond the least served one. Default: 1. */
  readonly fairness: number
  /** Seconds that no request should wait for its start. Requests whose wait cannot be served in time by anyone start in order of arrival. Default: 600. */
  readonly maxWait: number
  /** The part of maxWait after which a request goes before all others. Default: 0.5. */
  readonly urgentAfter: number
  /** Tokens set aside for each running request to decode into. Default: 256. */
  readonly decodeReserve: number
  /**
   * While others decode, what there is to prefill is spread over so many steps, as rows that ride along with decodes cost little more than
   * their arithmetic (arXiv 2403.02310). 0: each step takes all it may. Default: 32.
   */
  readonly spread: number
  /** Tokens of a step's prefill below which nothing is spread. Default: 160. */
  readonly spreadFloor: number
  /** Hold a request back while another computes the prefix they share. Default: `true`. */
  readonly share: boolean
  /** Pause sessions that do not fit together. Default: `true`. */
  readonly pause: boolean
  /** Steps between two looks at sessions and retention when nothing came or went. Default: 16. */
  readonly refreshSteps: number
  /** The shadow price of KV memory. Default: see `ShadowPriceOptions`. */
  readonly price: Partial<ShadowPriceOptions>
  /** Which sessions take part, and whose KV stays. Default: see `PausingOptions`. */
  readonly sessions: Partial<PausingOptions>
}

/** What `agent-sched` is opened with by its name. */
export const agentSchedDefaults: AgentSchedOptions = {
  a: 1,
  b: 1,
  c: 1,
  order: 2,
  fairness: 1,
  maxWait: 600,
  urgentAfter: 0.5,
  decodeReserve: 256,
  spread: 32,
  spreadFloor: 160,
  share: true,
  pause: true,
  refreshSteps: 16,
  price: {},
  sessions: {},
}

/** Why a request waits. */
export const reasons = {
  /** Its session is paused: the sessions that take part fill the pool. */
  paused: 'paused',
  /** Another computes the prefix it shares. */
  shared: 'shared-prefix',
  /** Its KV does not fit beside what runs. */
  noRoom: 'no-room',
  /** As many sequences run as may. */
  noSlot: 'no-slot',
  /** The step has as many tokens as it may. */
  noBudget: 'no-budget',
  /** Room is being made for one that goes first. */
  behind: 'behind',
  /** It gave its blocks back for others. */
  preempted: 'preempted',
} as const

/** A step in the making. */
interface Draft {
  readonly rows: PlannedRow[]
  readonly reasons: Reasons
  readonly preempt: number[]
  budget: number
  /** Tokens that those who may start have to compute. */
  backlog: number
  /** Sequences that may still join. */
  places: number
  /** Blocks that may still be taken, what running requests will need set aside. */
  blocks: number
}

const historyLength = 4096
/** Requests that may find no room before the step takes nobody further: plans stay cheap however many wait. */
const mostRefused = 64

export class AgentSched implements Scheduler {
  readonly name = 'agent-sched'
  readonly wants: NonNullable<Scheduler['wants']> = { probes: true, demand: true }
  /** Those it was made with, defaults filled in. */
  readonly options: AgentSchedOptions
  readonly #price: ShadowPrice
  readonly #sessions: KnownSessions
  readonly #costs = new StepCosts()
  readonly #tenants = new Tenants()
  readonly #history: PolicyPoint[] = []
  #historyEvery = 1
  #listed: { readonly newest: number; readonly count: number; readonly tenants: ReadonlySet<string> } = { newest: -1, count: 0, tenants: new Set() }
  #newest = -1
  #running = 0
  #refreshed = -Infinity

  /** What is not given is taken from `agentSchedDefaults`. @throws {AgentInferError} `ERR_INVALID_ARGUMENT` naming the option that is wrong or unknown. */
  constructor(options: Partial<AgentSchedOptions> = {}) {
    this.options = completed(options, agentSchedDefaults, 'AgentSched')
    this.#price = new ShadowPrice(this.options.price)
    this.#sessions = new KnownSessions(this.options.sessions)
  }

  /** The next step. */
  plan(snapshot: Snapshot): Plan {
    const running: RequestView[] = []
    const waiting: RequestView[] = []
    for (const request of snapshot.requests) (request.started ? running : waiting).push(request)
    const growth = this.#growth(running, snapshot.limits.blockSize)
    const price = this.#price.update(snapshot.now, snapshot.pool, snapshot.demand, growth)
    this.#costs.update(snapshot)
    this.#updateTenants(snapshot.requests)
    const sessions = this.#refreshSessions(snapshot, running.length, growth)

    const { maxBatchTokens, maxSequences } = snapshot.limits
    const draft: Draft = {
      rows: [], reasons: new Reasons(), preempt: [], budget: maxBatchTokens, backlog: 0, places: maxSequences,
      blocks: snapshot.pool.free + snapshot.pool.cached - growth,
    }
    const kept = this.#giveWay(snapshot, running, draft)
    const candidates = this.#candidates(snapshot, waiting, price, draft)
    this.#limitPrefill(kept, draft)
    planRunning(kept, draft, snapshot.step, snapshot.now - this.options.maxWait * this.options.urgentAfter)
    this.#charge(kept, draft)
    this.#admit(snapshot, kept, candidates, draft)
    if (draft.rows.length > 0) this.#costs.planned()
    const figures = this.#figures(snapshot, price)
    this.#remember(snapshot, figures)
    const plan = { rows: draft.rows, preempt: draft.preempt, retain: sessions.retain, prefetch: sessions.prefetch }
    return { ...plan, reasons: draft.reasons, figures, ahead: stepsAhead(running, plan) }
  }

  history(): readonly PolicyPoint[] {
    return this.#history
  }

  /** Whose requests there are changes only with the requests. */
  #updateTenants(requests: readonly RequestView[]): void {
    const newest = requests.at(-1)?.id ?? -1
    if (newest !== this.#listed.newest || requests.length !== this.#listed.count)
      this.#listed = { newest, count: requests.length, tenants: new Set(requests.map(({ tenant }) => tenant)) }
    this.#tenants.update(this.#listed.tenants)
  }

  /** Rows of running requests; new ones are charged as they start. */
  #charge(running: readonly RequestView[], draft: Draft): void {
    const tenants = new Map(running.map((request) => [request.id, request.tenant]))
    for (const { id, tokens } of draft.rows) this.#tenants.charge(tenants.get(id)!, tokens)
  }

  /** Blocks that running requests will take beyond those they have: the rest of their prompts and some room to decode. */
  #growth(running: readonly RequestView[], blockSize: number): number {
    let blocks = 0
    for (const { known, computed, remaining } of running) {
      const later = known + Math.min(remaining, this.options.decodeReserve)
      blocks += Math.ceil(later / blockSize) - Math.ceil(computed / blockSize)
    }
    return blocks
  }

  #refreshSessions(snapshot: Snapshot, running: number, growth: number): SessionPlan {
    const newest = snapshot.requests.at(-1)?.id ?? -1
    const changed = newest !== this.#newest || running !== this.#running
    this.#newest = newest
    this.#running = running
    // While nothing runs, sessions are all there is to see.
    if (!changed && running > 0 && snapshot.step < this.#refreshed + this.options.refreshSteps) return { retain: [], prefetch: [] }
    this.#refreshed = snapshot.step
    return this.#sessions.refresh(snapshot, {
      prefill: (tokens) => this.#costs.prefill(tokens),
      queueing: this.#costs.queueing,
      lambda: this.#price.lambda,
      growth,
      reserve: this.options.decodeReserve,
    })
  }

  /** A running request found no room: the one that loses least gives its blocks back. Returns those that stay. */
  #giveWay(snapshot: Snapshot, running: readonly RequestView[], draft: Draft): RequestView[] {
    const kept = running.slice()
    if (snapshot.deferred.length === 0 || kept.length < 2) return kept
    const stuck = new Set(snapshot.deferred)
    if (!kept.some((request) => stuck.has(request.id))) return kept
    this.#preempt(kept, this.#victim(kept, () => true), draft, snapshot.limits.blockSize)
    return kept
  }

  /** Lowers the step's budget to its part of the prefill that is to be done. */
  #limitPrefill(running: readonly RequestView[], draft: Draft): void {
    const { spread, spreadFloor } = this.options
    if (spread === 0) return
    let decodes = 0
    let backlog = draft.backlog
    for (const { known, computed } of running)
      if (known - computed === 1) decodes += 1
      else backlog += known - computed
    if (decodes === 0) return
    draft.budget = Math.min(draft.budget, decodes + Math.max(spreadFloor, Math.ceil(backlog / spread)))
  }

  /** Who gives way first: low priority, late session, late arrival. Nobody if none `may`. */
  #victim(running: readonly RequestView[], may: (request: RequestView) => boolean): RequestView | undefined {
    const order = ({ session }: RequestView): number => (session === undefined ? 0 : (this.#sessions.standing(session)?.order ?? Infinity))
    let victim: RequestView | undefined
    for (const request of running) {
      if (!may(request)) continue
      const later =
        victim === undefined || request.priority < victim.priority ||
        (request.priority === victim.priority &&
          (order(request) > order(victim) || (order(request) === order(victim) && request.arrivedAt >= victim.arrivedAt)))
      if (later) victim = request
    }
    return victim
  }

  /**
   * Whom a request may push out: near the bound everybody who came after it, else those of lower priority that are not late themselves.
   * No two requests may ever push out each other, or neither would get on.
   */
  #mayPush(now: number, { request, urgent }: Candidate): (other: RequestView) => boolean {
    const { maxWait, urgentAfter } = this.options
    const late = urgent && now - request.arrivedAt >= ((1 + urgentAfter) / 2) * maxWait
    if (late) return (other) => other.arrivedAt > request.arrivedAt
    return (other) => other.priority < request.priority && now - other.arrivedAt < urgentAfter * maxWait
  }

  #preempt(running: RequestView[], victim: RequestView | undefined, draft: Draft, blockSize: number): void {
    if (victim === undefined) return
    running.splice(running.indexOf(victim), 1)
    draft.preempt.push(victim.id)
    draft.reasons.set(victim.id, reasons.preempted)
    draft.blocks += Math.ceil(victim.computed / blockSize)
  }

  /** Those that may start; the others are paused, and get that as their reason. */
  #candidates(snapshot: Snapshot, waiting: readonly RequestView[], price: PriceView, draft: Draft): Candidate[] {
    const items: Candidate[] = []
    if (waiting.length === 0) return items
    const { pause, urgentAfter, maxWait } = this.options
    const late = snapshot.now - urgentAfter * maxWait
    const score = this.#scorer(snapshot, price)
    const paused: number[] = []
    let backlog = 0
    for (const request of waiting) {
      const urgent = request.arrivedAt <= late
      const standing = request.session === undefined ? undefined : this.#sessions.standing(request.session)
      if (!urgent && pause && standing !== undefined && !standing.active && !standing.guest) paused.push(request.id)
      else {
        items.push({ request, urgent, score: score(request, urgent, standing?.run?.rank ?? 0) })
        backlog += request.known - (request.probe?.hitTokens ?? 0)
      }
    }
    draft.backlog = backlog
    draft.reasons.setAll(paused, reasons.paused)
    return items
  }

  #admit(snapshot: Snapshot, running: RequestView[], candidates: Candidate[], draft: Draft): void {
    if (candidates.length === 0) return
    const queue = new Candidates(candidates)
    const leaders = running.filter((request) => request.known - request.computed > 1)
    const groups = new Set<number>()
    let blocked = -Infinity
    let refused = 0
    let lowest = Infinity
    for (const { priority } of running) lowest = Math.min(lowest, priority)
    for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
      const { request } = next
      const full =
        draft.budget <= 0 ? reasons.noBudget
        : draft.places <= 0 && !next.urgent ? reasons.noSlot
        : request.priority < blocked ? reasons.behind
        : undefined
      if (full !== undefined) {
        draft.reasons.set(request.id, full)
        draft.reasons.setAll(queue.restIds(), full)
        break
      }
      if (this.options.share && !next.urgent && sharesWith(request, leaders, groups, snapshot.limits.blockSize)) {
        draft.reasons.set(request.id, reasons.shared)
        continue
      }
      const mayPush = next.urgent || request.priority > lowest
      if (!this.#fits(snapshot, running, next, draft, mayPush)) {
        draft.reasons.set(request.id, draft.places > 0 ? reasons.noRoom : reasons.noSlot)
        blocked = next.urgent ? Infinity : Math.max(blocked, request.priority)
        refused += 1
        if (refused < mostRefused) continue
        draft.reasons.setAll(queue.restIds(), reasons.noRoom)
        break
      }
      this.#start(snapshot, request, draft)
      if (request.probe !== undefined && request.probe.group !== -1) groups.add(request.probe.group)
    }
  }

  /** Called for everybody who waits: what does not depend on the request is done once. */
  #scorer({ now, prefilled, pool, limits }: Snapshot, price: PriceView): (request: RequestView, urgent: boolean, rank: number) => number {
    const { a, b, c, order, fairness, maxWait } = this.options
    const { blockSize } = limits
    const total = Math.max(1, pool.total)
    const mix = 1 - price.lambda / this.#price.options.lambdaMax
    const cost = b + price.lambda
    const per = 1 / blockSize
    let tenant: string | undefined
    let excess = 0
    return (request, urgent, rank) => {
      if (fairness !== 0 && request.tenant !== tenant) {
        tenant = request.tenant
        excess = (fairness * this.#tenants.excess(tenant)) / (total * blockSize)
      }
      // Late ones go by arrival, but a tenant cannot push others over the bound by being late a lot.
      if (urgent) return (now - request.arrivedAt) / maxWait - excess
      const { probe } = request
      const hit = probe === undefined ? 0 : probe.hitTokens * per
      const prompt = request.known * per
      const effective = mix * prompt + (1 - mix) * (probe === undefined ? prompt : probe.need)
      const age = (prefilled - request.prefilledAtArrival) * per
      return (a * hit - cost * effective + c * age) / total - order * rank - excess
    }
  }

  /** Blocks it takes out of those that others may take: new ones, and cached ones nobody holds. */
  #takes(request: RequestView, blockSize: number): number {
    const later = Math.min(request.remaining, this.options.decodeReserve)
    const fresh = Math.ceil((request.known + later) / blockSize)
    return request.probe === undefined ? fresh : fresh - request.probe.pinned
  }

  #fits(snapshot: Snapshot, running: RequestView[], candidate: Candidate, draft: Draft, mayPush: boolean): boolean {
    const { request } = candidate
    const { blockSize } = snapshot.limits
    const takes = this.#takes(request, blockSize)
    const room = (): boolean => takes <= draft.blocks && draft.places > 0
    if (room()) return true
    if (!mayPush) return running.length === 0 && draft.rows.length === 0
    const may = this.#mayPush(snapshot.now, candidate)
    let gain = 0
    for (const other of running) if (may(other)) gain += Math.ceil(other.computed / blockSize)
    if (gain > 0 && draft.blocks + gain >= takes)
      while (!room()) {
        const victim = this.#victim(running, may)
        if (victim === undefined) break
        const row = draft.rows.findIndex((planned) => planned.id === victim.id)
        draft.places += 1
        if (row >= 0) draft.budget += draft.rows.splice(row, 1)[0]!.tokens
        this.#preempt(running, victim, draft, blockSize)
      }
    // Alone, it may use everything: what does not fit then never will.
    return room() || (running.length === 0 && draft.rows.length === 0)
  }

  #start(snapshot: Snapshot, request: RequestView, draft: Draft): void {
    const tokens = Math.min(draft.budget, Math.max(1, request.known - (request.probe?.hitTokens ?? 0)))
    draft.rows.push({ id: request.id, tokens })
    draft.budget -= tokens
    draft.places -= 1
    this.#tenants.charge(request.tenant, tokens)
    draft.blocks -= this.#takes(request, snapshot.limits.blockSize)
    this.#costs.started(snapshot.now - request.arrivedAt)
  }

  #figures(snapshot: Snapshot, price: PriceView): Record<string, number> {
    return {
      lambda: price.lambda,
      lambdaTarget: price.target,
      z: price.z,
      demand: price.demand,
      usable: price.usable,
      hits: price.hits,
      activeSessions: this.#sessions.active,
      pausedSessions: this.#sessions.paused,
      projectedBlocks: this.#sessions.projected,
      secondsPerPrefillToken: this.#costs.perToken,
      queueing: this.#costs.queueing,
      running: this.#running,
      waiting: snapshot.requests.length - this.#running,
    }
  }

  /** Evenly spaced in steps; when full, every other point goes. */
  #remember(snapshot: Snapshot, figures: Record<string, number>): void {
    if (snapshot.step % this.#historyEvery !== 0) return
    this.#history.push({ now: snapshot.now, figures })
    if (this.#history.length < historyLength) return
    for (let i = 0; i < historyLength / 2; ++i) this.#history[i] = this.#history[2 * i]!
    this.#history.length = historyLength / 2
    this.#historyEvery *= 2
  }
}

/**
 * Decodes, one token each, then prefills that have begun: those that arrived before `late` first, the shortest rest next; the oldest always
 * gets a quarter of what is left.
 */
function planRunning(running: readonly RequestView[], draft: Draft, step: number, late: number): void {
  draft.places -= running.length
  const prefills: RequestView[] = []
  const decodes: RequestView[] = []
  for (const request of running) (request.known - request.computed > 1 ? prefills : decodes).push(request)
  // More decodes than a step has rows for take turns.
  const first = decodes.length > draft.budget ? (step * draft.budget) % decodes.length : 0
  for (let i = 0; i < decodes.length && draft.budget > 0; ++i) {
    draft.rows.push({ id: decodes[(first + i) % decodes.length]!.id, tokens: 1 })
    draft.budget -= 1
  }
  if (prefills.length === 0) return
  const rest = (request: RequestView): number => request.known - request.computed
  const oldest = prefills[0]!
  prefills.sort(
    (x, y) =>
      Number(y.arrivedAt <= late) - Number(x.arrivedAt <= late) || y.priority - x.priority || rest(x) - rest(y) || x.id - y.id,
  )
  let share = Math.min(rest(oldest), Math.ceil(draft.budget / 4))
  for (const request of prefills) {
    if (request === oldest) share = 0
    const tokens = Math.min(draft.budget - share, rest(request))
    if (tokens <= 0) continue
    draft.rows.push({ id: request.id, tokens })
    draft.budget -= tokens
  }
}

/** Whether another that runs or starts now computes the prefix it wants next. */
function sharesWith(
  { probe }: RequestView,
  leaders: readonly RequestView[],
  groups: ReadonlySet<number>,
  blockSize: number,
): boolean {
  if (probe === undefined) return false
  if (probe.group !== -1 && groups.has(probe.group)) return true
  // Everything the leader has computed so far is its hit: they still go together.
  return leaders.some((leader) => {
    const computed = Math.floor(leader.computed / blockSize) * blockSize
    return computed > 0 && probe.hitTokens === computed && probe.pinned * blockSize === computed
  })
}
