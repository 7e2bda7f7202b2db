/** Agents that do again what a trace says they did: through real engines by teacher forcing, with tools that give what theirs gave. */
import { readFileSync } from 'node:fs'

import { z } from 'zod'

import { Agent, AgentInferError, defineTool } from 'agentinfer'
import type { AgentEvent, AgentOptions, Engine, RunRecord, Tool } from 'agentinfer'

import { Script, forcedEngine } from './forced_engine.js'

/** What an agent did: its turns as they were written, and what its tools gave, in order. */
export interface Trace {
  readonly question: string
  readonly turns: readonly string[]
  readonly values: readonly unknown[]
}

function random(seed: number): () => number {
  let state = seed
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 32
  }
}

/** Sizes of a generated trace. */
export interface TraceShape {
  /** Words of a page, of a thought before a call. */
  readonly page?: number
  readonly thought?: number
  /** Results of a search. */
  readonly results?: number
}

/**
 * Shaped like deep research (arXiv 2512.18337, sections 2 and 4): searches and opened pages in turn, more than half of the text from
 * tools, a thought before each call.
 */
export function madeTrace(turns: number, seed: number, shape: TraceShape = {}): Trace {
  const { page = 150, thought = 12, results = 10 } = shape
  const draw = random(seed)
  const words = 'harbour island record archive letter council railway bridge museum painter voyage garden treaty'.split(' ')
  const say = (count: number): string => Array.from({ length: count }, () => words[Math.floor(draw() * words.length)]!).join(' ')
  const texts: string[] = []
  const values: unknown[] = []
  for (let turn = 0; turn < turns; ++turn) {
    const search = turn % 2 === 0
    const call = search ? { name: 'search', arguments: { query: say(3) } } : { name: 'open', arguments: { url: `w:${seed}/${turn}` } }
    texts.push(`[unused16]${say(thought)}.[unused17][unused11]${JSON.stringify([call])}[unused12]`)
    const result = (index: number): object => ({
      title: `${index % 3 === 0 ? 'The tower of Orrin,' : 'Offer:'} ${say(3)}`, snippet: say(8), url: `w:${seed}/${turn}/${index}`,
    })
    values.push(search ? Array.from({ length: results }, (_, index) => result(index)) : `The page ${turn}. ${say(page)}.`)
  }
  return { question: 'Which engineer built the tower of Orrin, and in which winter?', turns: [...texts, say(30)], values }
}

/** @throws {AgentInferError} for a file that has no run. */
export function recordedTrace(file: string): Trace {
  try {
    return traceOf(JSON.parse(readFileSync(file, 'utf8')) as RunRecord)
  } catch (cause) {
    throw new AgentInferError('ERR_INVALID_ARGUMENT', `--trace: expected a saved run (RunRecord as JSON), got '${file}': ${(cause as Error).message}`, { cause })
  }
}

export function traceOf(record: RunRecord): Trace {
  const { steps } = record.transcript
  const raws = new Map<number, string>()
  for (const step of steps) if ('raw' in step) raws.set(step.turn, (raws.get(step.turn) ?? '') + step.raw)
  const full = new Map(record.archive.map(({ id, text }) => [id, text]))
  const values = steps.flatMap((step) => (step.kind === 'observation' ? [full.get(step.ref ?? '') ?? step.text] : []))
  const query = steps.find((step) => step.kind === 'query')
  return { question: query?.text ?? '', turns: [...raws.values()], values }
}

/**
 * Tokens of a run of it at its end. The small vocabulary of the random checkpoints makes a token of one and a half characters; the system
 * turn is counted too.
 */
export function roughTokens({ turns, values }: Trace): number {
  return 400 + Math.ceil((turns.join('').length + values.map((value) => JSON.stringify(value)).join('').length) / 1.5)
}

/** How long a tool takes: milliseconds, or until something has happened. */
export type Latency = number | (() => Promise<unknown>)

/** Tools that give what the trace says, whatever they are asked. */
export function toolsOf(trace: Trace, latency: Latency): Tool[] {
  let next = 0
  const give = async (): Promise<unknown> => {
    const value = trace.values[next++] ?? 'nothing'
    if (typeof latency === 'function') await latency()
    else if (latency > 0) await new Promise((resolve) => setTimeout(resolve, latency))
    return value
  }
  const parameters = z.looseObject({})
  const names = new Set([...trace.turns.join('').matchAll(/"name": ?"([\w.-]+)"/g)].map(([, name]) => name!))
  names.delete('recall')
  return [...names].map((name) => defineTool({ name, description: `the ${name} of the trace`, parameters, run: give }))
}

export interface Engines {
  readonly small: Engine
  readonly large: Engine
}

export interface Measured {
  readonly seconds: number
  readonly turns: number
  /** Over all generations: read anew, found in the cache, generated. */
  readonly computed: number
  readonly cached: number
  readonly generated: number
  /** Of the last turn's prompt. */
  readonly context: number
  /** Turns that the large model wrote. */
  readonly largeTurns: number
  readonly swaps: number
  readonly events: readonly AgentEvent[]
}

export async function runTrace(trace: Trace, engines: Partial<Engines>, latency: Latency, more: Partial<AgentOptions>): Promise<Measured> {
  const script = new Script(trace.turns)
  const models = {
    ...(engines.small && { small: forcedEngine(engines.small, script) }),
    ...(engines.large && { large: forcedEngine(engines.large, script) }),
  }
  const agent = new Agent({ models, tools: toolsOf(trace, latency), instructions: 'You find things out.', limits: { turns: 500 }, ...more })
  const started = performance.now()
  const events: AgentEvent[] = []
  for await (const event of agent.run(trace.question)) if (event.type !== 'delta') events.push(event)
  const seconds = (performance.now() - started) / 1000
  const usage = events.filter((event) => event.type === 'usage')
  const sum = (of: (one: (typeof usage)[number]) => number): number => usage.reduce((total, one) => total + of(one), 0)
  return {
    seconds,
    turns: events.filter(({ type }) => type === 'turn').length,
    computed: sum((one) => one.promptTokens - one.cachedTokens),
    cached: sum((one) => one.cachedTokens),
    generated: sum((one) => one.completionTokens),
    context: usage.findLast(({ purpose }) => purpose === 'turn')?.promptTokens ?? 0,
    largeTurns: events.filter((event) => event.type === 'turn' && event.model === 'large').length,
    swaps: events.filter((event) => event.type === 'compress' && event.phase === 'swap').length,
    events,
  }
}
