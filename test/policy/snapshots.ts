/** Snapshots for tests of schedulers, and an engine small enough to be seen through. */
import type { Plan, RequestView, Scheduler, SessionView, Snapshot } from '../../lib/policy/types.js'

export function seeded(seed: number): (below: number) => number {
  let state = (seed * 2654435761) % 2147483647 || 1
  return (below) => (state = (state * 48271) % 2147483647) % below
}

export function waiting(id: number, known: number, more: Partial<RequestView> & { hit?: number } = {}): RequestView {
  const { hit = 0, ...rest } = more
  const blocks = Math.ceil(known / 16)
  const probe = { hitTokens: hit, pinned: 0, evictable: Math.ceil(hit / 16), host: 0, need: blocks - Math.floor(hit / 16), group: -1 }
  return {
    id, session: undefined, tenant: '', priority: 0, promptTokens: known, known, computed: 0, remaining: 16, started: false, arrivedAt: 0,
    prefilledAtArrival: 0, deadline: undefined, probe, ...rest,
  }
}

export function running(id: number, computed: number, known: number, more: Partial<RequestView> = {}): RequestView {
  return { ...waiting(id, known), computed, started: true, probe: undefined, ...more }
}

export function snapshot(requests: readonly RequestView[], more: Partial<Snapshot> = {}): Snapshot {
  const total = 1000
  const used = requests.reduce((sum, request) => sum + Math.ceil(request.computed / 16), 0)
  return {
    now: 0, step: 0, requests, sessions: [], prefilled: 0, deferred: [],
    pool: { total, free: total - used, cached: 0, used, hostTotal: 0, hostFree: 0 },
    demand: { pinned: 0, evictable: 0, host: 0, fresh: 0 },
    limits: { maxBatchTokens: 256, maxSequences: 8, blockSize: 16 },
    ...more,
  }
}

/** Any snapshot that an engine could send: what runs fits the pool. */
export function randomSnapshot(random: (below: number) => number, step: number): Snapshot {
  const blockSize = 16
  const total = 40 + random(400)
  const maxSequences = 1 + random(12)
  const requests: RequestView[] = []
  let used = 0
  for (let i = random(24); i > 0; --i) {
    const known = 1 + random(900)
    const more = {
      tenant: `t${random(3)}`, priority: random(4) === 0 ? random(3) - 1 : 0, arrivedAt: step - random(500) / 10,
      prefilledAtArrival: random(5000), remaining: 1 + random(300), session: random(3) === 0 ? undefined : random(10),
    }
    const computed = random(2) === 0 ? known - 1 : random(known)
    const blocks = Math.ceil(computed / blockSize)
    if (random(2) === 0 && computed > 0 && used + blocks <= total && requests.filter((request) => request.started).length < maxSequences) {
      used += blocks
      requests.push(running(i, computed, known, more))
    } else requests.push(waiting(i, known, { ...more, hit: random(2) === 0 ? 0 : random(known) }))
  }
  const cached = random(total - used + 1)
  const sessions: SessionView[] = Array.from({ length: 10 }, (_, id) => ({
    id, tenant: 't0', tokens: random(900), since: step - random(20), activity: random(2) === 0 ? { kind: 'running' } : { kind: 'tool', tool: `tool ${random(2)}` },
  }))
  return {
    now: step, step, requests: requests.toSorted((a, b) => a.arrivedAt - b.arrivedAt), sessions, prefilled: 5000 + 100 * step,
    pool: { total, free: total - used - cached, cached, used, hostTotal: random(2) * 100, hostFree: 0 },
    demand: { pinned: 0, evictable: random(100), host: 0, fresh: random(600) },
    limits: { maxBatchTokens: 1 + random(512), maxSequences, blockSize },
    deferred: random(4) === 0 ? requests.filter((request) => request.started).slice(0, 1).map((request) => request.id) : [],
  }
}

export interface ToyRequest {
  readonly id: number
  readonly arrivedAt: number
  readonly prompt: number
  readonly output: number
  readonly tenant?: string
  readonly priority?: number
}

export interface ToyLife {
  startedAt: number
  endedAt: number
  preempted: number
}

/**
 * Runs requests through a scheduler on an engine without a cache: each step takes a second per 256 tokens, at least a tenth. Checks every
 * plan against the limits. Returns what became of each request.
 */
