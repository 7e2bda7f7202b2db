/**
 * Speculation: what building, memory and drafting cost; that it never slows text down in which nothing repeats; what it gives on an agent
 * trace, beside drafting as others do it; and that it does not delay the first token. Traces are teacher-forced: the model has random
 * weights, so its output is set to the trace, and a draft is accepted where the trace says the same.
 */
import type { DraftContext, Engine, GenerateOptions, SpeculationUsage } from 'agentinfer'

import { MergedThree, PromptLookup, SuffixCounts, SuffixTree } from '../draft/policies.js'
import type { DraftPolicy } from '../draft/policies.js'
import { agentTraces, randomText } from '../draft/trace.js'
import type { AgentTrace } from '../draft/trace.js'
import { hasSources, nativeBench } from '../native_bench.js'
import { modelOptions, option, parts } from '../options.js'
import { median } from '../report.js'
import type { Report } from '../report.js'
import { openTarget } from '../target.js'

export const description =
  'speculation: cost of automata, random text with and without, agent traces beside other ways of drafting (teacher-forced), first token'
const partNames = ['native', 'random', 'replay', 'first'] as const
export const options = {
  ...modelOptions('20m', 'cpu'),
  rounds: option('5', 'measured, of each part; one more warms up'),
  runs: option('3', 'of the replay'),
  agents: option('3', 'of a run of the replay'),
  turns: option('4', 'of an agent'),
  prompt: option('30000', 'tokens of the prompt whose first token is waited for'),
  only: option(partNames.join(','), 'parts to run'),
} as const

type Values = Record<keyof typeof options, string>

export async function run(report: Report, values: Values): Promise<void> {
  const wanted = parts('only', values.only, partNames)
  if (wanted.has('native') && hasSources()) {
    for (const row of await nativeBench(report, 'draft_bench', ['--runs', values.rounds])) report.add({ ...row, better: 'lower' })
  }
  if (wanted.has('random')) await randomRows(report, values)
  if (wanted.has('replay')) await replayRows(report, values)
  if (wanted.has('first')) await firstTokenRows(report, values)
}

function openEngine(report: Report, values: Values, model: string, maxContext: number): Promise<Engine> {
  return openTarget(report, { ...values, model }, { maxContext, kvTokens: Math.max(65536, 2 * maxContext) })
}

// ---------------------------------------------------------------------------------------------------------------- random text

const batches = [1, 8, 32]
/** Tokens of a prompt and of an output. */
const randomPrompt = 64
const randomTokens = 33

async function randomRows(report: Report, values: Values): Promise<void> {
  const engine = await openEngine(report, values, values.model, 2048)
  const { vocabSize } = engine.info.config
  let seed = 1
  const milliseconds = async (batch: number, speculation: 'auto' | 'off'): Promise<number> => {
    const requests = Array.from({ length: batch }, (): GenerateOptions => ({
      tokens: randomText(++seed, randomPrompt, vocabSize),
      maxTokens: randomTokens,
      ignoreEos: true,
      // The output is forced to be random too: that of random weights goes in circles.
      sampling: { temperature: 0, forced: randomText(++seed, randomTokens, vocabSize) },
      speculation,
    }))
    const responses = await Promise.all(requests.map((request) => engine.generate(request).response))
    return median(responses.map(({ timings }) => timings.decode))
  }
  for (const batch of batches) {
    const ratios: number[] = []
    const groups = 12 * Number(values.rounds)
    for (let group = -1; group < groups; ++group) {
      report.progress(`random text, batch ${batch}: group ${group + 1} of ${groups}`)
      // Without, with, with, without: short and close together, so that a machine that gets slower does so for both.
      const spent = { off: 0, auto: 0 }
      for (const speculation of ['off', 'auto', 'auto', 'off'] as const) spent[speculation] += await milliseconds(batch, speculation)
      if (group >= 0) ratios.push(spent.off / spent.auto)
    }
    report.addSamples({ name: `random text, batch ${batch}: throughput with speculation over without`, unit: 'x', target: 0.98 }, ratios)
  }
  await engine.close()
}

// ---------------------------------------------------------------------------------------------------------------- replay

/** What the sessions of a policy share. */
interface Library {
  /** Of sessions so far, by run. */
  readonly texts: Map<string, { run: string; text: number[] }>
  readonly answers: SuffixCounts
}

