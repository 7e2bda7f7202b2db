/** What a run leaves behind: its figures, and everything that they depend on. */
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

import { AgentInferError } from 'agentinfer'

import type { About, Row } from './report.js'

export interface Finding {
  readonly what: string
  readonly found: string
}

export interface Environment {
  readonly package: string
  /** Of the clone this runs in; undefined in an installed package. */
  readonly commit: string | undefined
  readonly cpu: string
  readonly cores: number
  readonly memoryBytes: number
  readonly platform: string
  readonly kernel: string
  readonly node: string
  /** What `agentinfer doctor` says of this host: instruction sets, NPU driver, firmware, CANN, chips. */
  readonly host: readonly Finding[]
}

export interface BenchDocument {
  readonly version: 1
  readonly case: string
  readonly date: string
  readonly environment: Environment
  readonly options: Readonly<Record<string, unknown>>
  /** Models and devices. */
  readonly about: About
  readonly rows: readonly Row[]
}

const root = fileURLToPath(new URL('../..', import.meta.url))

export function environment(): Environment {
  const { version } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as { version: string }
  return {
    package: version,
    commit: commit(),
    cpu: os.cpus()[0]?.model.trim() ?? 'unknown',
    cores: os.availableParallelism(),
    memoryBytes: os.totalmem(),
    platform: `${process.platform}-${process.arch}`,
    kernel: os.release(),
    node: process.versions.node,
    host: doctor(),
  }
}

function commit(): string | undefined {
  if (!existsSync(path.join(root, '.git'))) return undefined
  try {
    return execFileSync('git', ['-C', root, 'rev-parse', 'HEAD'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
  } catch {
    return undefined // git itself is missing
  }
}

function doctor(): Finding[] {
  try {
    const said = execFileSync(process.execPath, [path.join(root, 'dist/esm/cli/main.js'), 'doctor', '--json'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
    return findings(said)
  } catch (error) {
    // It ends with 1 when something is to be fixed, and has said its piece all the same.
    const { stdout } = error as { stdout?: string }
    if (stdout === undefined || stdout === '') throw error
    return findings(stdout)
  }
}

function findings(json: string): Finding[] {
  return (JSON.parse(json) as Finding[]).map(({ what, found }) => ({ what, found }))
}

/** @throws {Error} when it is not what a run with `--json` has written. */
export function readDocument(file: string): BenchDocument {
  const wrong = (problem: string, cause?: unknown) =>
    new AgentInferError('ERR_INVALID_ARGUMENT', `--compare ${file}: expected what a benchmark wrote with --json (version 1): ${problem}`, { cause })
  let document: Partial<BenchDocument>
  try {
    document = JSON.parse(readFileSync(file, 'utf8')) as Partial<BenchDocument>
  } catch (error) {
    throw wrong((error as Error).message, error)
  }
  if (document.version !== 1 || !Array.isArray(document.rows)) throw wrong(`it has version ${String(document.version)}`)
  return document as BenchDocument
}
