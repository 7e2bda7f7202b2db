/** The native micro-benchmarks (bench/native): built on first use in build/bench, run in processes of their own. */
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

import type { Report, Row } from './report.js'

const run = promisify(execFile)
const root = fileURLToPath(new URL('../..', import.meta.url))
const folder = path.join(root, 'build/bench')

/** Whether there is something to build: a package has no C++ sources. */
export function hasSources(): boolean {
  return existsSync(path.join(root, 'CMakeLists.txt'))
}

/** The rows of `name`, such as `kv_bench`; `args` beside `--json`. Their targets are upper bounds. */
export async function nativeBench(report: Report, name: string, args: readonly string[] = []): Promise<Row[]> {
  report.progress(`building ${name}`)
  await run('cmake', ['-S', root, '-B', folder, '-DCMAKE_BUILD_TYPE=Release'])
  await run('cmake', ['--build', folder, '--target', name, '--parallel', '2'])
  report.progress(name)
  const { stdout } = await run(path.join(folder, name), ['--json', ...args])
  return (JSON.parse(stdout) as { rows: Row[] }).rows
}
