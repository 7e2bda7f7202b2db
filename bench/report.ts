/** What a benchmark case says, and how it is shown. */
export interface Row {
  name: string
  /** The median where there are several samples. */
  value: number
  unit: string
  /** Smallest and largest sample; of a percentile: where it lies in 95 of 100 drawings of the same requests. */
  spread?: readonly [number, number]
  /** What the machine allows at most, measured in the same run. */
  limit?: number
  target?: number
  /** Which side of the target is good; default: higher. */
  better?: 'higher' | 'lower'
  /** Computed from the measurement of this run; absent without a target. */
  holds?: boolean
  /** Not measured: computed from a model. */
  modelled?: boolean
  note?: string
  /** Rows of one plot, line by line. */
  plot?: { readonly title: string; readonly xTitle: string; readonly x: number; readonly line: string }
}

/** What was measured: facts about models and devices, by name. */
export type About = Readonly<Record<string, unknown>>

export class Report {
  readonly rows: Row[] = []
  readonly #onRow: (row: Row) => void
  readonly #onProgress: (text: string) => void
  readonly #onAbout: (about: About) => void
  readonly #onText: (text: string) => void

  constructor(
    onRow: (row: Row) => void,
    onProgress: (text: string) => void,
    onAbout: (about: About) => void = () => undefined,
    onText: (text: string) => void = () => undefined,
  ) {
    this.#onRow = onRow
    this.#onProgress = onProgress
    this.#onAbout = onAbout
    this.#onText = onText
  }

  /** For the record of the run; later facts of a name replace earlier ones. */
  about(facts: About): void {
    this.#onAbout(facts)
  }

  add(row: Row): void {
    const { target, value, better = 'higher' } = row
    const judged = target === undefined ? row : { ...row, holds: better === 'higher' ? value >= target : value <= target }
    this.rows.push(judged)
    this.#onRow(judged)
  }

  /** A row of samples: median and spread. */
  addSamples(row: Omit<Row, 'value' | 'spread'>, samples: readonly number[]): void {
    this.add({ ...row, value: median(samples), spread: [Math.min(...samples), Math.max(...samples)] })
  }

  /** A line, or a table, that is no figure and stays. */
  say(text: string): void {
    this.#onText(text)
  }

  /** What is being done, for who is waiting; the next one takes its place. */
  progress(text: string): void {
    this.#onProgress(text)
  }
}

export function median(samples: readonly number[]): number {
  return quantile(samples, 0.5)
}

/** Linear between the two nearest ranks; q in [0, 1]. */
export function quantile(samples: readonly number[], q: number): number {
  if (samples.length === 0) throw new RangeError('quantile: expected at least one sample')
  const sorted = Float64Array.from(samples).toSorted()
  const at = q * (sorted.length - 1)
  const low = sorted[Math.floor(at)]!
  return low + (sorted[Math.ceil(at)]! - low) * (at - Math.floor(at))
}

/** Three significant digits, thousands apart. */
export function figure(value: number): string {
  if (!Number.isFinite(value)) return String(value)
  const digits = value === 0 ? 0 : Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))))
  return value.toLocaleString('en', { maximumFractionDigits: Math.min(digits, 6), minimumFractionDigits: 0 })
}

const headings = ['', 'figure', 'unit', 'spread', 'limit', 'target', '', '']

export function formatTable(rows: readonly Row[]): string {
  const cells = rows.map(rowCells)
  const heads = headings.map((head, column) => (cells.some((row) => row[column] !== '') ? head : ''))
  return formatCells([heads, ...cells], new Set([1]))
}

/** Columns side by side, those in `right` aligned to the right; empty ones are left out. */
export function formatCells(cells: readonly (readonly string[])[], right: ReadonlySet<number>): string {
  const widths = cells[0]!.map((_, column) => Math.max(...cells.map((row) => row[column]!.length)))
  const shown = widths.map((width, column) => width > 0 || column === 0)
  return cells
    .map((row) =>
      row
        .map((cell, column) => (right.has(column) ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!)))
        .filter((_, column) => shown[column])
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

/** How much of what the machine allows was reached; 1: all of it. */
export function shareOfLimit(value: number, limit: number, better: Row['better']): number {
  return better === 'lower' ? limit / value : value / limit
}

function rowCells(row: Row): string[] {
  const compare = row.better === 'lower' ? '<=' : '>='
  return [
    row.name,
    figure(row.value),
    row.unit,
    row.spread === undefined ? '' : `${figure(row.spread[0])}..${figure(row.spread[1])}`,
    row.limit === undefined ? '' : `${figure(row.limit)} (${figure(100 * shareOfLimit(row.value, row.limit, row.better))} %)`,
    row.target === undefined ? '' : `${compare} ${figure(row.target)}`,
    row.holds === undefined ? '' : row.holds ? 'holds' : 'misses',
    [row.modelled === true ? 'modelled' : '', row.note ?? ''].filter(Boolean).join('; '),
  ]
}
