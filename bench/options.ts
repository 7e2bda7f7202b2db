/** Options of cases: how they are declared, those that several cases share, and what is said of values that cannot be. */
import { mkdirSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'

import { AgentInferError, schedulerNames } from 'agentinfer'

/** As `parseArgs` takes them, and what their values must be. */
export interface CaseOption {
  readonly type: 'string' | 'boolean'
  readonly default?: string | boolean
  /** What `--help` says of it, with its unit. */
  readonly about?: string
  /** It is a whole number, at least this. */
  readonly least?: number | undefined
  /** It is a number above this. */
  readonly above?: number
  /** It is one of these. */
  readonly known?: readonly string[]
}

export type CaseOptions = Readonly<Record<string, CaseOption>>

/** `usual`: its default; where that is a number it must be a whole one, 1 or more unless `least` says otherwise. '': left to the case. */
export function option(usual: string, about: string, least = Number(usual) > 0 ? 1 : undefined) {
  return { type: 'string', default: usual, about, least } as const
}

/** Need not be whole. */
export function amount(usual: string, about: string) {
  return { type: 'string', default: usual, about, above: 0 } as const
}

export function choice(usual: string, known: readonly string[], about = known.join(', ')) {
  return { type: 'string', default: usual, about, known } as const
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
    weights: choice('bf16', ['bf16', 'int8']),
    threads: option('', 'of the CPU; default: all cores this process may use', 1),
  } as const
}

/** And those that measure it by itself. */
export const targetOptions = {
  ...modelOptions('0.5b', 'auto'),
  scheduler: choice('agent-sched', schedulerNames),
  'max-context': option('', "tokens of a sequence; default: the case's", 1),
  'kv-tokens': option('', "tokens of KV in all; default: the case's, or the engine's", 1),
} as const

/** For what was asked wrongly: it is told without a stack. */
export function wrongOption(name: string, expected: string, got: string): AgentInferError {
  return new AgentInferError('ERR_INVALID_ARGUMENT', `--${name}: expected ${expected}, got '${got}'`)
}

/** @throws {AgentInferError} for a value that its option does not take; '' is one where it is the default. */
export function checkOption(name: string, { default: usual, least, above, known }: CaseOption, given: unknown): void {
  if (typeof given !== 'string' || (given === '' && usual === '')) return
  const value = given.trim() === '' ? NaN : Number(given)
  if (least !== undefined && !(Number.isSafeInteger(value) && value >= least)) throw wrongOption(name, `a whole number, ${least} or more`, given)
  if (above !== undefined && !(value > above && value < Infinity)) throw wrongOption(name, `a number above ${above}`, given)
  if (known !== undefined && !known.includes(given)) throw wrongOption(name, `one of ${known.join(', ')}`, given)
}

/** "1,8,32", or "0.5,1". @throws {AgentInferError} unless all are such numbers above 0, and there is one. */
export function numbers(name: string, list: string, kind: 'whole' | 'any'): number[] {
  const values = list.split(',').map(Number)
  if (values.some((value) => !(value > 0 && value < Infinity && (kind === 'any' || Number.isSafeInteger(value)))))
    throw wrongOption(name, `${kind === 'whole' ? 'whole numbers' : 'numbers'} above 0 with commas between them`, list)
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