interface Mode {
  readonly name: string
  /** Which of the engine's sources; undefined: it drafts by `policy`, or not at all. */
  readonly sources?: readonly ('session' | 'sibling' | 'role' | 'retrieved')[]
  readonly policy?: (library: Library, agent: string, of: string) => DraftPolicy
}

const modes: readonly Mode[] = [
  { name: 'off' },
  { name: 'own context', sources: [] },
  { name: 'own + session', sources: ['session', 'sibling'] },
  { name: 'all sources', sources: ['session', 'sibling', 'role', 'retrieved'] },
  { name: 'n-gram lookup', policy: () => new PromptLookup() },
  { name: 'suffix tree', policy: ({ answers }) => new SuffixTree(answers) },
  {
    name: 'merged automaton, 3 tokens',
    policy: ({ texts }, agent, of) => {
      const others = Array.from(texts).filter(([name]) => name !== agent)
      // The run's, and the 8 latest of others.
      const near = others.filter(([, other]) => other.run === of)
      const far = others.filter(([, other]) => other.run !== of).slice(-8)
      return new MergedThree([...far, ...near].map(([, { text }]) => text))
    },
  },
]

interface Tally {
  tokens: number
  steps: number
  drafted: number
  accepted: number
  /** Milliseconds, without the time that a policy of the bench took to draft. */
  decode: number
}

/** An agent of a trace in one mode. */
class Replay {
  readonly #engine: Engine
  readonly #mode: Mode
  readonly #trace: AgentTrace
  readonly #name: string
  readonly #library: Library
  readonly #tally: Tally
  readonly #session
  #history: number[] = []
  #along: number[] = [0]

  constructor(engine: Engine, mode: Mode, tenant: string, trace: AgentTrace, name: string, library: Library, tally: Tally) {
    this.#engine = engine
    this.#mode = mode
    this.#trace = trace
    this.#name = name
    this.#library = library
    this.#tally = tally
    this.#session = this.#engine.session({ tenant, run: trace.run, role: 'agent' })
  }

  async turn(index: number): Promise<void> {
    const { said, observed } = this.#trace.rounds[index]!
    if (index === 0) await this.#read(this.#trace.prompt)
    // What a policy may use was built before the turn, as the engine's is beside the prefill.
    let policyTime = 0
    const speculation = this.#speculation((milliseconds) => (policyTime += milliseconds))
    const response = await this.#session.generate({
      maxTokens: said.length,
      ignoreEos: true,
      sampling: { temperature: 0, forced: [...said] },
      speculation,
    }).response
    if (response.tokens.length !== said.length) throw new Error(`the replay said ${response.tokens.length} of ${said.length} tokens`)
    this.#count(response.speculation, response.tokens.length, response.timings.decode - policyTime)
    this.#history.push(...said)
    for (const token of said) this.#along = this.#library.answers.add(this.#along, token)
    await this.#read(observed)
    this.#library.texts.set(this.#name, { run: this.#trace.run, text: this.#history })
  }

  async #read(tokens: readonly number[]): Promise<void> {
    this.#history.push(...tokens)
    await this.#session.append({ tokens: [...tokens] })
  }

  #speculation(took: (milliseconds: number) => void): NonNullable<GenerateOptions['speculation']> {
    const { sources, policy } = this.#mode
    if (sources !== undefined) return { sources: [...sources], query: this.#trace.query }
    if (policy === undefined) return 'off'
    const drafter = policy(this.#library, this.#name, this.#trace.run)
    drafter.read(this.#history)
    let seen = 0
    return {
      sources: [],
      drafter: ({ output }: DraftContext) => {
        const start = performance.now()
        drafter.read(output.slice(seen))
        seen = output.length
        const draft = drafter.draft()
        took(performance.now() - start)
        return draft
      },
    }
  }

  #count({ drafted, accepted, ote }: SpeculationUsage, tokens: number, decode: number): void {
    const tally = this.#tally
    tally.tokens += tokens - 1
    tally.steps += Math.round((tokens - 1) / ote)
    tally.drafted += drafted
    tally.accepted += accepted
    tally.decode += decode
  }
}

