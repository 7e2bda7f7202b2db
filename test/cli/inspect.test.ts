/** Memory plans for NPU cards, from config.json or a known shape alone. */
import { execFile } from 'node:child_process'
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'

import { expect, test } from 'vitest'

import { shapes } from '../../bench/ascend/shapes.js'
import { checkpoint } from '../fixtures/paths.js'

const main = path.join(import.meta.dirname, '../../dist/esm/cli/main.js')

async function inspect(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  try {
    return { code: 0, ...(await promisify(execFile)(process.execPath, [main, 'inspect', '--plan', ...args])) }
  } catch (error) {
    return error as { code: number; stdout: string; stderr: string }
  }
}

interface Choice {
  weights: string
  tensorParallel: number
  assumed?: string
  config: Record<string, number>
  plan: { items: { name: string; bytes: number }[]; total: number }
  cardBytes: number
  kvTokens: number
  contexts: number
  missing: number
}

test('the 7B and the assumed 38B are planned on 1 to 8 cards, and the assumption is said', async () => {
  for (const [name, shape] of Object.entries(shapes).filter(([key]) => key.startsWith('openpangu'))) {
    const choices = JSON.parse((await inspect('--shape', name, '--json')).stdout) as Choice[]
    expect(choices.map(({ tensorParallel, weights }) => `${tensorParallel} ${weights}`)).toEqual(
      [1, 2, 4, 8].flatMap((cards) => [`${cards} bf16`, `${cards} int8`]),
    )
    for (const { config, plan, cardBytes, kvTokens, contexts, missing, assumed } of choices) {
      // The shape that is planned is the one that is modelled.
      expect(config).toMatchObject({
        hiddenSize: shape.hiddenSize,
        layers: shape.layers,
        heads: shape.heads,
        kvHeads: shape.kvHeads,
        headDim: shape.headDim,
        intermediateSize: shape.intermediateSize,
        vocabSize: shape.vocabSize,
      })
      expect(plan.items.reduce((sum, { bytes }) => sum + bytes, 0)).toBe(plan.total)
      if (missing === 0) expect(plan.total).toBeLessThanOrEqual(cardBytes)
      expect(contexts).toBe(Math.floor(kvTokens / 32768))
      expect(assumed === undefined).toBe(name === 'openpangu-7b')
    }
    expect(choices.filter(({ missing }) => missing > 0).map(({ tensorParallel, weights }) => `${tensorParallel} ${weights}`)).toEqual(
      name === 'openpangu-7b' ? [] : ['1 bf16'],
    )
  }
  expect((await inspect('--shape', 'openpangu-38b-assumed')).stdout).toContain('ASSUMED SHAPE')
})

test('a folder is planned from its config.json alone, for cards or for the CPU', async () => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'agentinfer-plan-'))
  try {
    copyFileSync(path.join(checkpoint('pangu'), 'config.json'), path.join(folder, 'config.json'))
    const cards = await inspect(folder, '--device', 'npu', '--tensor-parallel', '2', '--weights', 'int8', '--context', '256')
    expect(cards.stdout).toMatch(/int8, 2 cards; bytes of one card[^]*HCCL[^]*KV cache[^]*contexts of 256/)
    const cpu = await inspect(folder, '--context', '256', '--tensor-parallel', '2')
    expect(cpu.stdout).toMatch(/each of 2 ranks:[^]*KV cache/)
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test.each([
  [['--shape', 'openpangu-7b', '--tensor-parallel', '3'], 'num_attention_heads to divide by it, got 32'],
  [['--shape', 'gpt'], "expected openpangu-7b or openpangu-38b-assumed, got 'gpt'"],
  [['--device', 'npu'], 'expected a folder or --shape'],
  [['--shape', 'openpangu-7b', '--weights', 'fp8'], '--weights: expected bf16 or int8'],
])('%j fails with %s', async (args, expected) => {
  const ended = await inspect(...args)
  expect(ended.code).toBe(1)
  expect(ended.stderr).toContain(expected)
})
