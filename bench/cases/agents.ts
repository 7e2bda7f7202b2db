/**
 * The agent layer: what it costs per turn, what a change of model costs with and without warm KV, what each part gains, by itself and
 * among the others, and compression by no rule, the paper's and ours, on generated traces of the length of deep research and on runs of
 * trained models that are recorded on the spot. Turns write what the trace says, by teacher forcing through real engines with random
 * weights; questions on the side (verdicts, memories) are answered by the weights themselves.
 */
import { Agent, Engine } from 'agentinfer'
import type { AgentCollabOptions, AgentOptions, EngineOptions, RouteName } from 'agentinfer'

import { compression } from '../agent_compression.js'
import { eachPart } from '../agent_parts.js'
import { canRecord, recordTraces } from '../agent_records.js'
import { madeTrace, recordedTrace, runTrace, toolsOf } from '../agent_traces.js'
import type { Engines, Trace } from '../agent_traces.js'
import { Script, forcedEngine } from '../forced_engine.js'
import { modelFolder } from '../model_shapes.js'
import { nullEngine } from '../null_engine.js'
import { modelOptions, option, parts, wrongOption } from '../options.js'
import { median } from '../report.js'
import type { Report } from '../report.js'
import { describeModel } from '../target.js'

export const description = 'agent layer: overhead per turn, switches with and without warm KV, what each part gains, compression on long and on recorded traces'
const partNames = ['overhead', 'switch', 'route', 'filter', 'parts', 'compress', 'recorded'] as const
type PartName = (typeof partNames)[number]
const rooms = ['plenty', 'scarce'] as const

export const options = {
  ...modelOptions('20m', 'cpu'),
  small: option('tiny', 'the small model: a folder, or a shape with random weights'),
  only: option('', `some of ${partNames.join(',')}; default: all`),
  rounds: option('2', 'measured; switch, route and overhead have one more that warms up'),
  latency: option('150', 'milliseconds a tool takes', 0),
  turns: option('8', 'of switch, route and filter'),
  agents: option('2', 'of parts, compress and recorded: agents at once'),
  short: option('9', 'of parts: turns of the traces'),
  long: option('18', 'of compress: turns of the traces'),
  page: option('100', 'of parts and compress: words of a page'),
  thought: option('12', 'of parts and compress: words of a thought'),
  questions: option('3', 'of recorded: questions that make one trace'),
  room: option(rooms.join(','), 'of compress: KV for all that agents hold, for half of it, or both; recorded: the first of them'),
  seed: option('0', 'of generated and recorded traces', 0),
  trace: option('', 'of recorded: a saved run (RunRecord as JSON) in place of those that are recorded on the spot'),
} as const

type Values = Record<keyof typeof options, string>

/** Processor time of this process, milliseconds; whatever else the machine does is not in it. */
async function busy(work: () => Promise<unknown>): Promise<number> {
  const before = process.cpuUsage()
  await work()
  const { user, system } = process.cpuUsage(before)
  return (user + system) / 1000
}

/** 8 agents at once with everything switched on, on engines that compute nothing. Before any real engine is open. */
async function overhead(report: Report, rounds: number): Promise<void> {
  const [agents, length] = [8, 100]
  const kinds = {
    'agent layer alone': { compress: false, collab: { route: 'small' } },
    'with routing, filter and compression': { compress: { history: { rule: 'paper', threshold: 20_000 } } },
  } as const satisfies Record<string, Partial<AgentOptions>>
  for (const [name, kind] of Object.entries(kinds)) {
    const samples: number[] = []
    for (let round = -1; round < rounds; ++round) {
      report.progress(`${name}, round ${round + 1}`)
      const work = Array.from({ length: agents }, (_, index) => {
        const trace = madeTrace(length, 1000 + index)
        let next = 0
        const engine = nullEngine(() => trace.turns[next++] ?? 'done')
        const agent = new Agent({ models: { small: engine, large: engine }, tools: toolsOf(trace, 0), limits: { turns: 1000 }, ...kind })
        return () => agent.run(trace.question).result
      })
      const milliseconds = await busy(() => Promise.all(work.map((begin) => begin())))
      if (round >= 0) samples.push(milliseconds / (agents * length))
    }
    report.addSamples({ name: `${name}, per turn`, unit: 'ms', target: 2, better: 'lower', note: `processor time, ${agents} agents of ${length} turns` }, samples)
  }
}

