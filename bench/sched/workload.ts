/**
 * Workloads: what agents ask for, as data. A trace is generated from a seed or recorded from a real engine, and replayed on either. Figures
 * of the deep-research agents are those published for DeepDiver-V2 under AgentInfer (arXiv 2512.18337, sections 2 and 4, table 7):
 * 19.6 searches of 3.3 s, 6.9 crawls of 10.4 s and 6.5 document questions of 17.6 s per session, a planner with 5 to 6 parallel seekers,
 * search results half of a trajectory, contexts from below 4K to 128K. Output lengths are not published: 60 to 600 tokens per turn here.
 */
import { Random } from './random.js'

/** Tokens with a key are the same for everybody with the same keys before them. */
export interface Segment {
  readonly key: string
  readonly tokens: number
}

export interface Turn {
  /** Tokens appended to the context before the model speaks: the task, a tool's result. */
  readonly append: number
  readonly output: number
  /** What follows; undefined: nothing, the agent is done. */
  readonly tool?: { readonly name: string; readonly seconds: number }
  /** Agents that run meanwhile; the turn's tool is over when all of them are. */
  readonly spawn?: readonly AgentScript[]
}

export interface AgentScript {
  readonly role: string
  /** The start of its context, shared with others as far as keys agree. */
  readonly head: readonly Segment[]
  readonly turns: readonly Turn[]
}

export interface Task {
  readonly kind: string
  readonly tenant: string
  readonly priority: number
  /** Seconds; undefined: when one of the closed loop's places is free. */
  readonly at: number | undefined
  /** Its requests belong to sessions. */
  readonly session: boolean
  readonly root: AgentScript
}

export interface Trace {
  readonly name: string
  readonly seed: number
  /** Tasks without a time that run at once. */
  readonly places: number
  readonly tasks: readonly Task[]
}

export interface ResearchOptions {
  readonly tasks: number
  readonly places: number
  readonly tenants?: number
  /** Multiplies what searches and documents add to the context. */
  readonly scale?: number
}

const maxContext = 131072

/** Deep research: a planner sends out five or six seekers, reads what they found, and has a writer write it up. */
export function research(seed: number, options: ResearchOptions): Trace {
  const random = new Random(seed)
  const tasks = Array.from({ length: options.tasks }, (_, i) => researchTask(random, `r${i}`, `t${i % (options.tenants ?? 1)}`, options.scale ?? 1))
  return { name: 'research', seed, places: options.places, tasks }
}

function researchTask(random: Random, name: string, tenant: string, scale: number): Task {
  const query = random.integer(60, 300)
  const seekers = Array.from({ length: random.integer(5, 6) }, (_, i) => seeker(random, `${name}/${i}`, scale))
  // Competitive redundancy: now and then one sub-task is given to two seekers, who start from the same text.
  if (random.next() < 0.3) seekers[1] = { ...seekers[1]!, head: seekers[0]!.head }
  const found = seekers.length * random.integer(500, 900)
  const planner: AgentScript = {
    role: 'planner',
    head: [{ key: 'planner', tokens: 2600 }],
    turns: [
      { append: query, output: random.integer(300, 700), tool: { name: 'plan', seconds: 0.05 } },
      { append: 40, output: random.integer(300, 600), tool: { name: 'seekers', seconds: 0 }, spawn: seekers },
      { append: found, output: random.integer(200, 500), tool: { name: 'writer', seconds: 0 }, spawn: [writer(random, found)] },
      { append: 60, output: random.integer(40, 120) },
    ],
  }
  return { kind: 'research', tenant, priority: 0, at: undefined, session: true, root: planner }
}

function writer(random: Random, found: number): AgentScript {
  return {
    role: 'writer',
    head: [{ key: 'writer', tokens: 1800 }],
    turns: [
      { append: found * 3, output: random.integer(400, 800), tool: { name: 'file', seconds: 0.05 } },
      { append: 200, output: random.integer(1000, 2200) },
    ],
  }
}

/** think, search, crawl, ask documents, until done. Counts per seeker are the published ones per session over 5.5 seekers. */
function seeker(random: Random, name: string, scale: number): AgentScript {
  const turns: Turn[] = []
  const at = { context: 3400 + 400, append: random.integer(20, 120) }
  const add = (name_: string, seconds: number, result: number): void => {
    turns.push({ append: at.append, output: Math.round(Math.min(600, Math.max(60, random.lognormal(180, 0.6)))), tool: { name: name_, seconds } })
    at.append = Math.round(Math.min(result * scale, maxContext - at.context - 4096))
    at.context += at.append + 200
  }
  const searches = 1 + random.poisson(19.59 / 5.5 - 1)
  let crawls = random.poisson(6.86 / 5.5)
  let questions = random.poisson(6.47 / 5.5)
  for (let i = 0; i < searches && at.context < maxContext - 12000; ++i) {
    add('batch_web_search', random.lognormal(3.27, 0.5), random.lognormal(4600, 0.7))
    // Crawls and questions follow the searches they came from.
    if (crawls > 0 && (random.next() < 0.7 || i === searches - 1)) {
      crawls -= 1
      add('url_crawler', random.lognormal(10.37, 0.8), random.lognormal(1500, 0.9))
    }
    if (questions > 0 && (random.next() < 0.7 || i === searches - 1)) {
      questions -= 1
      add('document_qa', random.lognormal(17.55, 0.7), random.lognormal(1200, 0.6))
    }
    // The think tool only stores text.
    if (random.next() < 0.6) add('think', 0.01, 30)
  }
  for (; crawls > 0; --crawls) add('url_crawler', random.lognormal(10.37, 0.8), random.lognormal(1500, 0.9))
  for (; questions > 0; --questions) add('document_qa', random.lognormal(17.55, 0.7), random.lognormal(1200, 0.6))
  turns.push({ append: at.append, output: random.integer(400, 800) })
  return { role: 'seeker', head: [{ key: 'seeker', tokens: 3400 }, { key: `sub-task ${name}`, tokens: 400 }], turns }
}