async function replayRows(report: Report, values: Values): Promise<void> {
  const [runs, agents, turns] = [Number(values.runs), Number(values.agents), Number(values.turns)]
  const engine = await openEngine(report, values, values.model, 16384)
  const { vocabSize } = engine.info.config
  for (const batch of new Set([1, agents])) {
    const traces = agentTraces({ seed: 7, runs, agents, rounds: turns, vocabulary: vocabSize })
    const tallies = modes.map((): Tally => ({ tokens: 0, steps: 0, drafted: 0, accepted: 0, decode: 0 }))
    const libraries = modes.map((): Library => ({ texts: new Map(), answers: new SuffixCounts() }))
    let order = 0
    for (let at = 0; at < runs; ++at) {
      const replays = modes.map((mode, m) =>
        traces
          .slice(at * agents, (at + 1) * agents)
          .map((trace, i) => new Replay(engine, mode, `${mode.name}, batch ${batch}`, trace, `${at}.${i}`, libraries[m]!, tallies[m]!)),
      )
      for (let turn = 0; turn < turns; ++turn) {
        // The modes take turns, each time another first.
        for (let m = 0; m < modes.length; ++m) {
          const of = replays[(m + order) % modes.length]!
          report.progress(`replay, batch ${batch}: run ${at + 1} of ${runs}, turn ${turn + 1} of ${turns}`)
          if (batch === 1) for (const replay of of) await replay.turn(turn)
          else await Promise.all(of.map((replay) => replay.turn(turn)))
        }
        order += 1
      }
    }
    addReplay(report, batch, tallies)
  }
  await engine.close()
}

function addReplay(report: Report, batch: number, tallies: readonly Tally[]): void {
  const off = tallies[0]!
  const perToken = (tally: Tally): number => tally.decode / tally.tokens
  const ote = ({ tokens, steps }: Tally): number => tokens / steps
  const shr = ({ drafted, accepted }: Tally): number => (drafted === 0 ? 0 : accepted / drafted)
  const others = modes.flatMap(({ policy }, m) => (policy === undefined ? [] : [tallies[m]!]))
  for (const [m, { name }] of modes.entries()) {
    const tally = tallies[m]!
    const row = (what: string): string => `replay (teacher-forced), batch ${batch}, ${name}: ${what}`
    // Ours is to be no worse than any other way of drafting.
    const best = (of: (tally: Tally) => number): object => (name === 'all sources' ? { target: Math.max(...others.map(of)) } : {})
    report.add({ name: row('OTE'), value: ote(tally), unit: 'tokens/forward', ...best(ote) })
    if (tally.drafted > 0) report.add({ name: row('SHR'), value: shr(tally), unit: '', ...best(shr) })
    report.add({
      name: row('decode'),
      value: perToken(tally),
      unit: 'ms/token',
      better: 'lower',
      note: `${(perToken(off) / perToken(tally)).toFixed(2)}x of off`,
      ...(name === 'all sources' && { target: Math.min(...others.map(perToken), perToken(off)) }),
    })
  }
}

// ---------------------------------------------------------------------------------------------------------------- first token

async function firstTokenRows(report: Report, values: Values): Promise<void> {
  const tokens = Number(values.prompt)
  const engine = await openEngine(report, values, 'tiny', tokens + 64)
  const { vocabSize } = engine.info.config
  const rounds = Number(values.rounds)
  let seed = 1000
  const milliseconds = async (speculation: 'auto' | 'off'): Promise<number> => {
    // A repetitive prompt of its own each time, so that there is something to build and nothing cached.
    const page = randomText(++seed, 500, vocabSize)
    const prompt = Array.from({ length: tokens }, (_, i) => page[(i + Math.floor(i / 500) * 7) % 500]!)
    const own = speculation === 'off' ? speculation : { query: `prompt ${seed}`, role: 'reader' }
    const { timings } = await engine.generate({ tokens: prompt, maxTokens: 2, ignoreEos: true, sampling: { temperature: 0 }, speculation: own }).response
    return timings.prefill
  }
  const ratios: number[] = []
  for (let round = -1; round < rounds; ++round) {
    report.progress(`first token of ${tokens}: round ${round + 1} of ${rounds}`)
    // As for random text.
    const spent = { off: 0, auto: 0 }
    for (const speculation of ['off', 'auto', 'auto', 'off'] as const) spent[speculation] += await milliseconds(speculation)
    if (round >= 0) ratios.push(spent.auto / spent.off)
  }
  report.addSamples({ name: `time to first token, prompt of ${tokens}: with speculation over without`, unit: 'x', target: 1.03, better: 'lower' }, ratios)
  await engine.close()
}
