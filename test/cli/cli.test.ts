import { execFile, spawn } from 'node:child_process'
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'

import { expect, test } from 'vitest'

import { checkpoint } from '../fixtures/paths.js'

const main = path.join(import.meta.dirname, '../../dist/esm/cli/main.js')

interface Ended {
  code: number
  stdout: string
  stderr: string
}

async function agentinfer(...args: string[]): Promise<Ended> {
  try {
    return { code: 0, ...(await promisify(execFile)(process.execPath, [main, ...args])) }
  } catch (error) {
    return error as Ended
  }
}

test('generate streams text to stdout and figures to stderr', async () => {
  const ended = await agentinfer('generate', '--model', checkpoint('pangu'), '--prompt', 'Hello', '--max-tokens', '12', '--seed', '1')
  expect(ended.code).toBe(0)
  expect(ended.stdout.length).toBeGreaterThan(5)
  expect(ended.stderr).toMatch(/prompt tokens .* generated at/)
})

test('generate --json prints the response', async () => {
  const ended = await agentinfer('generate', '--model', checkpoint('pangu'), '--prompt', 'Hello', '--max-tokens', '5', '--json')
  const response = JSON.parse(ended.stdout) as { tokens: number[]; text: string; finishReason: string }
  expect(response.tokens.length).toBeLessThanOrEqual(5)
  expect(['stop', 'length']).toContain(response.finishReason)
})

test('inspect shows config, plan and tensors', async () => {
  const ended = await agentinfer('inspect', checkpoint('pangu-sharded'), '--tensors')
  expect(ended.code).toBe(0)
  expect(ended.stdout).toContain('PanguEmbeddedForCausalLM')
  expect(ended.stdout).toContain('KV cache')
  expect(ended.stdout).toContain('model.layers.2.mlp.down_proj.weight')
})

test('doctor finds what it needs here', async () => {
  const ended = await agentinfer('doctor')
  expect(ended.stdout).toMatch(/addon +loads/)
  expect(ended.code).toBe(0)
})

test.each([
  [['generate', '--model', '/nonexistent', '--prompt', 'x'], 'ERR_IO'],
  [['generate', '--modle', '/nonexistent', '--prompt', 'x'], 'Did you mean --model?'],
  [['generate', '--prompt', 'x'], 'expected --model'],
  [['generate', '--model', checkpoint('pangu'), '--prompt', 'x', '--system', 'y'], 'expected --chat'],
  [['inspect', '/nonexistent'], 'ERR_IO'],
  [['generate', '--model', checkpoint('pangu'), '--prompt', 'x', '--max-tokens', 'many'], 'expected a number'],
])('%j fails with %s, without a stack', async (args, expected) => {
  const ended = await agentinfer(...args)
  expect(ended.code).toBe(1)
  expect(ended.stderr).toContain(expected)
  expect(ended.stderr).not.toContain('    at ')
})

test('quantize makes a folder that opens as it is, and never writes over one', async () => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'agentinfer-quantize-'))
  const target = path.join(folder, 'int8')
  try {
    const made = await agentinfer('quantize', checkpoint('pangu'), target)
    expect(made.code, made.stderr).toBe(0)
    expect(made.stdout).toMatch(/matrices, .* to .* in 1 file/)
    const ended = await agentinfer('generate', '--model', target, '--prompt', 'Hello', '--max-tokens', '4', '--json')
    expect(ended.code, ended.stderr).toBe(0)
    const again = await agentinfer('quantize', checkpoint('pangu'), target)
    expect(again.code).toBe(1)
    expect(again.stderr).toContain(target)
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test('the prompt may come from standard input', async () => {
  const flags = ['generate', '--model', checkpoint('pangu'), '--max-tokens', '3', '--json']
  const child = spawn(process.execPath, [main, ...flags], { stdio: ['pipe', 'pipe', 'ignore'] })
  child.stdin.end('Hello')
  let output = ''
  for await (const chunk of child.stdout) output += String(chunk)
  expect((JSON.parse(output) as { tokens: number[] }).tokens.length).toBeGreaterThan(0)
})

/** The tiny checkpoint with room for an output that takes minutes. */
function longContext(folder: string): string {
  cpSync(checkpoint('pangu'), folder, { recursive: true })
  const config = path.join(folder, 'config.json')
  writeFileSync(config, readFileSync(config, 'utf8').replace(/"max_position_embeddings": \d+/, '"max_position_embeddings": 1000000'))
  return folder
}

test('an interrupt ends a generation with ERR_ABORTED and leaves nothing running', async () => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'agentinfer-long-'))
  try {
    const flags = ['--model', longContext(folder), '--prompt', 'x', '--temperature', '0', '--max-tokens', '900000', '--max-context', '1000000']
    const child = spawn(process.execPath, [main, 'generate', ...flags], { stdio: ['ignore', 'pipe', 'pipe'] })
    const ended = new Promise((resolve) => child.once('exit', (...how) => resolve(how)))
    child.stdout.once('data', () => child.kill('SIGINT')).resume()
    let errors = ''
    for await (const chunk of child.stderr) errors += String(chunk)
    expect(errors).toContain('ERR_ABORTED: interrupted')
    expect(await ended).toEqual([1, null])
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test('an interrupt ends quantizing: there is a whole folder or none', async () => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'agentinfer-quantize-'))
  const target = path.join(folder, 'int8')
  try {
    const child = spawn(process.execPath, [main, 'quantize', checkpoint('pangu'), target, '--threads', '1'], { stdio: 'ignore' })
    const ended = new Promise((resolve) => child.once('exit', resolve))
    setTimeout(() => child.kill('SIGINT'), 150)
    const status = await ended
    const whole = existsSync(target) && (await agentinfer('inspect', target)).code === 0
    expect([status === 0, existsSync(target)]).toEqual([whole, whole])
  } finally {
    rmSync(folder, { recursive: true })
  }
})
