/** A run beside an earlier one: what changed, and what else was different. */
import type { BenchDocument } from './document.js'
import { figure, formatCells } from './report.js'
import type { Row } from './report.js'

/** `same`: the spreads of the two overlap. `unknown`: there is no spread to judge by, or only one sample. */
type Verdict = 'better' | 'worse' | 'same' | 'unknown'

export interface Change {
  readonly row: Row
  readonly before: Row
  /** New over old. */
  readonly ratio: number
  readonly verdict: Verdict
}

/** Rows that both have, by name and unit. */
export function changes(before: BenchDocument, rows: readonly Row[]): Change[] {
  return rows.flatMap((row): Change[] => {
    const old = before.rows.find(({ name, unit }) => name === row.name && unit === row.unit)
    return old === undefined ? [] : [{ row, before: old, ratio: row.value / old.value, verdict: judge(old, row) }]
  })
}

function judge(before: Row, now: Row): Verdict {
  if (before.spread === undefined || now.spread === undefined || single(before) || single(now)) return 'unknown'
  const higher = now.spread[0] > before.spread[1]
  const lower = now.spread[1] < before.spread[0]
  if (!higher && !lower) return 'same'
  return higher === (now.better !== 'lower') ? 'better' : 'worse'
}

/** One sample says nothing of how far others would lie from it. */
function single({ spread }: Row): boolean {
  return spread !== undefined && spread[0] === spread[1]
}

/** Facts that should be the same for figures to be compared, and are not. */
export function differences(before: BenchDocument, now: BenchDocument): string[] {
  const facts = (document: BenchDocument): Record<string, unknown> => {
    const { host, commit: _commit, ...plain } = document.environment
    const found = Object.fromEntries(host.filter(({ what }) => what !== 'memory').map((row) => [row.what, row.found]))
    return { case: document.case, ...plain, ...found, ...flat('option', document.options), ...flat('', document.about) }
  }
  const [old, fresh] = [facts(before), facts(now)]
  const names = new Set([...Object.keys(old), ...Object.keys(fresh)])
  return Array.from(names)
    .filter((name) => JSON.stringify(old[name]) !== JSON.stringify(fresh[name]))
    .map((name) => `${name}: ${said(old[name])} before, ${said(fresh[name])} now`)
}

const said = (value: unknown): string => (value === undefined ? 'nothing' : typeof value === 'string' ? value : JSON.stringify(value))

function flat(prefix: string, object: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(object).flatMap(([name, value]): [string, unknown][] =>
      typeof value === 'object' && value !== null && !Array.isArray(value)
        ? Object.entries(flat(`${prefix} ${name}`.trim(), value as Record<string, unknown>))
        : [[`${prefix} ${name}`.trim(), value]],
    ),
  )
}

export function formatChanges(list: readonly Change[], differing: readonly string[]): string {
  const cells = list.map(({ row, before, ratio, verdict }) => [row.name, figure(before.value), figure(row.value), row.unit, `${figure(ratio)}x`, verdict === 'unknown' ? '' : verdict])
  const notes = differing.map((line) => `! ${line}`)
  return [formatCells([['', 'before', 'now', 'unit', 'ratio', ''], ...cells], new Set([1, 2, 4])), ...notes].join('\n')
}
