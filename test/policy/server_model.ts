/**
 * What an engine does with plans, without an engine: blocks, a prefix cache by named families, preemption, arrivals. Every plan is
 * checked against the rules. Nothing is random but the seed.
 */
import type { Plan, Scheduler, Snapshot } from 'agentinfer'

interface Job {
  id: number
  priority: number
  promptTokens: number
  known: number
  computed: number
  remaining: number
  started: boolean
  arrivedAt: number
  prefilledAtArrival: number
  /** Which prefix it shares, and how long that is. */
  family: number
  shared: number
  blocks: number
}

const blockSize = 16
const maxBatchTokens = 48
const maxSequences = 4

export class ServerModel {
  readonly log: string[] = []
  readonly #scheduler: Scheduler
  readonly #flood: boolean
  readonly #total: number
  readonly #jobs = new Map<number, Job>()
  /** Tokens of each family's prefix that are cached. Cached blocks take no room here: the worst case of hits that vanish is tested too. */
  readonly #cached = new Map<number, number>()
  readonly #ended = new Set<number>()
  #state: number
  #step = 0
  #prefilled = 0
  #next = 1
  #arrivals: number
  #deferred: number[] = []

  constructor(scheduler: Scheduler, seed: number, options: { flood?: boolean } = {}) {
    this.#scheduler = scheduler
    this.#state = seed * 2654435761
    this.#flood = options.flood ?? false
    this.#total = 24 + this.#random(24)
    this.#arrivals = this.#flood ? Infinity : 40
  }

  get unfinished(): number[] {
    return Array.from(this.#jobs.keys())
  }

  finished(id: number): boolean {
    return this.#ended.has(id)
  }

  run(steps: number): void {
    for (let i = 0; i < steps && (this.#arrivals > 0 || this.#jobs.size > 0); ++i) this.step()
  }

  submit(promptTokens: number, outputTokens: number): number {
    const id = this.#next++
    const family = this.#random(3)
    this.#jobs.set(id, {
      id, promptTokens, family, priority: this.#flood ? 0 : Number(this.#random(8) === 0), known: promptTokens, computed: 0,
      remaining: outputTokens, started: false, arrivedAt: this.#step, prefilledAtArrival: this.#prefilled,
      shared: Math.min(promptTokens - 1, this.#random(6) * blockSize), blocks: 0,
    })
    return id
  }

  step(): void {
    this.#arrive()
    const snapshot = this.#snapshot()
    const plan = this.#scheduler.plan(snapshot)
    this.#check(plan)
    this.log.push(JSON.stringify([plan.rows, plan.preempt, Array.from(plan.reasons)]))
    for (const id of plan.preempt) Object.assign(this.#jobs.get(id)!, { started: false, computed: 0, blocks: 0 })
    this.#deferred = []
    for (const { id, tokens } of plan.rows) this.#compute(this.#jobs.get(id)!, tokens)
    this.#step += 1
  }

  #arrive(): void {
    if (this.#flood) while (this.#jobs.size < 12) this.submit(8 + this.#random(24), 1 + this.#random(4))
    else if (this.#arrivals > 0 && this.#random(3) === 0) {
      this.#arrivals -= 1
      this.submit(1 + this.#random(this.#random(4) === 0 ? 300 : 60), 1 + this.#random(30))
    }
  }

  get #free(): number {
    let used = 0
    for (const job of this.#jobs.values()) used += job.blocks
    return this.#total - used
  }

  #hit(job: Job): number {
    return Math.min(job.shared, this.#cached.get(job.family) ?? 0)
  }

  #snapshot(): Snapshot {
    const requests = Array.from(this.#jobs.values(), (job) => {
      const hitTokens = this.#hit(job)
      const need = Math.ceil(job.known / blockSize)
      const probe = job.started ? undefined : { hitTokens, pinned: 0, evictable: 0, host: 0, need, group: job.family }
      const { family: _family, shared: _shared, blocks: _blocks, ...view } = job
      return { ...view, session: undefined, tenant: '', deadline: undefined, probe }
    })
    const free = this.#free
    return {
      now: this.#step, step: this.#step, requests, sessions: [], prefilled: this.#prefilled, deferred: this.#deferred,
      pool: { total: this.#total, free, cached: 0, used: this.#total - free, hostTotal: 0, hostFree: 0 },
      demand: { pinned: 0, evictable: 0, host: 0, fresh: 0 },
      limits: { maxBatchTokens, maxSequences, blockSize },
    }
  }

  #check(plan: Plan): void {
    const named = new Set([...plan.preempt, ...plan.rows.map((row) => row.id)])
    if (named.size !== plan.rows.length + plan.preempt.length) throw new Error('named twice')
    if (plan.rows.length > maxSequences) throw new Error('too many sequences')
    if (plan.rows.reduce((sum, row) => sum + row.tokens, 0) > maxBatchTokens) throw new Error('too many tokens')
    for (const { id, tokens } of plan.rows) {
      const { known, computed } = this.#jobs.get(id)!
      if (tokens < 1 || tokens > known - computed) throw new Error(`${tokens} tokens for ${id}, which lacks ${known - computed}`)
    }
    for (const id of plan.preempt) if (!this.#jobs.get(id)!.started) throw new Error(`${id} does not run`)
    if (plan.rows.length === 0 && this.#jobs.size > 0 && plan.preempt.length === 0) throw new Error('nothing is done though there is work')
    const decodes = Array.from(this.#jobs.values()).filter((job) => job.started && job.known - job.computed === 1)
    const missed = decodes.filter((job) => !named.has(job.id))
    if (missed.length > 0 && plan.rows.some(({ tokens }) => tokens > 1)) throw new Error('a prompt goes before a decode')
  }

  #compute(job: Job, tokens: number): void {
    const from = job.started ? job.computed : this.#hit(job)
    const to = Math.min(job.known, from + tokens)
    const more = Math.ceil(to / blockSize) - job.blocks
    if (more > this.#free) {
      if (job.started) this.#deferred.push(job.id)
      return
    }
    if (job.known - from > 1) this.#prefilled += to - from
    Object.assign(job, { started: true, computed: to, blocks: job.blocks + more })
    this.#cached.set(job.family, Math.max(this.#cached.get(job.family) ?? 0, Math.min(to, job.shared)))
    if (to < job.known) return
    job.known += 1
    job.remaining -= 1
    if (job.remaining > 0 && job.known < this.#total * blockSize) return
    this.#jobs.delete(job.id)
    this.#ended.add(job.id)
  }

  /** [0, below) */
  #random(below: number): number {
    this.#state = (Math.imul(this.#state, 1664525) + 1013904223) >>> 0
    return (this.#state >>> 8) % below
  }
}
