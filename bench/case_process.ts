/** The process that runs one case: rows and progress go to the parent as messages. */
import { fileURLToPath } from 'node:url'

import { AgentInferError } from 'agentinfer'

import { emulated } from './device.js'
import type { CaseOptions } from './options.js'
import { Report } from './report.js'
import type { About, Row } from './report.js'
import { settle } from './settle.js'

type CaseValues = Record<string, string | boolean | undefined>

/** What a module in cases/ exports. */
export interface CaseModule {
  readonly description: string
  readonly options: CaseOptions
  run(report: Report, values: CaseValues): Promise<void>
}

export type CaseMessage = { kind: 'row'; row: Row } | { kind: 'progress'; text: string } | { kind: 'about'; about: About } | { kind: 'text'; text: string }

async function main(name: string, values: CaseValues): Promise<void> {
  const send = (message: CaseMessage): void => void process.send?.(message)
  const asked = values['device']
  if (typeof asked === 'string') process.env['AGENTINFER_BENCH_DEVICE'] = asked
  const settled = asked === 'auto' ? await settle() : undefined
  if (settled !== undefined) process.env['AGENTINFER_BENCH_DEVICE'] = settled.device
  const onEmulator = emulated()
  const report = new Report(
    (row) => send({ kind: 'row', row: onEmulator ? ofEmulator(row) : row }),
    (text) => send({ kind: 'progress', text }),
    (about) => send({ kind: 'about', about }),
    (text) => send({ kind: 'text', text }),
  )
  if (onEmulator) report.about({ emulated: true })
  if (settled !== undefined) report.say(`device: ${settled.device}${settled.note === '' ? '' : ` (${settled.note})`}`)
  const module = (await import(new URL(`cases/${name}.js`, import.meta.url).href)) as CaseModule
  await module.run(report, settled === undefined ? values : { ...values, device: settled.device })
  process.disconnect()
}

/** A figure that says that the case works, and nothing else: no limit, no target. */
function ofEmulator({ limit: _limit, target: _target, holds: _holds, note: _note, ...row }: Row): Row {
  return { ...row, note: 'on an emulator: says nothing about an NPU' }
}

if (process.argv[1] === fileURLToPath(import.meta.url))
  try {
    await main(process.argv[2]!, JSON.parse(process.argv[3]!) as CaseValues)
  } catch (error) {
    if (!(error instanceof AgentInferError)) throw error
    process.stderr.write(`${error.code}: ${error.message}\n`) // what was asked was wrong: no fault to trace
    process.exit(1)
  }