export function runToy(scheduler: Scheduler, requests: readonly ToyRequest[], limits: { total: number; maxSequences?: number; until?: number }): Map<number, ToyLife> {
  const lives = new Map(requests.map(({ id }) => [id, { startedAt: Infinity, endedAt: Infinity, preempted: 0 }]))
  const live = new Map<number, RequestView>()
  const queue = requests.toSorted((a, b) => a.arrivedAt - b.arrivedAt)
  const until = limits.until ?? 1e5
  let now = 0
  let prefilled = 0
  let deferred: number[] = []
  const blocks = (tokens: number): number => Math.ceil(tokens / 16)
  const used = (): number => Array.from(live.values()).reduce((sum, request) => sum + blocks(request.computed), 0)
  for (let step = 0; (queue.length > 0 || live.size > 0) && now < until; ++step) {
    while (queue.length > 0 && queue[0]!.arrivedAt <= now) {
      const { id, prompt, output, tenant = '', priority = 0, arrivedAt } = queue.shift()!
      live.set(id, { ...waiting(id, prompt), tenant, priority, remaining: output, arrivedAt, prefilledAtArrival: prefilled })
    }
    if (live.size === 0) {
      now = queue[0]!.arrivedAt
      continue
    }
    const list = Array.from(live.values())
    const fresh = list.reduce((sum, request) => sum + (request.started ? 0 : blocks(request.known)), 0)
    const state = snapshot(list, {
      now, step, prefilled, deferred, demand: { pinned: 0, evictable: 0, host: 0, fresh },
      pool: { total: limits.total, free: limits.total - used(), cached: 0, used: used(), hostTotal: 0, hostFree: 0 },
      limits: { maxBatchTokens: 256, maxSequences: limits.maxSequences ?? 16, blockSize: 16 },
    })
    const plan = scheduler.plan(state)
    checkPlan(state, plan)
    for (const id of plan.preempt) {
      lives.get(id)!.preempted += 1
      live.set(id, { ...live.get(id)!, started: false, computed: 0, probe: waiting(id, live.get(id)!.known).probe })
    }
    deferred = []
    let tokens = 0
    for (const row of plan.rows) {
      const request = live.get(row.id)!
      const computed = request.computed + row.tokens
      if (used() + blocks(computed) - blocks(request.computed) > limits.total) {
        if (request.started) deferred.push(row.id)
        continue
      }
      tokens += row.tokens
      if (request.known - request.computed > 1) prefilled += row.tokens
      const life = lives.get(row.id)!
      life.startedAt = Math.min(life.startedAt, now)
      const done = computed === request.known
      const after = { ...request, computed, started: true, probe: undefined }
      if (done && request.remaining === 1) {
        live.delete(row.id)
        life.endedAt = now
      } else live.set(row.id, done ? { ...after, known: request.known + 1, remaining: request.remaining - 1 } : after)
    }
    now += Math.max(0.1, tokens / 256)
  }
  return lives
}

/** Throws when the plan breaks a limit of the snapshot. */
export function checkPlan({ requests, limits, pool }: Snapshot, plan: Plan): void {
  const byId = new Map(requests.map((request) => [request.id, request]))
  const seen = new Set<number>()
  let tokens = 0
  let fresh = 0
  let room = pool.free + pool.cached
  for (const id of plan.preempt) {
    const request = byId.get(id)
    if (request?.started !== true || seen.has(id)) throw new Error(`preempts ${id}`)
    seen.add(id)
    room += Math.ceil(request.computed / limits.blockSize)
  }
  let sequences = requests.filter((request) => request.started).length - plan.preempt.length
  for (const row of plan.rows) {
    const request = byId.get(row.id)
    if (request === undefined || seen.has(row.id)) throw new Error(`plans ${row.id}, which is gone, preempted or planned before`)
    seen.add(row.id)
    if (row.tokens < 1 || row.tokens > request.known - request.computed) throw new Error(`${row.tokens} tokens for ${row.id}`)
    tokens += row.tokens
    if (request.started) continue
    sequences += 1
    fresh += Math.ceil(request.known / limits.blockSize) - (request.probe?.pinned ?? 0)
  }
  if (tokens > limits.maxBatchTokens) throw new Error(`${tokens} tokens in a step of ${limits.maxBatchTokens}`)
  if (sequences > limits.maxSequences) throw new Error(`${sequences} sequences of ${limits.maxSequences}`)
  if (fresh > room && sequences > 1) throw new Error(`starts what needs ${fresh} blocks of ${room}`)
}
