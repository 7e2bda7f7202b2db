// `agentinfer bench` as its users run it, on the tiny checkpoint, and its page in a browser.
import { execFile } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'

import { chromium } from 'playwright-core'
import { afterAll, beforeAll, expect, test } from 'vitest'

import type { BenchDocument } from '../../bench/document.js'
import { emulatorBuilt, environment as emulator } from '../boundary/emulator.js'
import { checkpoint } from '../fixtures/paths.js'

const main = path.join(import.meta.dirname, '../../dist/esm/cli/main.js')
const folder = mkdtempSync(path.join(os.tmpdir(), 'agentinfer-bench-test-'))
afterAll(() => rmSync(folder, { recursive: true }))

async function bench(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  try {
    return { code: 0, ...(await promisify(execFile)(process.execPath, [main, 'bench', ...args], { cwd: folder })) }
  } catch (error) {
    return error as { code: number; stdout: string; stderr: string }
  }
}

const load = ['serve', '--model', checkpoint('pangu'), '--requests', '12', '--rates', '40,80', '--output', '4-8', '--input', '32', '--shared', '32']
let ended: Awaited<ReturnType<typeof bench>>
let document: BenchDocument
beforeAll(async () => {
  ended = await bench(...load, '--json', 'old.json')
  document = JSON.parse(readFileSync(path.join(folder, 'old.json'), 'utf8')) as BenchDocument
})

test('it ends well, and shows no progress where nobody looks', () => {
  expect(ended.code, ended.stderr).toBe(0)
  expect(ended.stderr).toBe('')
})

test('serve gives every percentile of every metric and the goodput at each rate', () => {
  const names = document.rows.map(({ name }) => name)
  for (const rate of [40, 80])
    for (const metric of ['TTFT', 'TPOT', 'ITL', 'E2E'])
      for (const statistic of ['mean', 'p50', 'p90', 'p99']) expect(names).toContain(`${rate} req/s: ${metric} ${statistic}`)
  const value = (name: string): number => document.rows.find((row) => row.name === name)!.value
  expect(value('40 req/s: TTFT p50')).toBeLessThanOrEqual(value('40 req/s: TTFT p99'))
  expect(value('40 req/s: goodput')).toBeGreaterThan(0)
  // What all share is read once at each rate; prompts are not found again from the rate before.
  expect(value('80 req/s: hit rate')).toBeLessThan(90)
})

test('the record says what it was measured on', () => {
  const { environment, about, options } = document
  expect(environment.host.map(({ what }) => what)).toContain('instruction sets')
  expect(environment.package).toMatch(/^\d+\.\d+\.\d+/)
  expect(about['model']).toMatchObject({ architecture: 'PanguEmbeddedForCausalLM', device: 'cpu', fingerprint: expect.stringMatching(/^[0-9a-f]{16}$/) as unknown })
  expect(options).toMatchObject({ rates: '40,80', burstiness: '1' })
})

test('latency and throughput set their figures beside the limit of the device', async () => {
  const flags = ['--model', checkpoint('pangu'), '--rounds', '2', '--output', '6', '--json', 'figures.json']
  for (const args of [['throughput', '--sequences', '1,2', '--input', '16'], ['latency', '--inputs', '16,32']]) {
    const made = await bench(...args, ...flags)
    expect(made.code, made.stderr).toBe(0)
    const { rows } = JSON.parse(readFileSync(path.join(folder, 'figures.json'), 'utf8')) as BenchDocument
    const limited = rows.filter(({ limit }) => limit !== undefined)
    expect(limited.length).toBeGreaterThan(1)
    for (const { note, limit } of limited) {
      expect(limit).toBeGreaterThan(0)
      expect(note).toContain('measured on this machine')
    }
  }
})

test.skipIf(!emulatorBuilt)('what is measured on the emulator says so, and stands beside no limit', async () => {
  const flags = ['--rounds', '1', '--output', '4', '--input', '16', '--sequences', '1', '--json', 'emulated.json']
  const made = await promisify(execFile)(process.execPath, [main, 'bench', 'throughput', '--device', 'npu:0', '--model', checkpoint('pangu-npu'), ...flags], {
    cwd: folder, env: { ...process.env, ...emulator() },
  })
  expect(made.stderr).toBe('')
  const { rows, about } = JSON.parse(readFileSync(path.join(folder, 'emulated.json'), 'utf8')) as BenchDocument
  expect(about['emulated']).toBe(true)
  expect(rows.length).toBeGreaterThan(2)
  for (const { note, limit, target } of rows) expect({ note, limit, target }).toEqual({ note: 'on an emulator: says nothing about an NPU' })
})

