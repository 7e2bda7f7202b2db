/** A run as one page that needs nothing else: figures beside limits and targets, plots, and the environment. */
import type { Change } from './compare.js'
import type { BenchDocument } from './document.js'
import { page, places, text } from './plots.js'
import type { Plot, Spec } from './plots.js'
import { figure, shareOfLimit } from './report.js'
import type { Row } from './report.js'

export interface Compared {
  readonly file: string
  readonly changes: readonly Change[]
  readonly differences: readonly string[]
}

export function resultPage(document: BenchDocument, compared?: Compared): string {
  const before = new Map((compared?.changes ?? []).map((change) => [change.row.name, change]))
  const plots = [...linePlots(document.rows), ...barPlots(document.rows, before)]
  const body = `<h1>agentinfer bench: ${text(document.case)}</h1>
<p>${text(document.date)}</p>
<h2>Plots</h2>
<p>A figure is the median of its samples, and its spread the smallest and the largest of them. Of a mean or a percentile of requests, the spread is
where it lies in 95 of 100 drawings of the same requests. Points are figures, the lines through them their spread.</p>
${places(plots)}
<h2>Figures</h2>
${figures(document.rows, before, compared !== undefined)}
${compared === undefined ? '' : differing(compared)}
<h2>What it was measured on</h2>
${facts(document)}`
  return page(`agentinfer bench: ${document.case}`, body, plots)
}

/** One for each title; rows are points, their lines have colours. */
function linePlots(rows: readonly Row[]): Plot[] {
  const titles = [...new Set(rows.flatMap(({ plot }) => (plot === undefined ? [] : [plot.title])))]
  return titles.map((title) => {
    const values = rows.flatMap(({ plot, value, spread }) =>
      plot?.title === title ? [{ x: plot.x, line: plot.line, value, low: spread?.[0] ?? value, high: spread?.[1] ?? value }] : [],
    )
    const { xTitle } = rows.find(({ plot }) => plot?.title === title)!.plot!
    const x = { field: 'x', type: 'quantitative', title: xTitle, scale: { zero: false } }
    const color = { field: 'line', type: 'nominal', title: null, sort: null }
    const spec: Spec = {
      data: { values }, width: 480, height: 220,
      layer: [
        { mark: { type: 'line', point: true, tooltip: true }, encoding: { x, y: { field: 'value', type: 'quantitative', title: null }, color } },
        { mark: { type: 'rule' }, encoding: { x, y: { field: 'low', type: 'quantitative' }, y2: { field: 'high' }, color } },
      ],
    }
    return { title, about: '', spec }
  })
}

/** Rows that are no points, one plot for each unit. */
function barPlots(rows: readonly Row[], before: ReadonlyMap<string, Change>): Plot[] {
  const plain = rows.filter(({ plot }) => plot === undefined)
  return [...new Set(plain.map(({ unit }) => unit))].map((unit) => {
    const values = plain
      .filter((row) => row.unit === unit)
      .map((row) => ({
        name: row.name, value: row.value, low: row.spread?.[0] ?? row.value, high: row.spread?.[1] ?? row.value,
        limit: row.limit ?? null, target: row.target ?? null, before: before.get(row.name)?.before.value ?? null,
      }))
    const y = { field: 'name', type: 'nominal', title: null, sort: null, axis: { labelLimit: 420 } }
    const tick = (field: string, colour: string): Spec => ({
      transform: [{ filter: `isValid(datum.${field})` }],
      mark: { type: 'tick', thickness: 3, color: colour, tooltip: { content: 'data' } },
      encoding: { y, x: { field, type: 'quantitative' } },
    })
    const spec: Spec = {
      data: { values }, width: 480, height: { step: 18 },
      layer: [
        { mark: { type: 'bar', color: '#9ab', tooltip: { content: 'data' } }, encoding: { y, x: { field: 'value', type: 'quantitative', title: unit } } },
        { mark: { type: 'rule' }, encoding: { y, x: { field: 'low', type: 'quantitative' }, x2: { field: 'high' } } },
        tick('limit', '#a00'), tick('target', '#080'), tick('before', '#06c'),
      ],
    }
    return { title: unit === '' ? 'Shares' : unit, about: 'Lines: spread. Ticks: red the limit of the device, green the target, blue the earlier run.', spec }
  })
}

function figures(rows: readonly Row[], before: ReadonlyMap<string, Change>, compared: boolean): string {
  const heads = ['', 'figure', 'unit', 'spread', 'limit', 'target', '', ...(compared ? ['before', 'ratio', ''] : []), '']
  const lines = rows.map((row) => {
    const change = before.get(row.name)
    const cells = [
      figure(row.value),
      text(row.unit),
      row.spread === undefined ? '' : `${figure(row.spread[0])} to ${figure(row.spread[1])}`,
      row.limit === undefined ? '' : `${figure(row.limit)} (${figure(100 * shareOfLimit(row.value, row.limit, row.better))} %)`,
      row.target === undefined ? '' : `${row.better === 'lower' ? '≤' : '≥'} ${figure(row.target)}`,
    ]
    const verdict = row.holds === undefined ? '' : row.holds ? 'holds' : 'misses'
    const old = change === undefined ? ['', '', ''] : [figure(change.before.value), `${figure(change.ratio)}x`, change.verdict === 'unknown' ? '' : change.verdict]
    const all = [...cells.map((cell) => `<td>${cell}</td>`), `<td class="verdict">${verdict}</td>`, ...(compared ? old.map((cell) => `<td>${cell}</td>`) : [])]
    const note = [row.modelled === true ? 'modelled' : '', row.note ?? ''].filter(Boolean).join('; ')
    return `<tr class="${verdict}"><th>${text(row.name)}</th>${all.join('')}<td class="text">${text(note)}</td></tr>`
  })
  return `<table><tr>${heads.map((head) => `<th>${head}</th>`).join('')}</tr>\n${lines.join('\n')}</table>`
}

function differing({ file, differences }: Compared): string {
  if (differences.length === 0) return `<p>Compared with ${text(file)}, which was measured on the same machine with the same options.</p>`
  return `<p>Compared with ${text(file)}. What was different beside the code:</p><ul>${differences.map((line) => `<li>${text(line)}</li>`).join('')}</ul>`
}

function facts({ environment, options, about }: BenchDocument): string {
  const { host, ...plain } = environment
  const list = [
    ...Object.entries(plain).map(([name, value]): [string, unknown] => [name, value ?? 'unknown']),
    ...host.map(({ what, found }): [string, unknown] => [what, found]),
    ...Object.entries(about),
    ['options', options] as const,
  ]
  const shown = (value: unknown): string => (typeof value === 'string' ? value : JSON.stringify(value))
  return `<table>${list.map(([name, value]) => `<tr><th>${text(name)}</th><td class="text">${text(shown(value))}</td></tr>`).join('\n')}</table>`
}