/** Template and tokenizer: what a session does with a turn's messages. */
async function appending(report: Report, engine: Engine, rounds: number): Promise<void> {
  const length = 50
  const samples: number[] = []
  for (let round = -1; round < rounds; ++round) {
    const session = forcedEngine(engine, new Script([])).session({ messages: [{ role: 'system', content: 'You find things out.' }] })
    const milliseconds = await busy(async () => {
      for (let turn = 0; turn < length; ++turn) {
        await session.append([{ role: 'assistant', content: `[unused16]thought ${turn}[unused17]` }])
        await session.append([{ role: 'tool', content: `result ${turn} `.repeat(60) }])
      }
    })
    session.release()
    if (round >= 0) samples.push(milliseconds / length)
  }
  report.addSamples({ name: "a session's template and tokenizer, per turn", unit: 'ms', note: `processor time, mean of ${length} turns` }, samples)
}

/** Ends when the engine has had nothing to do for a while. */
async function idle(engine: Engine): Promise<void> {
  for (let calm = 0; calm < 3; ++calm) {
    await new Promise((resolve) => setTimeout(resolve, 5))
    const { running, waiting } = engine.stats()
    if (running + waiting > 0) calm = -1
  }
}

/**
 * What the first turn of the large model pays after a run on the small one. Where it reads along, tools last until it has read: what is
 * left is what no background work can take away, however fast the machine is. What the reading along costs is told too.
 */
async function switches(report: Report, engines: Engines, rounds: number, turns: number, latency: number): Promise<void> {
  const samples = { cold: [] as number[], warm: [] as number[], ahead: [] as number[] }
  const tokens = { cold: 0, warm: 0 }
  for (let round = -1; round < rounds; ++round) {
    for (const kind of ['cold', 'warm'] as const) {
      report.progress(`switch, ${kind}, round ${round + 1}`)
      const trace = madeTrace(turns, 2000 + round)
      const route: AgentCollabOptions['route'] = (steps) => (steps.length < turns ? 'small' : 'large')
      const warmFrom = kind === 'warm' ? 0 : false
      const agent = { tenant: `${kind} ${round}`, compress: false, collab: { route, reasonTokens: 0, warmFrom } } as const
      const { events } = await runTrace(trace, engines, kind === 'warm' ? () => idle(engines.large) : latency, agent)
      const usage = events.filter((event) => event.type === 'usage')
      const first = usage.find(({ switched }) => switched !== undefined)
      if (first === undefined || round < 0) continue
      samples[kind].push(first.queued + first.prefill)
      tokens[kind] = first.promptTokens - first.cachedTokens
      if (kind === 'warm') samples.ahead.push(usage.reduce((sum, { purpose, milliseconds }) => sum + (purpose === 'warm' ? milliseconds : 0), 0))
    }
  }
  const { cold, warm, ahead } = samples
  const target = { target: median(cold) / 3, better: 'lower' as const }
  report.addSamples({ name: 'switch to the large model, cold', unit: 'ms', note: `${tokens.cold} tokens computed` }, cold)
  report.addSamples({ name: 'switch to the large model, kept warm', unit: 'ms', ...target, note: `${tokens.warm} tokens computed` }, warm)
  report.addSamples({ name: 'reading along for it, in the background', unit: 'ms', note: `in all, over ${turns} turns` }, ahead)
}