export interface ChatOptions {
  readonly conversations: number
  /** Conversations begun per second. */
  readonly rate: number
  /** All at once every so many seconds instead of evenly. */
  readonly burst?: number
  readonly tenant?: string
  readonly priority?: number
}

/** People who chat: short turns, half a minute of reading in between. */
export function chat(seed: number, options: ChatOptions): Task[] {
  const random = new Random(seed ^ 0x51ab)
  let at = 0
  return Array.from({ length: options.conversations }, () => {
    at += random.exponential(1 / options.rate)
    const start = options.burst === undefined ? at : Math.floor(at / options.burst) * options.burst
    const count = random.integer(2, 8)
    const turns = Array.from({ length: count }, (_, i): Turn => {
      const turn = { append: random.integer(20, 250), output: Math.round(Math.min(1200, random.lognormal(220, 0.8))) + 1 }
      return i === count - 1 ? turn : { ...turn, tool: { name: 'person', seconds: random.lognormal(25, 0.8) } }
    })
    return {
      kind: 'chat', tenant: options.tenant ?? 'chat', priority: options.priority ?? 0, at: start, session: true,
      root: { role: 'chat', head: [{ key: 'chat', tokens: 700 }], turns },
    }
  })
}

/** Short unrelated requests, which rules that prefer short ones put before everything else. */
export function flood(seed: number, options: { rate: number; seconds: number; prompt: number; output: number; tenant?: string }): Task[] {
  const random = new Random(seed ^ 0xf100d)
  const tasks: Task[] = []
  for (let at = random.exponential(1 / options.rate); at < options.seconds; at += random.exponential(1 / options.rate))
    tasks.push({
      kind: 'flood', tenant: options.tenant ?? 'flood', priority: 0, at, session: false,
      root: { role: 'flood', head: [], turns: [{ append: Math.max(1, Math.round(random.lognormal(options.prompt, 0.4))), output: options.output }] },
    })
  return tasks
}

/** Single long questions without a session. */
export function longQuestions(seed: number, options: { count: number; every: number; tokens: number; tenant?: string }): Task[] {
  const random = new Random(seed ^ 0x1096)
  return Array.from({ length: options.count }, (_, i) => ({
    kind: 'long', tenant: options.tenant ?? 'long', priority: 0, at: (i + random.next()) * options.every, session: false,
    root: { role: 'long', head: [], turns: [{ append: Math.round(options.tokens * (0.7 + 0.6 * random.next())), output: 300 }] },
  }))
}

/** A few small agents, for engines that run on the machine at hand. */
export function smallAgents(seed: number, options: { readonly agents: number; readonly places: number; readonly tenants?: number }): Trace {
  const random = new Random(seed ^ 0x5a11)
  const tasks = Array.from({ length: options.agents }, (_, i): Task => {
    const count = random.integer(5, 9)
    const turns = Array.from({ length: count }, (__, turn): Turn => {
      const step = { append: random.integer(20, 70), output: random.integer(6, 14) }
      if (turn === count - 1) return step
      const search = random.next() < 0.75
      return { ...step, tool: { name: search ? 'search' : 'crawl', seconds: search ? random.lognormal(0.06, 0.4) : random.lognormal(0.25, 0.5) } }
    })
    return { kind: 'small', tenant: `t${i % (options.tenants ?? 1)}`, priority: 0, at: undefined, session: true, root: { role: 'small', head: smallHead, turns } }
  })
  return { name: 'small', seed, places: options.places, tasks }
}

export const smallHead: readonly Segment[] = [{ key: 'small', tokens: 64 }]

export function merge(name: string, ...parts: (Trace | readonly Task[])[]): Trace {
  const traces = parts.filter((part): part is Trace => !Array.isArray(part))
  const tasks = parts.flatMap((part) => (Array.isArray(part) ? (part as readonly Task[]) : (part as Trace).tasks))
  return { name, seed: traces[0]?.seed ?? 0, places: traces.reduce((sum, trace) => sum + trace.places, 0), tasks }
}
