import { existsSync, readFileSync } from 'node:fs'
import os from 'node:os'
import type { Command } from 'commander'

import { AgentInferError } from '../errors.js'
import { addonPlaces, native } from '../native.js'
import { examineNpus } from './doctor_npu.js'
import type { Finding } from './doctor_npu.js'
import { bytes, table } from './output.js'

export function addDoctor(program: Command): void {
  program
    .command('doctor')
    .description('Show what this machine offers: found, needed, fix')
    .option('--json', 'print JSON')
    .action(async (flags: { json?: boolean }) => {
      const findings = await examine()
      process.stdout.write(
        flags.json === true
          ? `${JSON.stringify(findings, null, 2)}\n`
          : table([['', 'found', 'needed', 'fix'], ...findings.map((row) => [row.what, row.found, row.needed, row.fix])]),
      )
      if (findings.some((row) => row.fix !== '')) process.exitCode = 1
    })
}

async function examine(): Promise<Finding[]> {
  const host = [platform(), node(), ...addon(), memory(), hugePages()]
  return addonLoads() ? [...host, ...(await examineNpus())] : host
}

function addonLoads(): boolean {
  try {
    native()
    return true
  } catch {
    return false
  }
}

function platform(): Finding {
  const supported = ['linux-x64', 'linux-arm64', 'darwin-arm64', 'darwin-x64']
  const here = `${process.platform}-${process.arch}`
  return {
    what: 'platform',
    found: `${here}, ${libc()}`,
    needed: supported.join(', '),
    fix: supported.includes(here) ? '' : 'run on one of these',
  }
}

function libc(): string {
  const report = process.report.getReport() as { header?: { glibcVersionRuntime?: string } }
  const version = report.header?.glibcVersionRuntime
  return version === undefined ? 'no glibc' : `glibc ${version}`
}

function node(): Finding {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
  const enough = major > 20 || (major === 20 && minor >= 17)
  return { what: 'Node', found: process.versions.node, needed: '>= 20.17', fix: enough ? '' : 'install a newer Node' }
}

/** The folder the addon comes from: the first that is there, as node-gyp-build chooses. */
function place(): string {
  return addonPlaces.find((folder) => existsSync(folder)) ?? 'elsewhere'
}

function addon(): Finding[] {
  try {
    const { isas, threads } = native().cpu()
    return [
      { what: 'addon', found: `loads from ${place()}`, needed: 'loads', fix: '' },
      { what: 'instruction sets', found: isas.join(', '), needed: 'any', fix: '' },
      {
        what: 'cores',
        found: `${threads} usable of ${os.cpus().length} (${os.cpus()[0]?.model.trim() ?? 'unknown'})`,
        needed: '>= 1',
        fix: '',
      },
    ]
  } catch (error) {
    const message = error instanceof AgentInferError ? error.message : String(error)
    return [{ what: 'addon', found: message, needed: 'loads', fix: 'npm run build:native, or install a package with a prebuild' }]
  }
}

function memory(): Finding {
  return {
    what: 'memory',
    found: `${bytes(process.availableMemory())} free of ${bytes(os.totalmem())}`,
    needed: "the model's plan: agentinfer inspect --plan",
    fix: '',
  }
}

function hugePages(): Finding {
  let found = 'unknown'
  try {
    found = readFileSync('/sys/kernel/mm/transparent_hugepage/enabled', 'utf8').trim()
  } catch {
    // Not Linux, or not readable here: nothing depends on it.
  }
  return { what: 'huge pages', found, needed: 'madvise or always, for speed', fix: '' }
}
