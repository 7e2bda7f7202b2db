/** What `doctor` says of NPUs: driver, firmware, CANN, chip, devices, memory, permissions, environment. */
import { accessSync, constants, existsSync, readFileSync, readdirSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'

import { native } from '../native.js'
import type { NpuReport } from '../native.js'
import { bytes } from './output.js'

export interface Finding {
  what: string
  found: string
  needed: string
  /** What to do; empty: nothing. */
  fix: string
}

const driverFolder = '/usr/local/Ascend/driver'

/** Rows for the NPUs of this host. Where nothing points to one there is a single row, and nothing to fix. */
export async function examineNpus(): Promise<Finding[]> {
  if (process.platform !== 'linux') return [none('not on this system')]
  const nodes = deviceNodes()
  const environment = { ...process.env }
  const report = await native().npu()
  const signs = nodes.length > 0 || existsSync(driverFolder) || report.loaded || environment['ASCEND_HOME_PATH'] !== undefined
  if (!signs) return [none('none: no /dev/davinci*, no driver, no CANN')]
  // With CANN working, what its devices need is there, wherever it lies.
  const works = report.loaded && report.problem === ''
  return [
    versionRow('NPU driver', `${driverFolder}/version.info`, '25.5 or newer; graphs need 25.0.RC1', works),
    versionRow('NPU firmware', '/usr/local/Ascend/firmware/version.info', 'of the same release as the driver', works),
    nodesRow(nodes, works),
    ...permissionRows(nodes),
    cannRow(report),
    ...operatorRows(report),
    ...deviceRows(report),
    ...environmentRows(report, environment),
  ]
}

function none(found: string): Finding {
  return { what: 'NPU', found, needed: "only for device: 'npu:0'", fix: '' }
}

function deviceNodes(): string[] {
  try {
    return readdirSync('/dev').filter((name) => /^davinci\d+$/.test(name)).toSorted((a, b) => Number(a.slice(7)) - Number(b.slice(7)))
  } catch {
    return []
  }
}

function versionOf(file: string): string | undefined {
  try {
    return /^Version=(.*)$/m.exec(readFileSync(file, 'utf8'))?.[1]?.trim()
  } catch {
    return undefined
  }
}

function versionRow(what: string, file: string, needed: string, works: boolean): Finding {
  const version = versionOf(file)
  const fix = version === undefined && !works ? 'install the Ascend driver and firmware (HDK), or mount them into the container' : ''
  return { what, found: version ?? `no ${file}`, needed, fix }
}

function nodesRow(nodes: string[], works: boolean): Finding {
  return {
    what: 'NPU device nodes',
    found: nodes.length === 0 ? 'none' : nodes.map((name) => `/dev/${name}`).join(', '),
    needed: '/dev/davinci<n>, davinci_manager, devmm_svm, hisi_hdc',
    fix: nodes.length === 0 && !works ? 'in a container: pass --device=/dev/davinci0 --device=/dev/davinci_manager --device=/dev/devmm_svm --device=/dev/hisi_hdc' : '',
  }
}

function permissionRows(nodes: string[]): Finding[] {
  if (nodes.length === 0) return []
  const wanted = [...nodes.map((name) => `/dev/${name}`), '/dev/davinci_manager', '/dev/devmm_svm', '/dev/hisi_hdc']
  const closed = wanted.filter((node) => {
    try {
      accessSync(node, constants.R_OK | constants.W_OK)
      return false
    } catch {
      return true
    }
  })
  const user = os.userInfo().username
  return [
    {
      what: 'NPU permissions',
      found: closed.length === 0 ? `${user} may open all of them` : `${user} may not open ${closed.join(', ')}`,
      needed: 'group HwHiAiUser, or root',
      fix: closed.length === 0 ? '' : `usermod -aG HwHiAiUser ${user}, then log in anew; in a container also --device for each`,
    },
  ]
}

function cannRow(report: NpuReport): Finding {
  const needed = `${report.minimum} or newer`
  if (!report.loaded) return { what: 'CANN', found: 'does not load', needed, fix: report.problem }
  return { what: 'CANN', found: `${report.version} in ${report.folder}`, needed, fix: '' }
}

/** Operators without which another way is taken, or a feature is missing. */
function operatorRows(report: NpuReport): Finding[] {
  if (!report.loaded) return []
  return [
    {
      what: 'NPU operators',
      found: report.absent.length === 0 ? 'all' : `all that are needed; without ${report.absent.join(', ')}`,
      needed: 'kernels package of this chip (opp)',
      fix: '',
    },
  ]
}

function deviceRows(report: NpuReport): Finding[] {
  if (!report.loaded) return []
  if (report.devices.length === 0) return [{ what: 'NPU', found: 'none', needed: 'at least one', fix: report.problem }]
  const known = /^Ascend910(B\d|_9)/.test(report.soc)
  return [
    {
      what: 'NPU chip',
      found: `${report.devices.length} x ${report.soc}`,
      needed: 'Ascend910B1 to B4 (Atlas A2); A3 is likely to work',
      fix: known ? '' : 'this chip is not known to have bf16 and paged attention over packed tokens',
    },
    ...report.devices.map(({ id, free, total, problem }) => ({
      what: `npu:${id}`,
      found: problem === '' ? `${bytes(free)} free of ${bytes(total)}` : 'does not open',
      needed: "the model's plan: agentinfer inspect --plan --device npu",
      fix: problem,
    })),
  ]
}

function environmentRows(report: NpuReport, environment: NodeJS.ProcessEnv): Finding[] {
  const rows: Finding[] = []
  const home = environment['ASCEND_HOME_PATH']
  rows.push({
    what: 'ASCEND_HOME_PATH',
    found: home ?? 'not set',
    needed: 'as set_env.sh leaves it',
    fix: home !== undefined && !existsSync(path.join(home, 'lib64')) ? `${home}/lib64 does not exist: source the set_env.sh of the CANN that is installed` : '',
  })
  const opp = environment['ASCEND_OPP_PATH']
  rows.push({
    what: 'ASCEND_OPP_PATH',
    found: opp ?? 'not set',
    needed: 'as set_env.sh leaves it',
    fix: opp === undefined && !report.loaded ? 'source set_env.sh before starting Node (services do not inherit it)' : '',
  })
  const visible = environment['ASCEND_RT_VISIBLE_DEVICES']
  if (visible !== undefined) {
    const wanted = visible.split(',').length
    rows.push({
      what: 'ASCEND_RT_VISIBLE_DEVICES',
      found: visible,
      needed: 'ascending numbers of this container',
      fix:
        report.loaded && report.devices.length < wanted
          ? `${report.devices.length} of ${wanted} are seen: the list ends at the first number that is not there`
          : '',
    })
  }
  for (const stub of (environment['LD_LIBRARY_PATH'] ?? '').split(':').filter((folder) => /(^|\/)(devlib|stub)\/?$/.test(folder)))
    rows.push({ what: 'LD_LIBRARY_PATH', found: stub, needed: 'no stubs', fix: `take ${stub} out: it holds link-time stubs` })
  return rows
}
