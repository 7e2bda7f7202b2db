import { readFileSync } from 'node:fs'
import path from 'node:path'

import type { Command } from 'commander'

import { AgentInferError, fromNative } from '../errors.js'
import { native } from '../native.js'
import type { CardPlan, MemoryPlan, ModelInfo } from '../native.js'
import { bytes, number, table } from './output.js'
import { shapePresets } from './shapes.js'

interface Flags {
  device?: string
  shape?: string
  tensorParallel?: number
  weights?: 'bf16' | 'int8'
  context?: number
  maxContext?: number
  kvTokens?: number
  plan?: boolean
  tensors?: boolean
  json?: boolean
}

export function addInspect(program: Command): void {
  program
    .command('inspect [folder]')
    .description('Show the config, memory plan and tensors of a model')
    .option('--plan', 'only the memory plan, from config.json alone')
    .option('--tensors', 'every tensor')
    .option('--device <name>', "'cpu', or with --plan 'npu': 64 GB cards of an Atlas 800T A2, filled with KV; neither needs to be here")
    .option('--shape <name>', `plan for a known shape instead of a folder: ${Object.keys(shapePresets).join(', ')}`)
    .option('--tensor-parallel <n>', 'plan for so many ranks or cards', number)
    .option('--weights <format>', 'plan for bf16 or int8')
    .option('--context <n>', 'plan for this context (also --max-context)', number)
    .option('--max-context <n>', 'plan for this context', number)
    .option('--kv-tokens <n>', 'plan for this many tokens of KV', number)
    .option('--json', 'print JSON')
    .action(run)
}

async function run(folder: string | undefined, flags: Flags): Promise<void> {
  if (flags.weights !== undefined && !['bf16', 'int8'].includes(flags.weights))
    throw new AgentInferError('ERR_INVALID_ARGUMENT', `--weights: expected bf16 or int8, got '${flags.weights as string}'`)
  if ((folder === undefined) === (flags.shape === undefined))
    throw new AgentInferError('ERR_INVALID_ARGUMENT', 'expected a folder or --shape, one of them')
  const device = flags.device ?? (flags.shape === undefined ? 'cpu' : 'npu')
  if (flags.shape !== undefined || device.startsWith('npu')) return runCards(folder, device, flags)
  return runFolder(folder!, device, flags)
}

async function runFolder(folder: string, device: string, flags: Flags): Promise<void> {
  const { plan: planOnly, tensors: showTensors, json, shape: _shape, context, ...options } = flags
  const maxContext = context ?? flags.maxContext
  const found = await native()
    .inspect({ folder, ...options, device, ...(maxContext === undefined ? {} : { maxContext }), planOnly: planOnly === true })
    .catch((error: unknown) => {
      throw fromNative(error)
    })
  if (json === true) return printJson({ ...found, config: plain(found.config) })
  if (planOnly !== true) {
    const config = Object.entries(found.config).map(([key, value]) => [key, value instanceof Int32Array ? value.join(', ') : String(value)])
    process.stdout.write(`${table(config)}\n`)
  }
  const ranks = flags.tensorParallel ?? 1
  process.stdout.write(`${ranks === 1 ? '' : `each of ${ranks} ranks:\n`}${planTable(found.plan)}`)
  if (showTensors === true)
    process.stdout.write(`\n${table(found.tensors.map((tensor) => [tensor.name, tensor.dtype, tensor.shape, bytes(tensor.bytes)]))}`)
  else if (planOnly !== true) process.stdout.write(`\n${found.tensors.length} tensors (--tensors lists them)\n`)
}

