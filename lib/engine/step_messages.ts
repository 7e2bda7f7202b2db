/** The messages about steps (lib/diagnostics.ts). Nothing is counted where nobody listens. */
import { publish } from '../diagnostics.js'
import { contract, OutcomeKind } from '../native.js'
import type { StepResult } from '../native.js'
import type { RequestView } from '../policy/types.js'
import { outcomeField, poolOf } from './result_views.js'

/** Which step it is; a step in flight has the number of steps before it. */
export interface AboutStep {
  readonly engine: string
  readonly step: number
  readonly scheduler: string
}

/** What a step begins with. `rows` as they cross, records of `contract.planRow`. */
export interface Sent {
  readonly rows: Int32Array
  readonly preempted: number
  readonly repeated: boolean
}

/** `live`: the views of all live requests. */
export function tellSent({ rows, preempted, repeated }: Sent, live: () => readonly RequestView[], about: AboutStep): void {
  publish('agentinfer:step:start', () => {
    const views = live()
    const width = contract.planRow.length
    let tokens = 0
    for (let at = 0; at < rows.length; at += width) tokens += rows[at + 1]!
    const running = views.filter(({ started }) => started).length
    return { ...about, rows: rows.length / width, tokens, preempted, repeated, running, waiting: views.length - running }
  })
}

/** Times in milliseconds. */
export function tellResult(result: StepResult, native: number, crossing: number, { engine, step }: AboutStep): void {
  publish('agentinfer:step:end', () => {
    const { outcomes, tokens } = result
    const { total, free, cached, used } = poolOf(result)
    let deferred = 0
    for (let i = outcomeField.kind; i < outcomes.length; i += contract.outcome.length) deferred += Number(outcomes[i] === OutcomeKind.deferred)
    return { engine, step, native, crossing, emitted: tokens.length, deferred, pool: { total, free, cached, used } }
  })
}
