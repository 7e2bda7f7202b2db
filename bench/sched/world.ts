/** Agents, tools and engines in simulated time. */
import type { Scheduler, SessionActivity } from 'agentinfer'
import { Contents, Context } from './context.js'
import { planSeconds, SimEngine } from './engine.js'
import type { EngineSpec, RequestRecord, SimRequest } from './engine.js'
import type { AgentScript, Task, Trace, Turn } from './workload.js'

export interface WorldOptions {
  readonly engines: number
  readonly spec: EngineSpec
  readonly scheduler: () => Scheduler
  /** Eviction knows when each session comes back (Belady's rule): the offline bound. */
  readonly oracle?: boolean
  /** Check every invariant after each step; slow. */
  readonly check?: boolean
  /** Seconds after which the run is given up. */
  readonly limit?: number
}

export interface TaskRecord {
  readonly kind: string
  readonly tenant: string
  readonly startedAt: number
  readonly endedAt: number
}

export interface Outcome {
  readonly requests: readonly RequestRecord[]
  readonly tasks: readonly TaskRecord[]
  readonly engines: readonly SimEngine[]
  readonly seconds: number
}

interface Agent {
  readonly task: RunningTask
  readonly script: AgentScript
  readonly session: number
  readonly context: Context
  readonly engine: number
  readonly parent: Agent | undefined
  turn: number
  /** Agents it waits for. */
  children: number
  /** When its next request arrives; Infinity while unknown. */
  next: number
}

interface RunningTask {
  readonly task: Task
  /** Of tasks of several agents. */
  readonly run: string | undefined
  readonly startedAt: number
  readonly engine: number
}

interface Event {
  readonly at: number
  readonly order: number
  readonly run: () => void
}

export class World {
  readonly #options: WorldOptions
  readonly #trace: Trace
  readonly #engines: SimEngine[]
  readonly #contents = new Contents()
  readonly #events: Event[] = []
  readonly #busy: boolean[]
  /** Per engine: times of arrivals to come that are known. */
  readonly #arrivals: number[][]
  readonly #agents = new Map<number, Agent>()
  readonly #load: number[]
  readonly #requests: RequestRecord[] = []
  readonly #tasks: TaskRecord[] = []
  readonly #closed: Task[]
  readonly #timed: boolean
  readonly #owner = new Map<number, Agent>()
  #now = 0
  #order = 0
  #ids = 0

