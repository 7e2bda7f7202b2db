/**
 * What the scheduler knows of sessions beyond one snapshot: when they came, what they wait for, how large they will get, and which of them
 * take part. Sessions take part ("active") as long as the KV they will want together fits the pool; the others are paused at the border
 * between two turns, because letting everybody in makes everybody lose its KV in turn. Whoever takes part keeps its KV while a tool runs,
 * for as long as the expected saving is worth it (durations.ts).
 *
 * Nobody is paused for nothing: who still has its KV runs its turn as a guest while no other wants the room, and while nothing runs a place
 * whose owner is away is kept no longer than its KV would take to compute.
 */
import { completed } from './completed.js'
import { bestKeep, durationDefaults, Durations } from './durations.js'
import type { DurationOptions } from './durations.js'
import type { RequestView, Retention, SessionView, Snapshot } from './types.js'

/** Of sessions as agent-sched sees them: who takes part, and for how long the KV of those that wait is kept. */
export interface PausingOptions extends DurationOptions {
  /** Sessions take part until their projected KV, what they share counted once, is this part of the pool and the host tier. Default: 1. */
  readonly watermark: number
  /** Tokens a session is expected to grow by per turn, until some have been seen; at most a 64th of the pool. Default: 2048. */
  readonly turnTokens: number
  /** Sessions whose projected size is at most this part of the pool are never paused. Default: 0.02. */
  readonly small: number
  /** Seconds that a session keeps its KV after a turn whatever comes, for its owner to say what. Default: 0.5. */
  readonly grace: number
  /** Seconds before the expected return at which KV comes back from the host tier. Default: 0.5. */
  readonly prefetchLead: number
  /** Seconds of the engine that a second of the whole pool is worth when λ = 1. Default: 1.5. */
  readonly keepPrice: number
  /** Seconds to bring a token's KV back from the host tier, as a part of those to compute it. Default: 0.05. */
  readonly copyCost: number
}

export const pausingDefaults: Omit<PausingOptions, keyof DurationOptions> = {
  watermark: 1,
  turnTokens: 2048,
  small: 0.02,
  grace: 0.5,
  prefetchLead: 0.5,
  keepPrice: 1.5,
  copyCost: 0.05,
}

/** Retention classes, lowest evicted first. What finished has class 0: nobody's. */
export const retentionClass = { finished: 0, paused: 1, doubtful: 2, active: 3 } as const

/** Whether requests of the session may start, and how its run stands among the others. */
export interface Standing {
  readonly active: boolean
  /** Its turn may run, though it does not take part: nobody who does wants the room now. */
  readonly guest: boolean
  readonly run: { readonly order: number; readonly rank: number } | undefined
  readonly order: number
}

interface Entry extends Standing {
  readonly id: number
  readonly tenant: string
  /** Order of arrival among sessions. */
  readonly order: number
  readonly run: Group | undefined
  tokens: number
  /** What it waits for outside the engine; undefined: a request of it is live, or was never seen. */
  wait: { readonly tool: string; readonly since: number } | undefined
  /** Tokens that its next request is known to add. */
  announced: number
  /** Its owner has not said yet what comes after its last turn, or its next request is on its way. */
  between: boolean
  turns: number
  live: 'none' | 'waiting' | 'running'
  /** Of its live request: tokens that are cached. */
  held: number
  /** Tokens at its start that were there before it: a fork's, or a beginning that all share. */
  shared: number
  /** None of its requests has run. */
  fresh: boolean
  active: boolean
  guest: boolean
  keepUntil: number
  retention: Retention | undefined
  /** Last refresh that saw it. */
  seen: number
}

/** Sessions that belong together. */
interface Group {
  readonly key: string
  /** Of its first session. */
  readonly order: number
  /** The part of the runs with open sessions that began before it. In [0, 1) */
  rank: number
  /** Open ones. */
  sessions: number
}

/** Sessions of a tenant, while it is chosen who takes part. */
interface Queue {
  /** Blocks of those that do, and the longest beginning that one of them shares. */
  used: number
  shared: number
  /** In order. */
  readonly entries: Entry[]
  next: number
  /** Of those that take part: the ones that do not run now. */
  readonly idle: Entry[]
}

/** What the engine costs, learnt by the scheduler. */
export interface Costs {
  /** Seconds to prefill so many tokens. */
  prefill(tokens: number): number
  /** Seconds a request waited lately. */
  readonly queueing: number
  readonly lambda: number
  /** Blocks that running requests will take beyond those they have. */
  readonly growth: number
  /** Tokens to decode into that a request is given room for at its start. */
  readonly reserve: number
}

