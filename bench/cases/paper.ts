/**
 * The paper's tables (AgentInfer, arXiv 2512.18337) measured with the two trained models in the research world: each of our rules beside the
 * paper's, all parts together, and each left out. Prints the tables, and writes a page with plots and the data behind it.
 *
 *   npm run bench -- paper [--table 3] [--seeds 5] [--questions 24] [--agents 16]
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'

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
  /** Numbers, 1 to 5; default: all. */
  table: { type: 'string', default: '' },
  /** Of table 5: only with so many agents. */
  agents: { type: 'string', default: '' },
  seeds: { type: 'string', default: '5' },
  /** Seeds below 100 are for trying things out. */
  'first-seed': { type: 'string', default: '101' },
  questions: { type: 'string', default: '24' },
  split: { type: 'string', default: 'eval' },
  threads: { type: 'string', default: `${Math.min(2, os.availableParallelism())}` },
  /** Of the tools' latencies. At 0.003 a call takes about as long as a turn of the large model, as in the paper. */
  'time-scale': { type: 'string', default: '0.003' },
  small: { type: 'string' },
  large: { type: 'string' },
  page: { type: 'string', default: 'dist/bench/paper.html' },
  /** A file for the tables as Markdown. */
  markdown: { type: 'string' },
} as const

type Values = Record<Exclude<keyof typeof options, 'small' | 'large' | 'markdown'>, string> & {
  readonly small?: string
  readonly large?: string
  readonly markdown?: string
}

export async function run(report: Report, values: Values): Promise<void> {
  const numbers = values.table.split(',').filter(Boolean).map(Number)
  const chosen = tables.filter(
    ({ number, sessions }) =>
      (numbers.length === 0 || numbers.includes(number)) && (values.agents === '' || number !== 5 || sessions === Number(values.agents)),
  )
  if (chosen.length === 0) throw new Error(`--table ${values.table}: expected numbers of 1 to 5`)
  const seeds = Array.from({ length: Number(values.seeds) }, (_, i) => Number(values['first-seed']) + i)
  const started = new Date()
  const results: Result[] = []
  const questions = Number(values.questions)
  for (const table of chosen) {
    const result = await runTable(table, {
      machine: {
        small: values.small ?? modelFolder('small'),
        large: values.large ?? modelFolder('large'),
        threads: Number(values.threads),
        timeScale: Number(values['time-scale']),
      },
      seeds,
      questions,
      split: values.split as Split,
      progress: (text) => report.progress(text),
    })
    results.push(result)
    process.stdout.write(`\n${textTable(result)}\n`)
  }
  process.stdout.write('\n')
  for (const result of results) judge(result, report)
  const machine = `${os.cpus()[0]?.model ?? 'unknown processor'}, ${values.threads} threads, Node ${process.versions.node}`
  const head = { machine, seeds, date: started.toISOString().slice(0, 10), questions }
  mkdirSync(path.dirname(values.page), { recursive: true })
  writePage(values.page, results, report.rows, head)
  if (values.markdown !== undefined) writeFileSync(values.markdown, results.map((result) => markdownTable(result)).join('\n'))
  const data = values.page.replace(/\.html$/, '') + '.json'
  const plain = results.map(({ table, figures }) => ({
    table: table.number, title: table.title, sessions: table.sessions, rows: Object.fromEntries(figures),
  }))
  writeFileSync(data, `${JSON.stringify({ ...head, tables: plain }, null, 1)}\n`)
  process.stdout.write(`\n${values.page}\n${data}\n`)
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
  process.stdout.write(`${of}: ${shown(result.ratio(whole, base, rate))}x\n`)
}