async function routes(report: Report, engines: Engines, rounds: number, turns: number, latency: number): Promise<void> {
  const names = ['large', 'small', 'paper', 'collab'] as const satisfies readonly RouteName[]
  const samples = new Map<RouteName, number[]>(names.map((name) => [name, []]))
  for (let round = -1; round < rounds; ++round) {
    for (const route of names) {
      report.progress(`route ${route}, round ${round + 1}`)
      const { seconds } = await runTrace(madeTrace(turns, 3000 + round), engines, latency, { tenant: `${route} ${round}`, compress: false, collab: { route } })
      if (round >= 0) samples.get(route)!.push(seconds)
    }
  }
  for (const name of names) report.addSamples({ name: `route ${name}: a run`, unit: 's' }, samples.get(name)!)
}

async function filter(report: Report, small: Engine, turns: number): Promise<void> {
  const trace = madeTrace(turns, 4000, { page: 900 })
  const off = await runTrace(trace, { small }, 0, { compress: false, tenant: 'filter off' })
  const on = await runTrace(trace, { small }, 0, { compress: { history: false }, tenant: 'filter on' })
  report.add({ name: 'observation filter off: context at the end', value: off.context, unit: 'tokens' })
  report.add({ name: 'observation filter on', value: on.context, unit: 'tokens', target: off.context, better: 'lower' })
}

export async function run(report: Report, values: Values): Promise<void> {
  const number = (key: keyof typeof options): number => Number(values[key])
  const [rounds, turns, latency, agents, seed] = [number('rounds'), number('turns'), number('latency'), number('agents'), number('seed')]
  const wanted = partsWanted(values)
  const room = rooms.filter((one) => parts('room', values.room, rooms).has(one))
  // A pool holds at least one full context.
  const open = async (which: 'small' | 'model', kvTokens = 131072): Promise<Engine> => {
    const folder = modelFolder(values[which])
    const engine = await Engine.open({
      model: folder,
      device: values.device,
      weights: values.weights as NonNullable<EngineOptions['weights']>,
      ...(values.threads !== '' && { threads: number('threads') }),
      maxContext: Math.min(65536, kvTokens),
      kvTokens,
      scheduler: 'agent-sched',
    })
    report.about({ [which]: describeModel(folder, engine.info) })
    return engine
  }
  if (wanted.has('overhead')) await overhead(report, rounds)
  if (['overhead', 'switch', 'route', 'filter'].some((part) => wanted.has(part as PartName))) {
    const engines: Engines = { small: await open('small'), large: await open('model') }
    if (wanted.has('overhead')) await appending(report, engines.small, rounds)
    if (wanted.has('switch')) await switches(report, engines, rounds, turns, latency)
    if (wanted.has('route')) await routes(report, engines, rounds, turns, latency)
    if (wanted.has('filter')) await filter(report, engines.small, turns)
    await engines.small.close()
    await engines.large.close()
  }
  const shape = { page: number('page'), thought: number('thought') }
  const made = (length: number) => (round: number): Trace[] =>
    Array.from({ length: agents }, (_, index) => madeTrace(length, 5000 + 1000 * seed + 100 * round + index, shape))
  const setting = { open, rounds, latency, seed }
  if (wanted.has('parts')) await eachPart(report, made(number('short')), setting)
  if (wanted.has('compress')) await compression(report, 'long traces', made(number('long')), { ...setting, rooms: room })
  if (!wanted.has('recorded')) return
  const recorded =
    values.trace === ''
      ? await recordTraces(agents, number('questions'), 17 + seed, (text) => report.progress(text))
      : Array.from({ length: agents }, () => recordedTrace(values.trace))
  await compression(report, 'recorded runs', () => recorded, { ...setting, rooms: room.slice(0, 1) })
}

/** The trained models that runs are recorded of are not in the package. */
function partsWanted({ only, trace }: Values): ReadonlySet<PartName> {
  const can = trace !== '' || canRecord()
  if (only === '') return new Set(partNames.filter((part) => part !== 'recorded' || can))
  const wanted = parts('only', only, partNames)
  if (wanted.has('recorded') && !can) throw wrongOption('trace', 'a saved run, as the models that runs are recorded of are not here', '')
  return wanted
}
