/** What commands print: results to stdout, everything else to stderr. */
import { InvalidArgumentError } from 'commander'

import { AgentInferError } from '../errors.js'

export function reportError(error: unknown, debug: boolean): void {
  if (error instanceof AgentInferError) process.stderr.write(`${error.code}: ${error.message}\n`)
  else process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
  if (debug && error instanceof Error) process.stderr.write(`${error.stack ?? ''}\n`)
}

/** A percentage that rewrites itself on a terminal; silent elsewhere. */
export function progressLine(label: string): { update(done: number, total: number): void; end(): void } {
  if (!process.stderr.isTTY) return { update: () => undefined, end: () => undefined }
  let shown = -1
  return {
    update(done, total) {
      const percent = total === 0 ? 100 : Math.floor((100 * done) / total)
      if (percent === shown) return
      shown = percent
      process.stderr.write(`\r${label} ${percent} %`)
    },
    end: () => process.stderr.write('\r\u001b[K'),
  }
}

/** "12.3 MB", decimal units. */
export function bytes(count: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB']
  const power = count < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(count) / 3))
  return `${(count / 1000 ** power).toFixed(power === 0 ? 0 : 1)} ${units[power]}`
}

/** Left-aligned columns. */
export function table(rows: readonly (readonly string[])[]): string {
  const columns = Math.max(...rows.map((row) => row.length))
  const widths = Array.from({ length: columns }, (_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)))
  return rows.map((row) => row.map((cell, i) => cell.padEnd(widths[i]!)).join('  ').trimEnd()).join('\n') + '\n'
}

/** An option's value as a number. What is thrown commander tells with the option's name. */
export function number(text: string): number {
  const value = Number(text)
  if (text.trim() === '' || Number.isNaN(value)) throw new InvalidArgumentError(`expected a number, got '${text}'`)
  return value
}

/** Whoever reads the output may leave when they have seen enough (`| head`): then there is nothing more to say. */
export function endWithReader(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error
    process.exit(0)
  })
}
