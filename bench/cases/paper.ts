/**
 * The paper's tables (AgentInfer, arXiv 2512.18337) measured with the two trained models in the research world: each of our rules beside the
 * paper's, all parts together, and each left out. Prints the tables, and writes a page with plots and the data behind it.
 *
 *   npm run bench -- paper [--table 3] [--seeds 5] [--questions 24] [--agents 16]
 */
import { writeFileSync } from 'node:fs'
import os from 'node:os'

import { amount, choice, option, pageFile, wrongOption } from '../options.js'
import { markdownTable, shown, textTable, writePage } from '../paper/page.js'
import { runTable } from '../paper/run.js'
import type { Result } from '../paper/run.js'
import { accuracy, ineffective, rate, tables } from '../paper/tables.js'
import type { Column } from '../paper/tables.js'
import type { Report } from '../report.js'
import { modelFolder } from '../research-world/arena.js'
import type { Split } from '../research-world/names.js'
import type { Estimate } from '../sched/statistics.js'

export const description = "the paper's tables on trained models: collaboration, compression, scheduling, speculation, and the whole with each part removed"
export const options = {
  table: option('', 'numbers of 1 to 5; default: all'),
  agents: option('', 'of table 5: only with so many agents', 1),
  seeds: option('5', 'of questions; each is a sample'),
  'first-seed': option('101', 'those below 100 are for trying things out', 0),
  questions: option('24', 'of each seed'),
  split: choice('eval', ['eval', 'tune'], 'of the questions: eval, or tune, on which options were chosen'),
  threads: option(`${Math.min(2, os.availableParallelism())}`, 'of the CPU'),
  'time-scale': amount('0.003', "of the tools' latencies; at 0.003 a call takes about as long as a turn of the large model, as in the paper"),
  small: option('', "a checkpoint's folder; default: bench/models/small"),
  large: option('', "a checkpoint's folder; default: bench/models/large"),
  page: option('', 'a file for tables and plots, the data goes beside it; default: among temporary files'),
  markdown: option('', 'a file for the tables as Markdown'),
} as const

type Values = Record<keyof typeof options, string>

export async function run(report: Report, values: Values): Promise<void> {
  const numbers = values.table.split(',').filter(Boolean).map(Number)
  const chosen = tables.filter(
    ({ number, sessions }) =>
      (numbers.length === 0 || numbers.includes(number)) && (values.agents === '' || number !== 5 || sessions === Number(values.agents)),
  )
  if (chosen.length === 0) throw wrongOption('table', 'numbers of 1 to 5', values.table)
  const seeds = Array.from({ length: Number(values.seeds) }, (_, i) => Number(values['first-seed']) + i)
  const started = new Date()
  const results: Result[] = []
  const questions = Number(values.questions)
  for (const table of chosen) {
    const result = await runTable(table, {
      machine: {
        small: values.small || modelFolder('small'),
        large: values.large || modelFolder('large'),
        threads: Number(values.threads),
        timeScale: Number(values['time-scale']),
      },
      seeds,
      questions,
      split: values.split as Split,
      progress: (text) => report.progress(text),
    })
    results.push(result)
    report.say(`\n${textTable(result)}`)
  }
  report.say('')
  for (const result of results) judge(result, report)
  const machine = `${os.cpus()[0]?.model ?? 'unknown processor'}, ${values.threads} threads, Node ${process.versions.node}`
  const head = { machine, seeds, date: started.toISOString().slice(0, 10), questions }
  const page = pageFile(values.page, 'paper')
  writePage(page, results, report.rows, head)
  if (values.markdown !== '') writeFileSync(values.markdown, results.map((result) => markdownTable(result)).join('\n'))
  const data = page.replace(/\.html$/, '') + '.json'
  const plain = results.map(({ table, figures }) => ({
    table: table.number, title: table.title, sessions: table.sessions, rows: Object.fromEntries(figures),
  }))
  writeFileSync(data, `${JSON.stringify({ ...head, tables: plain }, null, 1)}\n`)
  report.say(`\n${page}\n${data}`)
}

function addEstimate(report: Report, name: string, { mean, half }: Estimate, more: { unit: string; target?: number; better?: 'higher' | 'lower' }): void {
  report.add({ name, value: mean, spread: [mean - half, mean + half], ...more })
}

/** Ours at least equal to the paper's rule, in what the table is about. */
function judge(result: Result, report: Report): void {
  const { table } = result
  if (table.number === 5) return judgeWhole(result, report)
  const [ours, theirs] = ['ours', 'paper'].map((whose) => table.variants.find((variant) => variant.whose === whose)!.name) as [string, string]
  addEstimate(report, `${table.title}: ours over the paper's rule, questions a minute`, result.ratio(ours, theirs, rate), { unit: 'x', target: 1 })
  addDifference(report, `${table.title}: accuracy, ours less the paper's rule`, result, ours, theirs, accuracy)
}

function addDifference(report: Report, name: string, result: Result, of: string, less: string, column: Column): void {
  const base = result.samples(less, column)
  const samples = result.samples(of, column).map((value, i) => value - base[i]!)
  report.addSamples({ name, unit: 'points' }, samples)
}

function judgeWhole(result: Result, report: Report): void {
  const { table } = result
  const [whole, base, theirs] = ['+ SAM: the whole', table.base, 'the whole by the paper’s rules']
  const of = `${table.sessions} agents`
  addEstimate(report, `${of}: the whole over large only`, result.ratio(whole, base, rate), { unit: 'x', ...(table.sessions === 16 && { target: 3 }) })
  addEstimate(report, `${of}: the whole over the paper's rules`, result.ratio(whole, theirs, rate), { unit: 'x', target: 1 })
  for (const part of ['Collab', 'Compress', 'Sched', 'SAM']) {
    const factor = result.ratio(whole, `- ${part}`, rate)
    addEstimate(report, `${of}: ${part}, the whole over the whole without it`, factor, { unit: 'x', ...(table.sessions === 16 && { target: 1 }) })
  }
  addEstimate(report, `${of}: ineffective tokens over large only`, result.ratio(whole, base, ineffective), { unit: 'x', target: 0.4, better: 'lower' })
  addDifference(report, `${of}: accuracy, the whole less large only`, result, whole, base, accuracy)
  report.say(`${of}: ${shown(result.ratio(whole, base, rate))}x`)
}
