import { existsSync } from 'node:fs'
import path from 'node:path'

/** What a case's engines run on: its `--device`, which case_process puts into the environment, for processes of the case's own too. */
export function device(): string {
  return process.env['AGENTINFER_BENCH_DEVICE'] ?? 'cpu'
}

/** Limits of this machine, peers and targets are the CPU's; so are blocks of a size of one's own. `auto`, until it is settled, is neither. */
export function onCpu(): boolean {
  return device() === 'cpu'
}

/** The NPUs are those of test/ascend-emulator: what is measured on them is marked so. */
export function emulated(): boolean {
  return !onCpu() && ['ASCEND_HOME_PATH', 'ASCEND_TOOLKIT_HOME'].some((name) => existsSync(path.join(process.env[name] ?? '', 'emulator.env')))
}

/** Options of an engine that hold on the CPU alone: an NPU has its own. */
export function cpuOnly<T extends object>(options: T): Partial<T> {
  return onCpu() ? options : {}
}