export interface SessionPlan {
  readonly retain: Retention[]
  readonly prefetch: number[]
}

export class KnownSessions {
  readonly #options: PausingOptions
  readonly durations: Durations
  readonly #entries = new Map<number, Entry>()
  readonly #runs = new Map<string, Group>()
  #order = 0
  #refresh = 0
  /** Since when nothing runs though somebody is paused; undefined: not so. */
  #idleSince: number | undefined
  /** Growth of a session per turn in tokens: the mean of those seen, and how many count. */
  #growth = { mean: 0, seen: 0 }
  active = 0
  paused = 0
  /** Blocks that active sessions are projected to want. */
  projected = 0

  constructor(options: Partial<PausingOptions> = {}) {
    this.#options = completed(options, { ...durationDefaults, ...pausingDefaults }, 'AgentSched', 'sessions.')
    this.durations = new Durations(this.#options)
  }

  /** What the scheduler asks of each session at each step; undefined: unknown. */
  standing(session: number): Standing | undefined {
    return this.#entries.get(session)
  }

  /** Reads the snapshot, decides who takes part, and says which retentions change. */
  refresh(snapshot: Snapshot, costs: Costs): SessionPlan {
    this.#refresh += 1
    for (const view of snapshot.sessions) this.#see(view, snapshot.now)
    this.#readRequests(snapshot)
    this.#forgetClosed()
    this.#rank()
    this.#choose(snapshot, costs)
    return this.#retentions(snapshot)
  }

  #see(view: SessionView, now: number): void {
    let entry = this.#entries.get(view.id)
    if (entry === undefined) {
      const order = this.#order++
      entry = {
        id: view.id, tenant: view.tenant, order, run: this.#runOf(view, order), tokens: view.tokens, wait: undefined, announced: 0, between: false, turns: 0,
        live: 'none', held: 0, shared: 0, fresh: true, active: false, guest: false, keepUntil: now, retention: undefined, seen: 0,
      }
      this.#entries.set(view.id, entry)
    }
    entry.seen = this.#refresh
    entry.live = 'none'
    entry.held = 0
    entry.tokens = Math.max(entry.tokens, view.tokens)
    const { activity } = view
    entry.announced = activity.kind === 'elsewhere' ? activity.tokens : 0
    entry.between = activity.kind === 'running' || (activity.kind === 'idle' && now - view.since < this.#options.grace)
    if (activity.kind === 'running') return
    const tool = activity.kind === 'tool' ? activity.tool : `:${activity.kind}`
    if (entry.wait?.tool !== tool || entry.wait.since !== view.since) {
      entry.wait = { tool, since: view.since }
      entry.keepUntil = Infinity
    }
  }

  #runOf({ run, tenant }: SessionView, order: number): Group | undefined {
    if (run === undefined) return undefined
    const key = `${tenant}\0${run}`
    const group = this.#runs.get(key) ?? { key, order, rank: 0, sessions: 0 }
    group.sessions += 1
    this.#runs.set(key, group)
    return group
  }

  /** Runs are listed in the order in which they began. */
  #rank(): void {
    let before = 0
    for (const run of this.#runs.values()) run.rank = before++ / this.#runs.size
  }

