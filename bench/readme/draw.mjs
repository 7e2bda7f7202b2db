// Draws the README's plots from its own tables, so that neither says what the other does not: `node bench/readme/draw.mjs` writes the pictures
// beside this file, with --check it says which are not those of the tables.
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'

import { parse, View } from 'vega'
import { compile } from 'vega-lite'

const readme = readFileSync(path.join(import.meta.dirname, '../../README.md'), 'utf8')
const ours = '#c8502d'
const others = '#9aa9b5'

/**
 * The rows of the first table behind the text `after` whose first heading begins with `first`.
 * @param {string} first
 * @param {string} after
 * @returns {{ name: string, of: (heading: string) => string }[]} `of`: the cell below the heading that begins so
 */
function table(first, after = '') {
  const from = readme.indexOf(after)
  const lines = readme.slice(from).split('\n')
  const start = lines.findIndex((line) => line.startsWith('|') && cells(line)[0].startsWith(first))
  if (from < 0 || start < 0) throw new Error(`README.md: no table '${first}'${after === '' ? '' : ` behind '${after}'`}`)
  const headings = cells(lines[start])
  const end = lines.findIndex((line, i) => i > start && !line.startsWith('|'))
  return lines.slice(start + 2, end).map((line) => {
    const values = cells(line)
    return { name: values[0], of: (heading) => values[headings.findIndex((cell) => cell.startsWith(heading))] ?? '' }
  })
}

/** @param {string} line @returns {string[]} */
const cells = (line) => line.split('|').slice(1, -1).map((cell) => cell.trim().replaceAll('**', ''))
/** The first number of a cell, NaN where there is none. */
const number = (cell) => Number.parseFloat(cell.replaceAll(',', ''))

/** Bars of what this package does, beside others. */
const whose = { field: 'ours', type: 'nominal', legend: null, scale: { domain: [true, false], range: [ours, others] } }

function cpu() {
  const wanted = ['decode, 1 sequence, tok/s', 'prefill of 512, tok/s', 'decode, 8 sequences, tok/s']
  const pairs = [
    { of: '16 bit', peer: 'node-llama-cpp BF16' },
    { of: 'int8', peer: 'node-llama-cpp Q8_0' },
  ]
  const values = table('AMD EPYC').filter(({ name }) => wanted.includes(name)).flatMap((row) =>
    pairs.flatMap(({ of, peer }) => [
      { what: row.name, who: `agentinfer ${of}`, value: number(row.of(of)), ours: true },
      { what: row.name, who: peer, value: number(row.of(peer)), ours: false },
    ]))
  const y = { field: 'who', type: 'nominal', sort: null, axis: { title: null } }
  const x = { field: 'value', type: 'quantitative', axis: { grid: false, title: null } }
  const layer = [
    { mark: 'bar', encoding: { y, x, color: whose } },
    { mark: { type: 'text', align: 'left', dx: 3 }, encoding: { y, x, text: { field: 'value' } } },
  ]
  return {
    data: { values },
    facet: { column: { field: 'what', type: 'nominal', sort: wanted, title: null, header: { labelFontWeight: 'bold', labelFontSize: 12 } } },
    resolve: { scale: { x: 'independent' } },
    spec: { width: 190, height: { step: 17 }, layer },
  }
}

function sched() {
  const rules = { 'first come': others, 'as printed': '#5b7fa3', 'agent-sched': ours }
  const values = table('research sessions').flatMap((row, index) =>
    Object.keys(rules).map((rule) => ({
      sessions: number(row.name), index, rule: rule === 'as printed' ? 'AgentSched as printed' : rule,
      value: number(row.of(rule === 'first come' ? 'hit rate' : rule)),
    })).filter(({ value }) => !Number.isNaN(value)))
  return {
    data: { values }, width: 460, height: 200,
    mark: { type: 'line', point: true },
    encoding: {
      x: { field: 'sessions', type: 'ordinal', axis: { title: 'research sessions', labelAngle: 0 } },
      y: { field: 'value', type: 'quantitative', scale: { domain: [0, 100] }, axis: { title: 'cache hit rate, %' } },
      color: { field: 'rule', type: 'nominal', sort: null, title: null, scale: { range: Object.values(rules) } },
    },
  }
}

function whole() {
  const rows = table('', '5. The whole, 16 agents').filter(({ name }) => !name.startsWith('-'))
  const values = rows.map((row) => {
    const [middle, half] = row.of('questions a minute').split('±').map(number)
    return { name: row.name, value: middle, low: middle - half, high: middle + half, ours: row.name.startsWith('+') }
  })
  const y = { field: 'name', type: 'nominal', sort: null, axis: { title: null, labelLimit: 400 } }
  return {
    data: { values }, width: 460, height: { step: 24 },
    layer: [
      { mark: 'bar', encoding: { y, x: { field: 'value', type: 'quantitative', axis: { grid: false, title: 'questions a minute, 16 agents (95 % intervals)' } }, color: whose } },
      { mark: 'rule', encoding: { y, x: { field: 'low', type: 'quantitative' }, x2: { field: 'high' } } },
    ],
  }
}

async function svg(spec) {
  const config = { background: 'white', padding: 12, font: 'sans-serif', legend: { labelLimit: 400 }, view: { stroke: null } }
  const view = new View(parse(compile({ ...spec, config }).spec), { renderer: 'none' })
  return `${await view.toSVG()}\n`
}

const stale = []
for (const [name, spec] of Object.entries({ cpu: cpu(), sched: sched(), whole: whole() })) {
  const file = path.join(import.meta.dirname, `${name}.svg`)
  const drawn = await svg(spec)
  if (existsSync(file) && readFileSync(file, 'utf8') === drawn) continue
  if (process.argv.includes('--check')) stale.push(`${name}.svg`)
  else writeFileSync(file, drawn)
}
if (stale.length > 0) {
  process.stderr.write(`not those of the README's tables: ${stale.join(', ')}; node bench/readme/draw.mjs\n`)
  process.exitCode = 1
}
