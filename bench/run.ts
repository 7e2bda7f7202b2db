/**
 * npm run bench -- <case> [options] [--json FILE] [--html FILE] [--compare FILE], and `agentinfer bench` of the package.
 *
 * Runs a case in a process of its own, prints its rows as they come, and at the end one table. `<case> --help` lists the case's options.
 */
import { fork } from 'node:child_process'
import { closeSync, existsSync, openSync, readdirSync, realpathSync, unlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'

import { AgentInferError } from 'agentinfer'

import type { CaseMessage, CaseModule } from './case_process.js'
import { changes, differences, formatChanges } from './compare.js'
import { environment, readDocument } from './document.js'
import type { BenchDocument } from './document.js'
import { checkOption } from './options.js'
import type { CaseOption, CaseOptions } from './options.js'
import { figure, formatTable } from './report.js'
import type { About, Row } from './report.js'
import { resultPage } from './result_page.js'

const casesFolder = fileURLToPath(new URL('cases', import.meta.url))

const outputs = {
  json: { type: 'string', about: 'a file for everything, for programs and for --compare' },
  html: { type: 'string', about: 'a file for one page with plots' },
  compare: { type: 'string', about: 'what an earlier run wrote with --json: says what has changed' },
  help: { type: 'boolean', about: 'this' },
} as const

function caseNames(): string[] {
  return readdirSync(casesFolder)
    .filter((file) => file.endsWith('.js'))
    .map((file) => file.slice(0, -3))
}

async function caseModule(name: string): Promise<CaseModule> {
  return (await import(pathToFileURL(path.join(casesFolder, `${name}.js`)).href)) as CaseModule
}

/** What the package leaves out: it needs the trained models, or node-llama-cpp. */
const ofClone = new Set(['paper', 'peer'])

/** Returns the exit code. `command`: how it was called, for its help. */
export async function runBench(argv: readonly string[], command: string): Promise<number> {
  const [name, ...args] = argv
  if (name === undefined || !caseNames().includes(name)) {
    const asked = name === undefined || name === '--help' || name === '-h'
    ;(asked ? process.stdout : process.stderr).write(`${asked ? '' : missing(name)}${await usage(command)}`)
    return asked ? 0 : 2
  }
  const { options, description } = await caseModule(name)
  const values = valuesOf(args, { ...options, ...outputs }, `${command} ${name} --help`)
  if (values['help'] === true) {
    process.stdout.write(`${description}\n\noptions:\n${optionLines({ ...options, ...outputs })}`)
    return 0
  }
  for (const [key, one] of Object.entries<CaseOption>(options)) checkOption(key, one, values[key])
  const { json, html, compare, ...rest } = values
  const before = typeof compare === 'string' ? readDocument(compare) : undefined
  for (const [option, file] of Object.entries({ json, html })) if (typeof file === 'string') assertWritable(option, file)
  const { rows, about } = await runCase(name, rest)
  if (rows.length === 0) throw new Error(`${name} has measured nothing: its options leave nothing to do here`)
  process.stdout.write(`\n${formatTable(rows)}\n`)
  const document: BenchDocument = { version: 1, case: name, date: new Date().toISOString(), environment: environment(), options: rest, about, rows }
  const compared = before === undefined ? undefined : { file: String(compare), changes: changes(before, rows), differences: differences(before, document) }
  if (compared !== undefined) process.stdout.write(`\n${formatChanges(compared.changes, compared.differences)}\n`)
  if (typeof json === 'string') writeFileSync(json, `${JSON.stringify(document, null, 2)}\n`)
  if (typeof html === 'string') writeFileSync(html, resultPage(document, compared))
  return 0
}

/** @throws {AgentInferError} for options that there are not, and those that have no value. `help`: what lists them. */
function valuesOf(args: string[], options: CaseOptions, help: string): Record<string, string | boolean | undefined> {
  try {
    return parseArgs({ args, options }).values
  } catch (error) {
    throw new AgentInferError('ERR_INVALID_ARGUMENT', `${(error as Error).message}: ${help} lists what there is`, { cause: error })
  }
}

function missing(name: string): string {
  return ofClone.has(name) ? `the case '${name}' is not in the package: in a clone, run npm run bench -- ${name}\n` : `there is no case '${name}'\n`
}

async function usage(command: string): Promise<string> {
  const lines = await Promise.all(caseNames().map(async (name) => `  ${name.padEnd(14)}${(await caseModule(name)).description}\n`))
  return `usage: ${command} <case> [options] [--json FILE] [--html FILE] [--compare OLD.json]\n\ncases (<case> --help lists options):\n${lines.join('')}`
}

function optionLines(options: CaseOptions): string {
  return Object.entries(options)
    .map(([name, { type, default: usual = '', about = '' }]) => {
      const shown = type === 'boolean' || usual === '' ? '' : `default: ${String(usual)}`
      return `  ${`--${name}${type === 'boolean' ? '' : ' <value>'}`.padEnd(28)}${[about, shown].filter(Boolean).join('; ')}`.trimEnd() + '\n'
    })
    .join('')
}

/** Before minutes of measuring, not behind them. Leaves nothing. */
function assertWritable(option: string, file: string): void {
  const there = existsSync(file)
  try {
    closeSync(openSync(file, 'a'))
  } catch (error) {
    throw new AgentInferError('ERR_IO', `--${option}: expected a file that can be written: ${(error as Error).message}`, { cause: error })
  }
  if (!there) unlinkSync(file)
}

function runCase(name: string, values: Record<string, unknown>): Promise<{ rows: Row[]; about: About }> {
  const rows: Row[] = []
  let about: About = {}
  const interactive = process.stderr.isTTY
  const child = fork(fileURLToPath(new URL('case_process.js', import.meta.url)), [name, JSON.stringify(values)])
  child.on('message', (message: CaseMessage) => {
    if (message.kind === 'about') {
      about = { ...about, ...message.about }
      return
    }
    if (interactive) process.stderr.write('\r\x1b[K')
    if (message.kind === 'progress') {
      if (interactive) process.stderr.write(message.text.slice(0, (process.stderr.columns || 80) - 1))
      return
    }
    if (message.kind === 'text') {
      process.stdout.write(`${message.text}\n`)
      return
    }
    rows.push(message.row)
    process.stdout.write(`${message.row.name}: ${figure(message.row.value)} ${message.row.unit}\n`)
  })
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('exit', (code, signal) => {
      if (interactive) process.stderr.write('\r\x1b[K')
      if (code === 0) resolve({ rows, about })
      else reject(new Error(`${name} ended with ${signal ?? `code ${code}`}`))
    })
  })
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url))
  try {
    process.exitCode = await runBench(process.argv.slice(2), 'npm run bench --')
  } catch (error) {
    const code = error instanceof AgentInferError ? `${error.code}: ` : ''
    process.stderr.write(`${code}${error instanceof Error ? error.message : String(error)}\n`)
    process.exitCode = 1
  }
