import { execFile } from 'node:child_process'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'

import { describe, expect, test } from 'vitest'

import { checkpoint } from '../fixtures/paths.js'
import { emulatorBuilt, environment } from './emulator.js'

const root = path.resolve(import.meta.dirname, '../..')
const run = promisify(execFile)

/** The environment of a process without any CANN, and with one of the emulated installations. */
function processEnvironment(name?: string): NodeJS.ProcessEnv {
  const inherited = Object.entries(process.env).filter(([key]) => !/^(ASCEND_|LD_LIBRARY_PATH)/.test(key))
  return { ...Object.fromEntries(inherited), ...(name === undefined ? {} : environment(name)) }
}

interface Opened {
  /** `ERR_...: message`, or the device it runs on. */
  npu: string
  auto: string
  note: string
  /** Tokens generated on the CPU afterwards, in the same process. */
  cpu: number
}

// A process of its own: what was loaded once is never let go.
async function open(installation: string | undefined, device: string): Promise<Opened> {
  const code = `
    const { Engine } = await import(${JSON.stringify(pathToFileURL(path.join(root, 'dist/esm/index.js')).href)})
    const common = { model: ${JSON.stringify(checkpoint('pangu-npu'))}, maxContext: 128, kvTokens: 512, maxBatchTokens: 64, selfCheck: 'off' }
    const at = async (device) => {
      try {
        const engine = await Engine.open({ ...common, device })
        const { device: where, deviceNote } = engine.info
        const { tokens } = await engine.generate({ tokens: [5, 6, 7], maxTokens: 4, ignoreEos: true, sampling: { temperature: 0 } }).response
        await engine.close()
        return { where, deviceNote, tokens: tokens.length }
      } catch (error) {
        return { where: error.code + ': ' + error.message, deviceNote: '', tokens: 0 }
      }
    }
    const npu = await at(${JSON.stringify(device)}), auto = await at('auto'), cpu = await at('cpu')
    console.log(JSON.stringify({ npu: npu.where, auto: auto.where, note: auto.deviceNote, cpu: cpu.tokens }))`
  const { stdout } = await run(process.execPath, ['--input-type=module', '-e', code], { env: processEnvironment(installation), timeout: 60_000 })
  return JSON.parse(stdout.trim().split('\n').at(-1)!) as Opened
}

interface Finding {
  what: string
  found: string
  fix: string
}

async function doctor(installation?: string): Promise<Finding[]> {
  const main = path.join(root, 'dist/esm/cli/main.js')
  const options = { env: processEnvironment(installation), timeout: 60_000 }
  // Findings to fix end it with status 1.
  const { stdout } = await run(process.execPath, [main, 'doctor', '--json'], options).catch((error: { stdout: string }) => error)
  return JSON.parse(stdout) as Finding[]
}

test('without CANN the addon loads, says what is missing, and runs on the CPU', async () => {
  const opened = await open(undefined, 'npu:0')
  expect(opened.npu).toMatch(/^ERR_DEVICE: no NPU here: libascendcl.so .* Install CANN 8.5.0 or newer/s)
  expect(opened).toMatchObject({ auto: 'cpu', cpu: 4 })
  expect(opened.note).toContain('no NPU here')
  const found = await doctor()
  expect(found.find((row) => row.what === 'NPU')).toMatchObject({ found: 'none: no /dev/davinci*, no driver, no CANN', fix: '' })
})

describe.skipIf(!emulatorBuilt)('installations of CANN (emulated)', () => {
  test.each([
    ['stub', 'npu:0', /ERR_DEVICE: aclInit.*stub library/s],
    ['old-8.1', 'npu:0', /ERR_DEVICE: CANN 8\.1\.RC1 in .* is too old: .* 8\.5\.0 or newer/s],
    ['no-opapi', 'npu:0', /ERR_DEVICE: .*libopapi\.so/s],
    ['no-driver', 'npu:0', /ERR_DEVICE: CANN is installed but the Ascend driver is not: .*libascend_hal/s],
    ['no-device', 'npu:0', /ERR_DEVICE: aclInit failed with 500000: .*no usable device/s],
    ['no-hccl', 'npu:0,1', /ERR_DEVICE: .*libhccl\.so/s],
  ])('%s: %s is an error that says what is wrong; the CPU goes on', async (installation, device, message) => {
    const opened = await open(installation, device)
    expect(opened.npu).toMatch(message)
    expect(opened.auto).toBe(installation === 'no-hccl' ? 'npu:0' : 'cpu')
    expect(opened.cpu).toBe(4)
  })

  test.each(['toolkit', 'release-8.5', 'no-fia-v3', 'no-fused'])('%s works', async (installation) => {
    expect(await open(installation, 'npu:0')).toMatchObject({ npu: 'npu:0', auto: 'npu:0', cpu: 4 })
  })

  test('doctor: with all in place, every device and nothing to fix', async () => {
    const found = await doctor('toolkit')
    const npus = found.filter((row) => /^npu:\d$/.test(row.what))
    expect(npus).toHaveLength(8)
    expect(npus[0]!.found).toMatch(/free of/)
    expect(found.find((row) => row.what === 'NPU chip')!.found).toBe('8 x Ascend910B3')
    expect(found.find((row) => row.what === 'CANN')!.found).toMatch(/^9\.1\.0 in /)
    expect(found.filter((row) => /NPU|CANN|ASCEND|npu/.test(row.what) && row.fix !== '')).toEqual([])
  })

  test('doctor: broken installations say how to mend them', async () => {
    const old = await doctor('old-8.1')
    expect(old.find((row) => row.what === 'CANN')).toMatchObject({ found: 'does not load', fix: expect.stringContaining('too old') })
    const empty = await doctor('no-device')
    expect(empty.find((row) => row.what === 'CANN')!.fix).toContain('no usable device')
  })
})
