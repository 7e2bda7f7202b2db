/** The emulated Ascend toolkit that the native build leaves in build/cmake/ascend-emulator (Linux only). */
import { existsSync } from 'node:fs'
import path from 'node:path'

const root = path.resolve(import.meta.dirname, '../../build/cmake/ascend-emulator')

/** An installation of the emulated toolkit: 'toolkit', or one of the variants of test/ascend-emulator/variants.cmake. */
export function installation(name = 'toolkit'): string {
  return path.join(root, name)
}

/** Without it the tests on an NPU are skipped, except in CI, where that would hide them. */
export const emulatorBuilt = existsSync(path.join(installation(), 'lib64/libascendcl.so')) || (process.env['CI'] !== undefined && process.platform === 'linux')

/** What set_env.sh of an installation does; the addon looks there when it first needs an NPU. */
export function environment(name = 'toolkit'): Record<string, string> {
  return { ASCEND_HOME_PATH: installation(name), ASCEND_TOOLKIT_HOME: installation(name) }
}