  /** Marks sessions with a live request; a session that waited for a tool has come back with it. */
  #readRequests(snapshot: Snapshot): void {
    for (const request of snapshot.requests) {
      if (request.session === undefined) continue
      const entry = this.#entries.get(request.session)
      if (entry === undefined) continue
      if (entry.wait !== undefined) this.#returned(entry, request)
      entry.live = request.started || entry.live === 'running' ? 'running' : 'waiting'
      entry.tokens = Math.max(entry.tokens, request.known)
      const held = request.started ? request.computed : (request.probe?.hitTokens ?? 0)
      entry.held = Math.max(entry.held, held)
      if (request.started) entry.fresh = false
      else if (entry.fresh) entry.shared = held
    }
  }

  #returned(entry: Entry, request: RequestView): void {
    const seconds = request.arrivedAt - entry.wait!.since
    if (seconds >= 0 && entry.tokens > 0 && entry.turns > 0) this.durations.observe(entry.wait!.tool, seconds)
    if (entry.turns > 0) {
      const growth = this.#growth
      growth.seen = Math.min(20, growth.seen + 1)
      growth.mean += (Math.max(0, request.known - entry.tokens) - growth.mean) / growth.seen
    }
    entry.turns += 1
    entry.wait = undefined
  }

  #forgetClosed(): void {
    for (const [id, entry] of this.#entries) {
      if (entry.seen === this.#refresh) continue
      if (entry.wait?.tool === ':idle' && entry.turns > 1) this.durations.observe(':idle', Infinity)
      this.#entries.delete(id)
      const { run } = entry
      if (run !== undefined && --run.sessions === 0) this.#runs.delete(run.key)
    }
  }

  /** Tokens that a session is expected to come back with. Its prior counts as two turns. */
  #turn({ pool, limits }: Snapshot): number {
    const { mean, seen } = this.#growth
    return (2 * Math.min(this.#options.turnTokens, (pool.total * limits.blockSize) / 64) + seen * mean) / (2 + seen)
  }

  /** Running sessions take part, then others as `goesFirst` has it. Tenants take turns by what they already have. */
  #choose(snapshot: Snapshot, costs: Costs): void {
    const { blockSize } = snapshot.limits
    // What does not fit the device goes to the host tier and comes back for the price of a copy.
    const capacity = (snapshot.pool.total + snapshot.pool.hostTotal) * this.#options.watermark
    const small = snapshot.pool.total * this.#options.small
    const turn = this.#turn(snapshot)
    const projection = (entry: Entry): number => Math.ceil((entry.tokens + (entry.live === 'none' ? Math.max(entry.announced, turn) : 0)) / blockSize)
    const queues = this.#queues(snapshot, costs, projection)
    const open = queues.filter(({ entries }) => entries.length > 0)
    for (const { entries } of open) entries.sort(goesFirst)
    const out: { entry: Entry; queue: Queue }[] = []
    while (open.length > 0) {
      let least = 0
      for (let i = 1; i < open.length; ++i) if (open[i]!.used < open[least]!.used) least = i
      const queue = open[least]!
      const entry = queue.entries[queue.next++]!
      if (queue.next === queue.entries.length) open.splice(least, 1)
      const blocks = projection(entry) - sharedBlocks(entry, queue, blockSize)
      entry.active = blocks <= small || this.projected + blocks <= capacity || this.active === 0
      if (entry.active) this.#letIn(entry, queue, blocks, blockSize)
      else out.push({ entry, queue })
    }
    this.#invite(snapshot, costs, turn, queues, out)
  }

  /** Lets running sessions in, and queues those that want to take part, by tenant. */
  #queues(snapshot: Snapshot, costs: Costs, projection: (entry: Entry) => number): Queue[] {
    const { blockSize } = snapshot.limits
    const queues = new Map<string, Queue>()
    this.projected = 0
    this.active = 0
    const idle = this.#idle(snapshot)
    const kept = (entry: Entry): boolean => entry.between || snapshot.now < entry.keepUntil
    for (const entry of this.#entries.values()) {
      let queue = queues.get(entry.tenant)
      if (queue === undefined) queues.set(entry.tenant, (queue = { used: 0, shared: 0, entries: [], idle: [], next: 0 }))
      if (entry.live === 'none') this.#keep(entry, snapshot, costs)
      if (entry.live === 'running' && !entry.guest) {
        entry.active = true
        this.#letIn(entry, queue, projection(entry) - sharedBlocks(entry, queue, blockSize), blockSize)
      } else if (entry.live !== 'none' || (entry.active && kept(entry) && idle < this.#miss(entry, snapshot, costs))) queue.entries.push(entry)
      else entry.active = entry.guest = false
    }
    return Array.from(queues.values())
  }

  #letIn(entry: Entry, queue: Queue, blocks: number, blockSize: number): void {
    entry.guest = false
    this.active += 1
    this.projected += blocks
    queue.used += blocks
    queue.shared = Math.max(queue.shared, Math.floor(entry.shared / blockSize))
    if (entry.live !== 'running') queue.idle.push(entry)
  }

  /** Of those that do not take part, the ones that still have their KV, if their turn fits beside the KV and the turns of those that do. */
  #invite({ pool, limits }: Snapshot, costs: Costs, turn: number, queues: readonly Queue[], out: readonly { entry: Entry; queue: Queue }[]): void {
    this.paused = 0
    if (out.length === 0) return
    const blocks = (entry: Entry, queue: Queue): number =>
      Math.ceil((entry.tokens + (entry.live === 'none' ? 0 : costs.reserve)) / limits.blockSize) - sharedBlocks(entry, queue, limits.blockSize)
    let room = pool.free + pool.cached - costs.growth
    for (const queue of queues) for (const entry of queue.idle) room -= blocks(entry, queue)
    for (const { entry, queue } of out) {
      if (entry.live !== 'waiting') continue
      const has = entry.tokens - entry.held <= 2 * turn
      const takes = blocks(entry, queue)
      entry.guest = has && takes <= room
      if (entry.guest) room -= takes
      else this.paused += 1
    }
  }

  /**
   * Seconds for which nothing has run though somebody is paused. That time is lost for certain, what giving up a place costs is not: who is
   * away keeps its place meanwhile for no longer than its KV would take to compute.
   */
  #idle({ now, requests }: Snapshot): number {
    if (this.paused === 0 || requests.some(({ started }) => started)) this.#idleSince = undefined
    else this.#idleSince ??= now
    return this.#idleSince === undefined ? 0 : now - this.#idleSince
  }

  /** Seconds that it takes to have the KV of a session again that was given up. */
  #miss(entry: Entry, { pool }: Snapshot, costs: Costs): number {
    return (pool.hostTotal > 0 ? this.#options.copyCost : 1) * costs.prefill(entry.tokens)
  }

  /** How long KV is kept while the session is away, at today's price. */
  #keep(entry: Entry, snapshot: Snapshot, costs: Costs): void {
    if (entry.between) {
      entry.keepUntil = (entry.wait?.since ?? snapshot.now) + this.#options.grace
      return
    }
    if (entry.wait === undefined) {
      // Not later than it became so: a time that moves on with every plan would be news with every plan.
      entry.keepUntil = Math.min(entry.keepUntil, snapshot.now)
      return
    }
    const share = Math.ceil(entry.tokens / snapshot.limits.blockSize) / Math.max(1, snapshot.pool.total)
    const saving = this.#miss(entry, snapshot, costs) + costs.queueing
    const elapsed = Math.max(0, snapshot.now - entry.wait.since)
    const keep = bestKeep(this.durations.samples(entry.wait.tool), elapsed, saving, this.#options.keepPrice * costs.lambda * share)
    entry.keepUntil = entry.wait.since + keep.until
  }

  #retentions(snapshot: Snapshot): SessionPlan {
    const retain: Retention[] = []
    const prefetch: number[] = []
    for (const entry of this.#entries.values()) {
      const wanted = this.#wanted(entry, snapshot)
      const last = entry.retention
      // A deadline that has not passed on either side and moved little is not worth a message.
      const same =
        last !== undefined && last.retentionClass === wanted.retentionClass &&
        (last.expiresAt === wanted.expiresAt ||
          (Number.isFinite(last.expiresAt) === Number.isFinite(wanted.expiresAt) && Math.min(last.expiresAt, wanted.expiresAt) > snapshot.now + 1))
      if (!same) retain.push((entry.retention = wanted))
      if (snapshot.pool.hostTotal > 0 && entry.active && entry.live === 'none' && this.#aboutToReturn(entry, snapshot.now))
        prefetch.push(entry.id)
    }
    return { retain, prefetch }
  }

  #wanted(entry: Entry, snapshot: Snapshot): Retention {
    const session = entry.id
    if (entry.active && entry.live !== 'none') return { session, retentionClass: retentionClass.active, expiresAt: Infinity }
    if (entry.active) return { session, retentionClass: retentionClass.active, expiresAt: entry.keepUntil }
    // Paused, or gone longer than worth: the nearer its turn, the longer it is kept.
    if (entry.live === 'waiting') return { session, retentionClass: retentionClass.doubtful, expiresAt: Infinity }
    return { session, retentionClass: retentionClass.paused, expiresAt: snapshot.now < entry.keepUntil ? entry.keepUntil : 0 }
  }

  #aboutToReturn(entry: Entry, now: number): boolean {
    if (entry.wait === undefined) return false
    const samples = this.durations.samples(entry.wait.tool)
    const elapsed = now - entry.wait.since
    let first = 0
    while (first < samples.length && samples[first]! <= elapsed) ++first
    if (first === samples.length) return true
    // At the first tenth of what is left of its durations.
    const early = samples[first + Math.floor((samples.length - first) / 10)]!
    return elapsed + this.#options.prefetchLead >= early
  }
}

/**
 * Those that take part; then sessions alone, and of runs those that began first, for a run is done when its last session is; then whoever
 * has the least to compute again, for it may only become more while it waits.
 */
function goesFirst(a: Entry, b: Entry): number {
  const [aRun, bRun] = [a.run?.order ?? -1, b.run?.order ?? -1]
  return Number(b.active) - Number(a.active) || aRun - bRun || a.tokens - a.held - (b.tokens - b.held) || a.order - b.order
}

/** Blocks at its start that count already: what sessions share is there once. */
function sharedBlocks(entry: Entry, queue: Queue, blockSize: number): number {
  return Math.min(Math.floor(entry.shared / blockSize), queue.shared)
}
