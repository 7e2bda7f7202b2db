/** The tables as one page that needs nothing else, with a plot for each. */
import { writeFileSync } from 'node:fs'

import { page, text } from '../plots.js'
import type { Plot, Spec } from '../plots.js'
import { figure } from '../report.js'
import type { Row } from '../report.js'
import type { Estimate } from '../sched/statistics.js'
import type { Result } from './run.js'
import { accuracy, rate } from './tables.js'

export function shown(value: Estimate | undefined): string {
  if (value === undefined) return ''
  return value.half === 0 ? figure(value.mean) : `${figure(value.mean)} ±${figure(value.half)}`
}

/** As text, aligned; the ratio of questions a minute is over the base of the table. */
export function textTable(result: Result): string {
  const { table } = result
  const heads = ['', ...table.columns.map(({ name, unit }) => (unit === '' ? name : `${name}, ${unit}`)), 'speedup']
  const lines = table.variants.map(({ name }) => [
    name,
    ...table.columns.map((column) => shown(result.estimate(name, column))),
    `${shown(result.ratio(name, table.base, rate))}x`,
  ])
  const cells = [heads, ...lines]
  const widths = heads.map((_, column) => Math.max(...cells.map((row) => row[column]!.length)))
  const rows = cells.map((row) => row.map((cell, column) => (column === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[column]!))).join('  '))
  return [`${table.number}. ${table.title} (the paper's ${table.source}). ${table.about}`, ...rows].join('\n')
}

/** As Markdown, for a README. */
export function markdownTable(result: Result): string {
  const { table } = result
  const heads = ['', ...table.columns.map(({ name, unit }) => (unit === '' ? name : `${name}, ${unit}`)), 'speedup']
  const lines = table.variants.map(({ name, whose }) => [
    whose === 'ours' ? `**${name}**` : name,
    ...table.columns.map((column) => shown(result.estimate(name, column))),
    `${shown(result.ratio(name, table.base, rate))}x`,
  ])
  const row = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`
  return [`${table.number}. ${table.title} (${table.source}). ${table.about}`, '', row(heads), row(heads.map(() => '---')), ...lines.map(row), ''].join('\n')
}

/** Speed against accuracy, with intervals. */
function plot(result: Result): Spec {
  const { table } = result
  const values = table.variants.map(({ name, whose }) => {
    const speed = result.ratio(name, table.base, rate)
    const right = result.estimate(name, accuracy)!
    return {
      name, whose: whose ?? 'other', speed: speed.mean, slow: speed.mean - speed.half, fast: speed.mean + speed.half,
      accuracy: right.mean, low: right.mean - right.half, high: right.mean + right.half,
    }
  })
  const x = { field: 'speed', type: 'quantitative', title: `questions a minute over “${table.base}”`, scale: { zero: false } }
  const y = { field: 'accuracy', type: 'quantitative', title: 'accuracy, %', scale: { zero: false } }
  const color = { field: 'whose', type: 'nominal', legend: null, scale: { domain: ['other', 'paper', 'ours'], range: ['#678', '#27c', '#d62'] } }
  return {
    data: { values }, width: 640, height: 300,
    layer: [
      { mark: { type: 'rule' }, encoding: { x: { ...x, field: 'slow' }, x2: { field: 'fast' }, y, color } },
      { mark: { type: 'rule' }, encoding: { x, y: { ...y, field: 'low' }, y2: { field: 'high' }, color } },
      { mark: { type: 'point', filled: true, size: 80, tooltip: { content: 'data' } }, encoding: { x, y, color } },
      { mark: { type: 'text', dx: 8, dy: -8, align: 'left' }, encoding: { x, y, color, text: { field: 'name' } } },
    ],
  }
}

export interface PageHead {
  readonly machine: string
  readonly seeds: readonly number[]
  readonly date: string
  readonly questions: number
}

export function writePage(file: string, results: readonly Result[], rows: readonly Row[], head: PageHead): void {
  const sections = results.map((result, i) => {
    const { table } = result
    const heads = ['', ...table.columns.map(({ name, unit }) => `${name}<br><small>${unit}</small>`), 'speedup<br><small>x</small>']
    const lines = table.variants.map(({ name, whose }) => {
      const cells = [...table.columns.map((column) => shown(result.estimate(name, column))), shown(result.ratio(name, table.base, rate))]
      return `<tr class="${whose ?? ''}"><th>${text(name)}</th>${cells.map((cell) => `<td>${cell}</td>`).join('')}</tr>`
    })
    return `<h2>${table.number}. ${text(table.title)} <small>(the paper's ${text(table.source)})</small></h2>
<p>${text(table.about)}</p>
<table><tr>${heads.map((one) => `<th>${one}</th>`).join('')}</tr>
${lines.join('\n')}</table><div id="plot${i}"></div>`
  })
  const judged = rows.map(
    (row) =>
      `<tr class="${row.holds === undefined ? '' : row.holds ? 'holds' : 'misses'}"><th>${text(row.name)}</th><td>${figure(row.value)} ${text(row.unit)}</td><td>${row.spread === undefined ? '' : `${figure(row.spread[0])} to ${figure(row.spread[1])}`}</td><td>${row.target === undefined ? '' : `${row.better === 'lower' ? '≤' : '≥'} ${figure(row.target)}`}</td><td class="verdict">${row.holds === undefined ? '' : row.holds ? 'holds' : 'misses'}</td></tr>`,
  )
  const body = `<h1>AgentInfer's tables in the research world</h1>
<p>${text(head.machine)}; ${head.date}; seeds ${head.seeds.join(', ')}, each with ${head.questions} questions or more of the split that nothing was trained or tuned on.
Means with 95 % intervals over seeds; speedups are of questions a minute, seed by seed. Ineffective tokens: put through either model, less one look
at each token that the run's last turn had; that is, read again after eviction, read by the second model, written beside the run (verdicts, memories), or drafted
and refused.</p>
<h2>Targets</h2>
<table><tr><th></th><th>figure</th><th>interval</th><th>target</th><th></th></tr>
${judged.join('\n')}</table>
${sections.join('\n')}`
  const plots: Plot[] = results.map((result) => ({ title: result.table.title, about: result.table.about, spec: plot(result) }))
  writeFileSync(file, page("AgentInfer's tables in the research world", body, plots))
}
