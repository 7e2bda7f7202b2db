/**
 * Schedulers compared in simulated time, on the policy code that the engine runs: hit rate, latency, task time, waiting, fairness. Prints a
 * table per scenario and writes a page with plots. `--set big` adds 256 and 1,024 sessions. First, small agents run on the real CPU engine
 * and, from the trace recorded there, in the simulator: how far the two agree.
 */
import { writeFileSync } from 'node:fs'
import os from 'node:os'

import { AgentSched, firstCome } from 'agentinfer'

import { modelShapes, shapedModel } from '../model_shapes.js'
import { choice, flag, option, pageFile, parts } from '../options.js'
import { figure, median } from '../report.js'
import type { Report } from '../report.js'
import { runJobs } from '../sched/farm.js'
import { writePage } from '../sched/page.js'
import { planCost } from '../sched/plan_cost.js'
import { realRun } from '../sched/real.js'
import type { RealRun } from '../sched/real.js'
import type { Job, Result } from '../sched/run.js'
import { scenarios } from '../sched/scenarios.js'
import type { Scenario } from '../sched/scenarios.js'
import { Comparison, judge, table } from '../sched/summary.js'

export const description = 'schedulers compared in a simulation that runs the policy code of the engine'
export const options = {
  set: choice('default', ['default', 'big'], 'default, or big: with 256 and 1,024 sessions'),
  only: option('', `some of the scenarios: ${scenarios.map(({ name }) => name).join(', ')}`),
  seeds: option('', 'of each scenario; default: 5, and 20 where seeds differ much', 1),
  'first-seed': option('101', 'those below 100 were used to choose the defaults of the policy', 0),
  threads: option(String(os.availableParallelism()), 'processes that simulate'),
  'no-real': flag('without the agents on the CPU engine'),
  page: option('', 'a file for tables and plots, the data goes beside it; default: among temporary files'),
} as const

type Values = Record<Exclude<keyof typeof options, 'no-real'>, string> & { readonly 'no-real': boolean }

/** Points by which the hit rates of engine and simulator may differ; first come hangs on milliseconds when it thrashes. */
const margins: Record<string, number> = { 'first come': 15, 'agent-sched': 10 }
const realRounds = 2

/** In turn, so that both meet the same machine. */
async function addReal(report: Report): Promise<void> {
  const model = shapedModel('20m')
  const { vocabSize } = modelShapes['20m']
  const policies = { 'first come': firstCome, 'agent-sched': () => new AgentSched() }
  const runs: Record<string, RealRun[]> = {}
  for (let seed = 1; seed <= realRounds; ++seed)
    for (const [name, scheduler] of Object.entries(policies)) {
      report.progress(`CPU engine, ${name}, round ${seed} of ${realRounds}`)
      const one = await realRun({ model, vocabSize, scheduler, kvTokens: 2048, agents: 16, places: 8, seed })
      ;(runs[name] ??= []).push(one)
    }
  for (const [name, list] of Object.entries(runs)) {
    report.addSamples({ name: `CPU engine: ${name}, hit rate`, unit: '%', note: `simulated ${median(list.map((one) => one.simulatedHitRate)).toFixed(1)}` }, list.map((one) => one.hitRate))
    report.addSamples(
      { name: `CPU engine: ${name}, hit rate of engine and simulator, difference`, unit: 'points', target: margins[name]!, better: 'lower' },
      list.map((one) => Math.abs(one.hitRate - one.simulatedHitRate)),
    )
  }
  const ratios = runs['agent-sched']!.map(({ real }, i) => real.taskTime / runs['first come']![i]!.real.taskTime)
  report.addSamples({ name: 'CPU engine: agent-sched, mean task time over first come', unit: 'x', better: 'lower' }, ratios)
}

function simulate(scenario: Scenario, seeds: readonly number[], processes: number, report: Report): Promise<Result[]> {
  const jobs = seeds.flatMap((seed) => scenario.contestants.map((contestant): Job => ({ scenario: scenario.name, contestant, seed })))
  return runJobs(jobs, processes, (done, { contestant, seed }) => report.progress(`${scenario.name} ${done}/${jobs.length} ${contestant} ${seed}`))
}

export async function run(report: Report, values: Values): Promise<void> {
  if (values.only !== '') parts('only', values.only, scenarios.map(({ name }) => name))
  const cost = planCost(1024, 2000)
  report.add({ name: 'plan with 1,024 waiting', value: cost.median, unit: 'us', target: 200, better: 'lower', note: `99th percentile ${figure(cost.p99)} us` })
  if (!values['no-real']) await addReal(report)
  const names = values.only.split(',').filter(Boolean)
  const chosen = scenarios.filter(({ name, big }) => (names.length > 0 ? names.includes(name) : values.set === 'big' || big !== true))
  // One scenario after another, so that what is known is told, however long the rest takes.
  const comparisons: Comparison[] = []
  for (const scenario of chosen) {
    const length = values.seeds === '' ? (scenario.seeds ?? 5) : Number(values.seeds)
    const seeds = Array.from({ length }, (_, i) => Number(values['first-seed']) + i)
    const comparison = new Comparison(scenario, await simulate(scenario, seeds, Number(values.threads), report))
    comparisons.push(comparison)
    report.say(`\n${table(comparison)}`)
    judge(comparison, report)
  }
  const page = pageFile(values.page, 'sched')
  writePage(page, comparisons, report.rows)
  const data = page.replace(/\.html$/, '') + '.json'
  writeFileSync(data, JSON.stringify({ lines: comparisons.flatMap((comparison) => comparison.lines), results: comparisons.flatMap(({ results }) => results) }, null, 1))
  report.say(`\n${page}\n${data}`)
}