test('what is wrong is said, with the cases there are', async () => {
  const unknown = await bench('speed')
  expect(unknown.code).toBe(2)
  expect(unknown.stderr).toMatch(/there is no case 'speed'[^]*throughput/)
  const list = await bench('--help')
  expect(list.code).toBe(0)
  for (const name of ['throughput', 'latency', 'serve', 'agents', 'draft', 'sched', 'ablation']) expect(list.stdout).toContain(`  ${name} `)
  const help = await bench('serve', '--help')
  expect(help.stdout).toMatch(/--burstiness <value> +shape of the gamma .*; default: 1\n/)
  for (const line of help.stdout.split('\n').filter((one) => one.startsWith('  --'))) expect(line).toMatch(/^ {2}--[\w-]+(?: <value>)? +\w/) // each says what it is
  const option = await bench('serve', '--nonsense', '1')
  expect(option.code).toBe(1)
  expect(option.stderr).toContain('nonsense')
  for (const rounds of ['0', '1.5', '']) expect((await bench('throughput', '--rounds', rounds)).stderr).toBe(`ERR_INVALID_ARGUMENT: --rounds: expected a whole number, 1 or more, got '${rounds}'\n`)
  expect((await bench('latency', '--threads', 'two')).stderr).toBe("ERR_INVALID_ARGUMENT: --threads: expected a whole number, 1 or more, got 'two'\n")
  expect((await bench('serve', '--burstiness', '0')).stderr).toBe("ERR_INVALID_ARGUMENT: --burstiness: expected a number above 0, got '0'\n")
  expect((await bench('serve', '--weights', 'fp8')).stderr).toBe("ERR_INVALID_ARGUMENT: --weights: expected one of bf16, int8, got 'fp8'\n")
  expect((await bench('engine', '--shape', 'huge')).stderr).toMatch(/^ERR_INVALID_ARGUMENT: shape 'huge': expected one of 0.5b/)
  const model = await bench('throughput', '--model', '/nowhere')
  expect(model.code).toBe(1)
  expect(model.stderr).toMatch(/^ERR_INVALID_ARGUMENT: model '\/nowhere': expected[^]*throughput ended with code 1\n$/)
  const wrong: [string, string, string][] = [
    ['throughput', '--sequences', '1,1.5'], ['throughput', '--sequences', ''], ['serve', '--output', '1-2-3'], ['serve', '--slo', 'ttft=1..2,tpot=3'],
    ['serve', '--slo', 'ttft<=<ms>'], ['serve', '--rates', '1,fast'], ['serve', '--output', 'long'], ['latency', '--speculation', 'yes'], ['latency', '--inputs', '8,x'], ['serving', '--parts', 'batsh'],
    ['sched', '--only', 'papr'], ['ablation', '--trace', '/nowhere'], ['ablation', '--trace', main], ['ascend-model', '--tp', '3'],
  ]
  await Promise.all(wrong.map(async ([name, flag, value]) => {
    const { stderr } = await bench(name, flag, value, ...(['serve', 'latency', 'throughput'].includes(name) ? ['--model', 'tiny'] : []))
    expect(stderr, flag).toContain(`ERR_INVALID_ARGUMENT: ${flag}: expected`)
    expect(stderr, flag).not.toContain('    at ')
  }))
  const unwritable = await bench('throughput', '--json', path.join(folder, 'no/such/folder.json'))
  expect([unwritable.code, unwritable.stdout]).toEqual([1, '']) // before anything is measured
  expect(unwritable.stderr).toMatch(/^ERR_IO: --json: expected a file that can be written: ENOENT/)
  const failed = await bench('throughput', '--model', '/nowhere', '--html', path.join(folder, 'never.html'))
  expect([failed.code, existsSync(path.join(folder, 'never.html'))]).toEqual([1, false])
  const compare = await bench('serve', '--compare', main)
  expect(compare.code).toBe(1)
  expect(compare.stderr).toMatch(/^ERR_INVALID_ARGUMENT: --compare .*: expected what a benchmark wrote with --json/)
})

const browser = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((file) => existsSync(file))
const needed = process.env['CI'] !== undefined
if (browser === undefined && !needed) process.stderr.write('the page is not checked in a browser: there is no Chromium (apt-get install chromium)\n')

test.skipIf(browser === undefined && !needed)('the page stands alone, and shows its plots and the comparison in Chromium', async () => {
  const again = await bench(...load, '--html', 'page.html', '--compare', 'old.json')
  expect(again.code, again.stderr).toBe(0)
  expect(again.stdout).toMatch(/before +now +unit +ratio/)
  const chrome = await chromium.launch({ executablePath: browser ?? 'chromium', args: ['--no-sandbox', '--disable-gpu'] })
  try {
    const page = await chrome.newPage()
    const problems: string[] = []
    const asked: string[] = []
    page.on('pageerror', (error) => problems.push(error.message))
    page.on('console', (message) => void (message.type() === 'error' && problems.push(message.text())))
    page.on('request', (request) => asked.push(request.url()))
    const address = pathToFileURL(path.join(folder, 'page.html')).href
    await page.goto(address)
    await page.waitForFunction('Array.from(document.querySelectorAll("[id^=plot]")).every((plot) => plot.querySelector("svg"))')
    expect(problems).toEqual([])
    expect(asked.filter((url) => !url.startsWith('data:') && !url.startsWith('blob:'))).toEqual([address])
    const marks = await page.evaluate<number[]>('Array.from(document.querySelectorAll("[id^=plot]"), (plot) => plot.querySelectorAll("svg .mark-symbol path, svg .mark-rect path").length)')
    expect(marks.length).toBeGreaterThanOrEqual(7)
    expect(Math.min(...marks)).toBeGreaterThan(0)
    const heading = await page.textContent('h1')
    expect(heading).toBe('agentinfer bench: serve')
    expect(await page.textContent('body')).toMatch(/TTFT p99[^]*Compared with old\.json[^]*fingerprint/)
  } finally {
    await chrome.close()
  }
})
