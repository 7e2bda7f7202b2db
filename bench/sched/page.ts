/** The comparison as one page that needs nothing else: tables, and plots by vega-lite, whose code it carries. */
import { writeFileSync } from 'node:fs'

import { agentSchedDefaults } from 'agentinfer'

import { page, places, text } from '../plots.js'
import type { Plot, Spec } from '../plots.js'
import { figure } from '../report.js'
import type { Row } from '../report.js'
import { contestants } from './policies.js'
import { figures, shown } from './summary.js'
import type { Comparison, FigureName } from './summary.js'

export function writePage(file: string, comparisons: readonly Comparison[], rows: readonly Row[]): void {
  const plots = [barsOf(comparisons, 'hitRate', 'Hit rate'), taskTimes(comparisons), barsOf(comparisons, 'latencyP99', 'Latency, 99th percentile'), waits(comparisons), lambdas(comparisons)]
  writeFileSync(file, html(comparisons, rows, plots))
}

const color = {
  field: 'contestant', type: 'nominal', title: null, sort: Object.values(contestants).map(({ label }) => label),
  scale: { scheme: 'tableau20' },
}

function values(comparisons: readonly Comparison[], name: FigureName): Spec[] {
  return comparisons.flatMap((comparison) =>
    comparison.lines.map(({ scenario, contestant, label, estimates }) => ({
      scenario, contestant: label, ours: contestant.startsWith('ours'), value: estimates[name].mean,
      low: estimates[name].mean - estimates[name].half, high: estimates[name].mean + estimates[name].half,
    })),
  )
}

/** Scenarios as they come; vega-lite would sort them by name. */
function inOrder(data: readonly Spec[]): unknown[] {
  return Array.from(new Set(data.map(({ scenario }) => scenario)))
}

function faceted(data: readonly Spec[], unit: string, extra: readonly Spec[] = []): Spec {
  const y = { field: 'contestant', type: 'nominal', title: null, sort: color.sort }
  return {
    data: { values: data },
    facet: { field: 'scenario', type: 'nominal', title: null, columns: 3, sort: inOrder(data) },
    columns: 3,
    spec: {
      width: 240, height: { step: 15 },
      layer: [
        { mark: { type: 'bar', tooltip: true }, encoding: { y, x: { field: 'value', type: 'quantitative', title: unit }, color: { field: 'ours', type: 'nominal', legend: null, scale: { range: ['#9ab', '#d62'] } } } },
        { mark: { type: 'rule' }, encoding: { y, x: { field: 'low', type: 'quantitative' }, x2: { field: 'high' } } },
        ...extra,
      ],
    },
    resolve: { scale: { x: 'independent', y: 'independent' } },
  }
}

function barsOf(comparisons: readonly Comparison[], name: FigureName, title: string): Plot {
  return { title, about: 'Means over seeds; lines are 95 % intervals.', spec: faceted(values(comparisons, name), figures[name].unit) }
}

function taskTimes(comparisons: readonly Comparison[]): Plot {
  const data = comparisons.flatMap((comparison) =>
    comparison.scenario.contestants.map((who) => {
      const { mean, half } = comparison.ratio(who, 'fcfs', 'taskTime')
      return { scenario: comparison.scenario.name, contestant: contestants[who].label, ours: who.startsWith('ours'), value: mean, low: mean - half, high: mean + half }
    }),
  )
  return { title: 'Task time over that of first come', about: 'Seed by seed; below 1 is faster.', spec: faceted(data, 'x') }
}

function waits(comparisons: readonly Comparison[]): Plot {
  const bound = { mark: { type: 'rule', strokeDash: [4, 4], color: '#a00' }, encoding: { x: { datum: agentSchedDefaults.maxWait } } }
  return { title: 'Longest wait for a start', about: 'Mean over seeds of the longest one; the dashed line is the bound of agent-sched.', spec: faceted(values(comparisons, 'longestWait'), 's', [bound]) }
}

function lambdas(comparisons: readonly Comparison[]): Plot {
  const data = comparisons.flatMap((comparison) => {
    const result = comparison.results.find(({ contestant }) => contestant === 'ours')
    return (result?.lambda ?? []).map(([now, lambda]) => ({ scenario: comparison.scenario.name, now, lambda }))
  })
  return {
    title: 'λ over time', about: 'agent-sched without a host tier, first seed, first engine.',
    spec: {
      data: { values: data }, facet: { field: 'scenario', type: 'nominal', title: null, sort: inOrder(data) }, columns: 3,
      spec: {
        width: 320, height: 100, mark: { type: 'line', strokeWidth: 1 },
        encoding: { x: { field: 'now', type: 'quantitative', title: 's' }, y: { field: 'lambda', type: 'quantitative', title: 'λ', scale: { domain: [0, 1] } } },
      },
      resolve: { scale: { x: 'independent' } },
    },
  }
}

function html(comparisons: readonly Comparison[], rows: readonly Row[], plots: readonly Plot[]): string {
  const targets = rows.filter((row) => row.target !== undefined || row.modelled === true)
  const tables = comparisons.map((comparison) => {
    const names = Object.keys(figures) as FigureName[]
    const heads = ['', ...names.map((name) => `${name}<br><small>${figures[name].unit}</small>`)]
    const lines = comparison.lines.map(
      ({ label, contestant, estimates }) =>
        `<tr class="${contestant.startsWith('ours') ? 'ours' : ''}"><th>${text(label)}</th>${names.map((name) => `<td>${shown(estimates[name])}</td>`).join('')}</tr>`,
    )
    return `<h3>${text(comparison.scenario.name)}: ${text(comparison.scenario.about)}</h3>\n<div class="wide"><table><tr>${heads.map((head) => `<th>${head}</th>`).join('')}</tr>\n${lines.join('\n')}</table></div>`
  })
  const judged = targets.map(
    (row) =>
      `<tr class="${row.holds === undefined ? '' : row.holds ? 'holds' : 'misses'}"><th>${text(row.name)}</th><td>${figure(row.value)} ${text(row.unit)}</td><td>${row.spread === undefined ? '' : `${figure(row.spread[0])} to ${figure(row.spread[1])}`}</td><td>${row.target === undefined ? '' : `${row.better === 'lower' ? '≤' : '≥'} ${figure(row.target)}`}</td><td class="verdict">${row.holds === undefined ? '' : row.holds ? 'holds' : 'misses'}</td><td>${text(row.note ?? '')}</td></tr>`,
  )
  const body = `<h1>agent-sched: schedulers compared</h1>
<p>Simulated: openPangu 7B on two Ascend 910B3 chips an engine, step times from a model of the chip, not measured on one. The policies are the
code the engine runs. Figures are means over seeds with 95 % intervals.</p>
<h2>Targets</h2>
<table><tr><th></th><th>figure</th><th>interval</th><th>target</th><th></th><th></th></tr>
${judged.join('\n')}</table>
<h2>Plots</h2>
${places(plots)}
<h2>Figures</h2>
${tables.join('\n')}`
  return page('agent-sched: schedulers compared', body, plots)
}
