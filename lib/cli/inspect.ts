import type { Command } from 'commander'

import { fromNative } from '../errors.js'
import { native } from '../native.js'
import type { MemoryPlan } from '../native.js'
import { bytes, number, table } from './output.js'

interface Flags {
  weights?: 'bf16' | 'int8'
  maxContext?: number
  kvTokens?: number
  plan?: boolean
  tensors?: boolean
  json?: boolean
}

export function addInspect(program: Command): void {
  program
    .command('inspect <folder>')
    .description('Show the config, memory plan and tensors of a model')
    .option('--plan', 'only the memory plan')
    .option('--tensors', 'every tensor')
    .option('--weights <format>', 'plan for bf16 or int8')
    .option('--max-context <n>', 'plan for this context', number)
    .option('--kv-tokens <n>', 'plan for this many tokens of KV', number)
    .option('--json', 'print JSON')
    .action(run)
}

async function run(folder: string, flags: Flags): Promise<void> {
  const { plan: planOnly, tensors: showTensors, json, ...options } = flags
  const found = await native()
    .inspect({ folder, ...options })
    .catch((error: unknown) => {
      throw fromNative(error)
    })
  if (json === true) {
    process.stdout.write(`${JSON.stringify({ ...found, config: { ...found.config, eosTokenIds: [...found.config.eosTokenIds] } }, null, 2)}\n`)
    return
  }
  if (planOnly !== true) {
    const config = Object.entries(found.config).map(([key, value]) => [key, value instanceof Int32Array ? value.join(', ') : String(value)])
    process.stdout.write(`${table(config)}\n`)
  }
  process.stdout.write(planTable(found.plan))
  if (showTensors === true)
    process.stdout.write(`\n${table(found.tensors.map((tensor) => [tensor.name, tensor.dtype, tensor.shape, bytes(tensor.bytes)]))}`)
  else if (planOnly !== true) process.stdout.write(`\n${found.tensors.length} tensors (--tensors lists them)\n`)
}

function planTable(plan: MemoryPlan): string {
  return table([
    ...plan.items.map((item) => [item.name, bytes(item.bytes), item.detail]),
    ['total', bytes(plan.total), ''],
  ])
}
