/**
 * npm run bench -- <case> [--device npu:0] [options] [--json FILE]
 *
 * Runs a case in a process of its own, prints its rows as they come, and at the end one table. `<case> --help` lists the case's options.
 */
import { execFileSync, fork } from 'node:child_process'
import { readdirSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

import { figure, formatTable } from './report.js'
import type { Row } from './report.js'
import type { CaseMessage, CaseModule } from './case_process.js'

const casesFolder = fileURLToPath(new URL('cases', import.meta.url))

function caseNames(): string[] {
  return readdirSync(casesFolder)
    .filter((file) => file.endsWith('.js'))
    .map((file) => file.slice(0, -3))
}

async function main(): Promise<void> {
  const [name, ...args] = process.argv.slice(2)
  if (name === undefined || !caseNames().includes(name)) {
    process.stderr.write(`usage: npm run bench -- <case> [--device npu:0] [options] [--json FILE]\ncases: ${caseNames().join(', ')}\n`)
    process.exitCode = 2
    return
  }
  const { options, description } = (await import(path.join(casesFolder, `${name}.js`))) as CaseModule
  const { values } = parseArgs({ args, options: { ...options, device: { type: 'string', default: 'cpu' }, json: { type: 'string' }, help: { type: 'boolean' } } })
  if (values.help === true) {
    process.stdout.write(`${description}\noptions: ${[...Object.keys(options), 'device', 'json'].map((key) => `--${key}`).join(' ')}\n`)
    return
  }
  const { json, ...rest } = values
  const rows = await runCase(name, rest)
  process.stdout.write(`\n${formatTable(rows)}\n`)
  if (typeof json === 'string') writeFileSync(json, `${JSON.stringify(document(name, rest, rows), null, 2)}\n`)
}

function runCase(name: string, values: Record<string, unknown>): Promise<Row[]> {
  const rows: Row[] = []
  const interactive = process.stderr.isTTY
  const child = fork(fileURLToPath(new URL('case_process.js', import.meta.url)), [name, JSON.stringify(values)], {
    env: { ...process.env, AGENTINFER_BENCH_DEVICE: String(values['device']) },
  })
  child.on('message', (message: CaseMessage) => {
    if (interactive) process.stderr.write('\r\x1b[K')
    if (message.kind === 'progress') {
      if (interactive) process.stderr.write(message.text)
      return
    }
    rows.push(message.row)
    process.stdout.write(`${message.row.name}: ${figure(message.row.value)} ${message.row.unit}\n`)
  })
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('exit', (code, signal) => {
      if (code === 0) resolve(rows)
      else reject(new Error(`${name} ended with ${signal ?? `code ${code}`}`))
    })
  })
}

function document(name: string, options: Record<string, unknown>, rows: readonly Row[]): object {
  const machine = {
    cpu: os.cpus()[0]?.model ?? 'unknown',
    cores: os.availableParallelism(),
    memoryBytes: os.totalmem(),
    platform: `${process.platform}-${process.arch}`,
    node: process.versions.node,
  }
  return { case: name, commit: commit(), date: new Date().toISOString(), machine, options, rows }
}

function commit(): string {
  try {
    return execFileSync('git', ['rev-parse', 'HEAD'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
  } catch {
    return 'unknown' // not a clone
  }
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
  process.exitCode = 1
})
