/**
 * A trace of what a real engine was asked, taken where a scheduler stands: it sees every request and session, and nothing else is needed.
 * Tokens themselves are not seen, so what sessions share at their start must be told.
 */
import type { Plan, PolicyPoint, RequestView, Scheduler, Snapshot } from 'agentinfer'

import type { MeasuredCosts } from './costs.js'
import type { Segment, Task, Trace, Turn } from './workload.js'

interface RecordedRequest {
  readonly arrivedAt: number
  readonly prompt: number
  /** Tokens when last seen, and those it might still get: what came with its last step is in no snapshot. */
  known: number
  remaining: number
  endedAt: number
  /** What its session did afterwards. */
  after: string
}

interface RecordedAgent {
  readonly session: boolean
  readonly tenant: string
  readonly priority: number
  readonly head: readonly Segment[]
  readonly requests: RecordedRequest[]
}

interface Step {
  readonly seconds: number
  readonly rows: number
}

export interface RecorderOptions {
  /** What the first prompt of an agent has in common with others'. */
  readonly head?: (request: RequestView) => readonly Segment[]
}

/** Wraps the scheduler that decides. */
export class Recorder implements Scheduler {
  readonly name: string
  readonly wants: { readonly probes?: boolean; readonly demand?: boolean }
  readonly #inner: Scheduler
  readonly #options: RecorderOptions
  readonly #agents = new Map<string, RecordedAgent>()
  readonly #live = new Map<number, RecordedRequest>()
  readonly #steps: Step[] = []
  #last: { now: number; step: number; rows: number } | undefined
  #start: number | undefined

  constructor(inner: Scheduler, options: RecorderOptions = {}) {
    this.#inner = inner
    this.#options = options
    this.name = inner.name
    this.wants = inner.wants ?? {}
  }

  plan(snapshot: Snapshot): Plan {
    this.#see(snapshot)
    const plan = this.#inner.plan(snapshot)
    this.#time(snapshot, plan)
    return plan
  }

  history(): readonly PolicyPoint[] {
    return this.#inner.history?.() ?? []
  }

  /** Of an engine that is idle again, and of requests that were not cut short. Times count from the first arrival. */
  trace(name: string): Trace {
    return { name, seed: 0, places: 0, tasks: Array.from(this.#agents.values(), (agent) => taskOf(agent, this.#start ?? 0)) }
  }

  /** Seconds: least squares over steps that followed each other at once. */
  costs(): MeasuredCosts {
    return fit(this.#steps)
  }

  #see({ now, requests, sessions }: Snapshot): void {
    const present = new Set<number>()
    for (const view of requests) {
      present.add(view.id)
      const live = this.#live.get(view.id) ?? this.#arrived(view)
      live.known = view.known
      live.remaining = view.remaining
    }
    for (const [id, request] of this.#live) {
      if (present.has(id)) continue
      request.endedAt = now
      this.#live.delete(id)
    }
    for (const { id, activity, since } of sessions) {
      if (activity.kind === 'running') continue
      const last = this.#agents.get(`s${id}`)?.requests.at(-1)
      if (last === undefined || since < last.arrivedAt) continue
      last.after = activity.kind === 'tool' ? activity.tool : activity.kind
      last.endedAt = Math.min(last.endedAt, since)
    }
  }

  #arrived(view: RequestView): RecordedRequest {
    this.#start ??= view.arrivedAt
    const key = view.session === undefined ? `r${view.id}` : `s${view.session}`
    let agent = this.#agents.get(key)
    if (agent === undefined) {
      const { tenant, priority } = view
      agent = { session: view.session !== undefined, tenant, priority, head: this.#options.head?.(view) ?? [], requests: [] }
      this.#agents.set(key, agent)
    }
    const request = { arrivedAt: view.arrivedAt, prompt: view.promptTokens, known: view.known, remaining: view.remaining, endedAt: Infinity, after: 'idle' }
    agent.requests.push(request)
    this.#live.set(view.id, request)
    return request
  }

  #time({ now, step, requests }: Snapshot, { rows }: Plan): void {
    const last = this.#last
    if (last !== undefined && last.rows > 0 && step === last.step + 1) this.#steps.push({ seconds: now - last.now, rows: last.rows })
    const byId = new Map(requests.map((request) => [request.id, request]))
    let count = 0
    for (const { id, tokens } of rows) {
      const { computed, known, started, probe } = byId.get(id)!
      const from = started ? computed : (probe?.hitTokens ?? 0)
      count += Math.min(tokens, known - from)
    }
    this.#last = { now, step, rows: count }
  }
}

const endOf = ({ known, remaining }: RecordedRequest): number => known + remaining

function taskOf({ session, tenant, priority, head, requests }: RecordedAgent, start: number): Task {
  const shared = head.reduce((sum, { tokens }) => sum + tokens, 0)
  const turns = requests.map((request, i): Turn => {
    const before = i === 0 ? shared : endOf(requests[i - 1]!)
    const next = requests[i + 1]
    const turn = { append: Math.max(0, request.prompt - before), output: Math.max(1, endOf(request) - request.prompt) }
    if (next === undefined) return turn
    const endedAt = Math.min(request.endedAt, next.arrivedAt)
    return { ...turn, tool: { name: request.after, seconds: next.arrivedAt - endedAt } }
  })
  return { kind: 'recorded', tenant, priority, at: requests[0]!.arrivedAt - start, session, root: { role: 'recorded', head, turns } }
}

/** seconds = step + row · rows, nothing negative. On the whole the steps take as long as they took. */
function fit(steps: readonly Step[]): MeasuredCosts {
  if (steps.length < 20) throw new Error(`too few steps to tell what they cost: ${steps.length}`)
  const mean = (of: (step: Step) => number): number => steps.reduce((sum, step) => sum + of(step), 0) / steps.length
  const time = mean(({ seconds }) => seconds)
  const rows = mean((step) => step.rows)
  const covariance = mean((step) => (step.rows - rows) * (step.seconds - time))
  const row = Math.min(time / rows, Math.max(0, covariance / Math.max(1e-9, mean((step) => (step.rows - rows) ** 2))))
  const step = time - row * rows
  return { step, row, residuals: steps.map((one) => one.seconds - step - row * one.rows) }
}
