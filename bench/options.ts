/** Options of cases: how they are declared, those that several cases share, and what is said of values that cannot be. */
import { mkdirSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'

import { AgentInferError, schedulerNames } from 'agentinfer'

/** As `parseArgs` takes them; `about` is what `--help` says of one, with its unit. */
export type CaseOptions = Readonly<Record<string, { readonly type: 'string' | 'boolean'; readonly default?: string | boolean; readonly about?: string }>>

/** `usual`: its default; a number makes it an option that must be one, '' is left to the case. */
export function option(usual: string, about: string) {
  return { type: 'string', default: usual, about } as const
}

export function flag(about: string) {
  return { type: 'boolean', default: false, about } as const
}

/** For cases that run on an NPU as well as on the CPU that their limits and peers are of: see device.ts. */
export const deviceOption = { device: option('cpu', 'cpu, npu:0, or auto: the first NPU, else the CPU') } as const

/** What every case takes that opens a model of the user's choice. */
export function modelOptions(model: string, device: 'auto' | 'cpu') {
  return {
    model: option(model, "a checkpoint's folder, or a shape with random weights: 0.5b, 20m, tiny"),
    device: option(device, 'cpu, npu:0, npu:0,1, or auto: the first NPU, else the CPU'),
    weights: option('bf16', 'bf16 or int8'),
    threads: option('', 'of the CPU; default: all cores this process may use'),
  } as const
}

/** And those that measure it by itself. */
export const targetOptions = {
  ...modelOptions('0.5b', 'auto'),
  scheduler: option('agent-sched', schedulerNames.join(', ')),
  'max-context': option('', "tokens of a sequence; default: the case's"),
  'kv-tokens': option('', "tokens of KV in all; default: the case's, or the engine's"),
} as const

/** For what was asked wrongly: it is told without a stack. */
export function wrongOption(name: string, expected: string, got: string): AgentInferError {
  return new AgentInferError('ERR_INVALID_ARGUMENT', `--${name}: expected ${expected}, got '${got}'`)
}

/** "1,8,32". @throws {AgentInferError} unless all are numbers above 0. */
export function numbers(name: string, list: string): number[] {
  const values = list.split(',').filter((part) => part !== '').map(Number)
  if (values.some((value) => !(value > 0 && value < Infinity))) throw wrongOption(name, 'positive numbers with commas between them', list)
  return values
}

/** "logits,agents". @throws {AgentInferError} unless all are known, and there is one. */
export function parts<Name extends string>(name: string, list: string, known: readonly Name[]): ReadonlySet<Name> {
  const wanted = list.split(',').filter((part) => part !== '')
  if (wanted.length === 0 || wanted.some((part) => !(known as readonly string[]).includes(part))) throw wrongOption(name, `some of ${known.join(',')}`, list)
  return new Set(wanted as Name[])
}

/** The file of the page that a case writes by itself: the one that was asked for, or one among temporary files. Its folder is there then. */
export function pageFile(asked: string, name: string): string {
  const file = asked === '' ? path.join(os.tmpdir(), 'agentinfer-bench', `${name}.html`) : asked
  mkdirSync(path.dirname(file), { recursive: true })
  return file
}
