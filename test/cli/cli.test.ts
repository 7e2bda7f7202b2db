import { execFile } from 'node:child_process'
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
  [['inspect', '/nonexistent'], 'ERR_IO'],
  [['generate', '--model', checkpoint('pangu'), '--prompt', 'x', '--max-tokens', 'many'], 'expected a number'],
])('%j fails with %s, without a stack', async (args, expected) => {
  const ended = await agentinfer(...args)
  expect(ended.code).toBe(1)
  expect(ended.stderr).toContain(expected)
  expect(ended.stderr).not.toContain('    at ')
})
