// A project that depends on the packed tarball, installed as most users do today: with no install script run, and without a network.
import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'

export const root = path.join(import.meta.dirname, '../..')

export interface Manifest {
  name: string
  version: string
  dependencies: Record<string, string>
}
export const manifest = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as Manifest

export interface Packed {
  /** Path of the .tgz. */
  tarball: string
  files: { path: string; size: number }[]
  /** Bytes of the .tgz, and of its contents. */
  size: number
  unpackedSize: number
}

export interface Ended {
  code: number
  stdout: string
  stderr: string
}

export async function run(command: string, args: readonly string[], cwd: string): Promise<Ended> {
  try {
    // npm's settings of the run that started this test are not those of the project under test.
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('npm_')))
    return { code: 0, ...(await promisify(execFile)(command, args, { cwd, env, maxBuffer: 2 ** 26 })) }
  } catch (error) {
    return error as Ended
  }
}

async function succeed(command: string, args: readonly string[], cwd: string): Promise<Ended> {
  const ended = await run(command, args, cwd)
  if (ended.code !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${ended.code}:\n${ended.stdout}${ended.stderr}`)
  return ended
}

/** Packs this checkout as it is built; the tarball lies in a temporary folder of its own. */
export async function pack(): Promise<Packed> {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'agentinfer-pack-'))
  const { stdout } = await succeed('npm', ['pack', '--ignore-scripts', '--json', '--pack-destination', folder], root)
  const [packed] = JSON.parse(stdout) as (Omit<Packed, 'tarball'> & { filename: string })[]
  if (packed === undefined) throw new Error(`npm pack said nothing: ${stdout}`)
  return { ...packed, tarball: path.join(folder, packed.filename) }
}

/** Installs a tarball into a fresh project; returns the project's folder. */
export async function install(tarball: string): Promise<string> {
  const folder = path.join(path.dirname(tarball), 'consumer')
  mkdirSync(folder)
  // The package's own dependencies come from this checkout, at the versions of its lock file.
  const local = Object.keys(manifest.dependencies).map((name) => [name, `file:${path.join(root, 'node_modules', name)}`])
  const dependencies = { [manifest.name]: `file:${tarball}`, ...(Object.fromEntries(local) as Record<string, string>) }
  writeFileSync(path.join(folder, 'package.json'), JSON.stringify({ name: 'consumer', private: true, dependencies }))
  await succeed('npm', ['install', '--offline', '--ignore-scripts', '--install-links', '--no-audit', '--no-fund'], folder)
  return folder
}

export function discard(tarball: string): void {
  rmSync(path.dirname(tarball), { recursive: true, force: true })
}