/** Plans for NPU cards: one, or, when neither cards nor format are said, the choice there is. */
function runCards(folder: string | undefined, device: string, flags: Flags): void {
  if (flags.plan !== true || !device.startsWith('npu'))
    throw new AgentInferError('ERR_INVALID_ARGUMENT', '--device npu and --shape are for plans of NPU cards: give --plan --device npu')
  const { name, config, assumed } = source(folder, flags.shape)
  const context = flags.context ?? flags.maxContext
  const listed = device === 'npu' ? undefined : device.slice('npu:'.length).split(',').length
  const tensorParallel = flags.tensorParallel ?? listed
  const plan = (count: number, weights: 'bf16' | 'int8'): CardPlan => {
    try {
      return native().planCard(config, { tensorParallel: count, weights, ...(context === undefined ? {} : { context }) })
    } catch (error) {
      throw fromNative(error)
    }
  }
  const note = assumed === undefined ? '' : `ASSUMED SHAPE: ${assumed}\n`
  if (tensorParallel !== undefined || flags.weights !== undefined) {
    const weights = flags.weights ?? 'bf16'
    const card = plan(tensorParallel ?? 1, weights)
    if (flags.json === true) return printJson({ ...card, name, weights, tensorParallel: tensorParallel ?? 1, assumed, config: plain(card.config) })
    process.stdout.write(`${name}, ${weights}, ${cards(tensorParallel ?? 1)}; bytes of one card\n${note}${planTable(card.plan)}${verdict(card)}\n`)
    return
  }
  const choices = [1, 2, 4, 8].flatMap((count) => (['bf16', 'int8'] as const).map((weights) => ({ count, weights })))
  const fitting = choices.filter(({ count }) => divides(plan, count)).map((choice) => ({ ...choice, card: plan(choice.count, choice.weights) }))
  if (flags.json === true)
    return printJson(fitting.map(({ count, weights, card }) => ({ ...card, name, weights, tensorParallel: count, assumed, config: plain(card.config) })))
  const rows = fitting.map(({ count, weights, card }) => [cards(count), weights, bytes(weightBytes(card.plan)), verdict(card)])
  process.stdout.write(`${name}, cards of 64 GB\n${note}${table([['', 'format', 'weights a card', 'KV'], ...rows])}`)
}

function source(folder: string | undefined, shape: string | undefined): { name: string; config: string; assumed: string | undefined } {
  if (shape !== undefined) {
    const preset = shapePresets[shape]
    if (preset === undefined)
      throw new AgentInferError('ERR_INVALID_ARGUMENT', `--shape: expected ${Object.keys(shapePresets).join(' or ')}, got '${shape}'`)
    return { name: shape, config: JSON.stringify(preset.config), assumed: preset.assumed }
  }
  const file = path.join(folder!, 'config.json')
  try {
    return { name: path.basename(path.resolve(folder!)), config: readFileSync(file, 'utf8'), assumed: undefined }
  } catch (cause) {
    throw new AgentInferError('ERR_IO', `${file}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause })
  }
}

/** Whether the network can be cut over so many cards at all. */
function divides(plan: (count: number, weights: 'bf16') => CardPlan, count: number): boolean {
  try {
    plan(count, 'bf16')
    return true
  } catch (error) {
    if (count > 1 && error instanceof AgentInferError && error.code === 'ERR_INVALID_ARGUMENT') return false
    throw error
  }
}

function cards(count: number): string {
  return count === 1 ? '1 card' : `${count} cards`
}

function weightBytes(plan: MemoryPlan): number {
  return plan.items.filter(({ name }) => ['layer weights', 'head', 'embedding'].includes(name)).reduce((sum, item) => sum + item.bytes, 0)
}

function verdict({ missing, kvTokens, contexts, context, cardBytes }: CardPlan): string {
  if (missing > 0) return `does not fit: a card of ${bytes(cardBytes)} lacks ${bytes(missing)} for one context of ${context}`
  return `room for ${kvTokens} tokens: ${contexts} ${contexts === 1 ? 'context' : 'contexts'} of ${context}`
}

function plain(config: ModelInfo): object {
  return { ...config, eosTokenIds: [...config.eosTokenIds] }
}

function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, null, 2)}\n`)
}

function planTable(plan: MemoryPlan): string {
  return table([
    ...plan.items.map((item) => [item.name, bytes(item.bytes), item.detail]),
    ['total', bytes(plan.total), ''],
  ])
}