  constructor(trace: Trace, options: WorldOptions) {
    this.#trace = trace
    this.#options = options
    this.#engines = Array.from({ length: options.engines }, () => new SimEngine(options.spec, options.scheduler()))
    this.#busy = this.#engines.map(() => false)
    this.#arrivals = this.#engines.map(() => [])
    this.#load = this.#engines.map(() => 0)
    this.#closed = trace.tasks.filter((task) => task.at === undefined)
    this.#timed = this.#closed.length < trace.tasks.length
    if (options.oracle === true)
      for (const engine of this.#engines)
        engine.pool.nextUse = (owner) => this.#agents.get(owner)?.next ?? Infinity
  }

  run(): Outcome {
    for (const task of this.#trace.tasks) if (task.at !== undefined) this.#at(task.at, () => this.#begin(task))
    // Places open one after another, as users come.
    for (let i = 0; i < this.#trace.places; ++i) this.#at(i * 0.5, () => this.#beginNext())
    const limit = this.#options.limit ?? 1e6
    for (let event = this.#pop(); event !== undefined && event.at < limit; event = this.#pop()) {
      this.#now = event.at
      event.run()
    }
    const stuck = this.#engines.reduce((sum, engine) => sum + engine.requests.size, 0)
    if (stuck > 0) throw new Error(`${this.#engines[0]!.scheduler.name} left ${stuck} requests behind at ${this.#now.toFixed(0)} s`)
    return { requests: this.#requests, tasks: this.#tasks, engines: this.#engines, seconds: this.#now }
  }

  // ---- tasks and agents

  #beginNext(): void {
    const task = this.#closed.shift()
    if (task !== undefined) this.#begin(task)
  }

  /** All agents of a task stay on one engine: the one with the fewest of them. */
  #begin(task: Task): void {
    let engine = 0
    for (let i = 1; i < this.#load.length; ++i) if (this.#load[i]! < this.#load[engine]!) engine = i
    this.#load[engine]! += 1
    const run = task.root.turns.some(({ spawn }) => spawn !== undefined) ? `run ${this.#ids++}` : undefined
    this.#agent({ task, run, startedAt: this.#now, engine }, task.root, undefined)
  }

  #agent(task: RunningTask, script: AgentScript, parent: Agent | undefined): void {
    const session = this.#ids++
    const context = new Context(this.#contents, this.#options.spec.blockSize, script.head)
    const agent: Agent = { task, script, session, context, engine: task.engine, parent, turn: 0, children: 0, next: this.#now }
    this.#agents.set(session, agent)
    if (task.task.session) {
      this.#engines[agent.engine]!.contexts.set(session, context)
      this.#activity(agent, { kind: 'idle' })
    }
    this.#ask(agent)
  }

  #activity(agent: Agent, activity: SessionActivity): void {
    if (!agent.task.task.session) return
    const engine = this.#engines[agent.engine]!
    engine.session({ id: agent.session, tenant: agent.task.task.tenant, run: agent.task.run, tokens: agent.context.length, activity, since: this.#now })
  }

  #ask(agent: Agent): void {
    const { task } = agent.task
    const engine = this.#engines[agent.engine]!
    const turn = agent.script.turns[agent.turn]!
    const before = agent.turn === 0 ? 0 : agent.context.length
    agent.context.grow(turn.append)
    agent.next = this.#now
    const record: RequestRecord = {
      kind: `${task.kind}/${agent.script.role}`, tenant: task.tenant, arrivedAt: this.#now, promptTokens: agent.context.length,
      newTokens: agent.context.length - before, outputTokens: turn.output,
      startedAt: NaN, firstTokenAt: NaN, endedAt: NaN, cachedTokens: 0,
    }
    this.#requests.push(record)
    this.#activity(agent, { kind: 'running' })
    const request: SimRequest = {
      id: this.#ids++, session: task.session ? agent.session : undefined, tenant: task.tenant, priority: task.priority, context: agent.context,
      record, promptTokens: record.promptTokens, known: record.promptTokens, computed: 0, remaining: turn.output, started: false, arrivedAt: this.#now,
      prefilledAtArrival: engine.prefilled, deadline: undefined, probe: undefined, pinned: 0, own: 0, match: undefined, matchVersion: -1,
    }
    this.#owner.set(request.id, agent)
    engine.add(request)
    if (!this.#busy[agent.engine]!) this.#step(agent.engine)
  }

  #ended(request: SimRequest): void {
    const agent = this.#owner.get(request.id)!
    this.#owner.delete(request.id)
    const turn = agent.script.turns[agent.turn]!
    agent.turn += 1
    agent.next = Infinity
    if (turn.tool === undefined) return this.#done(agent)
    this.#activity(agent, { kind: 'tool', tool: turn.tool.name })
    if (turn.spawn === undefined || turn.spawn.length === 0) return this.#tool(agent, turn)
    agent.children = turn.spawn.length
    for (const script of turn.spawn) this.#agent(agent.task, script, agent)
  }

  #tool(agent: Agent, turn: Turn): void {
    agent.next = this.#now + turn.tool!.seconds
    const arrivals = this.#arrivals[agent.engine]!
    arrivals.push(agent.next)
    const at = agent.next
    this.#at(at, () => {
      arrivals.splice(arrivals.indexOf(at), 1)
      this.#ask(agent)
    })
  }

  #done(agent: Agent): void {
    this.#agents.delete(agent.session)
    if (agent.task.task.session) this.#engines[agent.engine]!.close(agent.session)
    const { parent } = agent
    if (parent !== undefined) {
      parent.children -= 1
      if (parent.children === 0) this.#ask(parent)
      return
    }
    const { task, startedAt, engine } = agent.task
    this.#load[engine]! -= 1
    this.#tasks.push({ kind: task.kind, tenant: task.tenant, startedAt, endedAt: this.#now })
    if (task.at === undefined) this.#beginNext()
  }

  // ---- engines

  #step(index: number): void {
    const engine = this.#engines[index]!
    if (engine.requests.size === 0) return
    const next = this.#engines.length === 1 ? (this.#events[0]?.at ?? Infinity) : this.#nextArrival(index)
    const result = engine.step(this.#now, next === Infinity ? this.#now + 60 : next)
    if (this.#options.check === true) engine.check()
    if (result === undefined) {
      // Nothing could run: only possible while a scheduler makes up its mind. Time passes.
      this.#busy[index] = true
      this.#at(this.#now + planSeconds, () => {
        this.#busy[index] = false
        this.#step(index)
      })
      return
    }
    this.#busy[index] = true
    this.#at(this.#now + result.seconds, () => {
      // Still busy while its agents go on, so that what they ask now shares the next step.
      for (const request of result.ended) this.#ended(request)
      this.#busy[index] = false
      this.#step(index)
    })
  }

  #nextArrival(index: number): number {
    // Tasks with a time may go to any engine.
    let next = this.#timed ? (this.#events[0]?.at ?? Infinity) : Infinity
    for (const at of this.#arrivals[index]!) if (at < next) next = at
    return next
  }

  // ---- time

  #at(at: number, run: () => void): void {
    const events = this.#events
    const event = { at, order: this.#order++, run }
    let i = events.length
    events.push(event)
    while (i > 0) {
      const parent = (i - 1) >> 1
      if (!earlier(event, events[parent]!)) break
      events[i] = events[parent]!
      i = parent
    }
    events[i] = event
  }

  #pop(): Event | undefined {
    const events = this.#events
    const top = events[0]
    const last = events.pop()
    if (top === undefined || last === undefined || events.length === 0) return top
    let i = 0
    for (;;) {
      let child = 2 * i + 1
      if (child >= events.length) break
      if (child + 1 < events.length && earlier(events[child + 1]!, events[child]!)) child += 1
      if (!earlier(events[child]!, last)) break
      events[i] = events[child]!
      i = child
    }
    events[i] = last
    return top
  }
}

function earlier(a: Event, b: Event): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order)
}
