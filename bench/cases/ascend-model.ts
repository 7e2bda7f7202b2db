/**
 * MODELLED, not measured: steps of openPangu 7B and an assumed 38B on Atlas 800T A2, from launch counts and published figures of the
 * 910B3 (bench/ascend). First the model beside what others measured, then prefill, decode and verify steps, eager and from graphs.
 */
import { ascend910B3 } from '../ascend/chip.js'
import { dearestLaunch, fits, stepTime } from '../ascend/model.js'
import type { AscendSetup, SequenceStep, StepTime } from '../ascend/model.js'
import { publishedFigures } from '../ascend/published.js'
import { divides, shapes } from '../ascend/shapes.js'
import type { DecoderShape } from '../ascend/shapes.js'
import { numbers, option, wrongOption } from '../options.js'
import type { Report, Row } from '../report.js'

export const description = 'MODEL (no measurement): steps of openPangu 7B and an assumed 38B on 1 to 8 Ascend 910B3, beside roofline and published figures'
export const options = {
  model: option('openpangu-7b,openpangu-38b-assumed', `some of ${Object.keys(shapes).join(', ')}`),
  tp: option('1,2,4,8', 'cards (tensor parallel)'),
  context: option('4096', 'tokens a sequence has', 16),
} as const

const hostBudget = 4e-3
const graphOverBound = 1.15
const prefillChunk = 2048
const drafts = 7

export function run(report: Report, values: { model: string; tp: string; context: string }): void {
  const context = Number(values.context)
  const add = (row: Row): void => report.add({ ...row, name: `MODEL ${row.name}`, modelled: true })
  for (const { name, published, modelled, unit, source } of publishedFigures())
    add({ name, value: modelled, unit, note: `published ${published} ${unit}: ${source}` })
  for (const shape of values.model.split(',').map(shapeNamed)) {
    for (const weights of ['bf16', 'w8a8'] as const)
      for (const tensorParallel of numbers('tp', values.tp, 'whole')) {
        if (!divides(shape, tensorParallel)) throw wrongOption('tp', `numbers that ${shape.name} divides by`, values.tp)
        if (fits(shape, tensorParallel, weights)) addSetup(add, { shape, weights, tensorParallel }, context)
        else report.progress(`${shape.name} ${weights} does not fit on ${tensorParallel} cards`)
      }
  }
}

function shapeNamed(name: string): DecoderShape {
  const found = Object.entries(shapes).find(([key]) => key === name)
  if (found === undefined) throw wrongOption('model', `some of ${Object.keys(shapes).join(', ')}`, name)
  return found[1]
}

/** The cost of a launch is an assumption: how far it may be wrong. */
function hostNote(setup: AscendSetup): string {
  const us = (seconds: number): string => (1e6 * seconds).toFixed(1)
  return `at ${us(ascend910B3.host.launch)} us a launch; the target allows ${us(dearestLaunch(setup, hostBudget))}`
}

function batchOf(count: number, step: SequenceStep): SequenceStep[] {
  return Array.from({ length: count }, () => step)
}

function addSetup(add: (row: Row) => void, setup: AscendSetup & { tensorParallel: number }, context: number): void {
  const title = `${setup.shape.name} ${setup.weights} TP ${setup.tensorParallel}`
  const step = (sequences: SequenceStep[], graph: boolean): StepTime => stepTime({ ...setup, graph }, sequences)
  const ms = (seconds: number): number => seconds * 1000
  const row = (what: string, time: StepTime): Row => ({
    name: `${title}: ${what}`,
    value: ms(time.total),
    unit: 'ms',
    better: 'lower',
    limit: ms(time.roofline),
    note: `device ${ms(time.device).toFixed(2)}, host ${ms(time.host).toFixed(2)} ms, ${time.launches.launches} launches`,
  })
  const one = batchOf(1, { query: 1, context })
  const eager = step(one, false)
  const graph = step(one, true)
  const chief = setup.shape === shapes['openpangu-7b'] && setup.tensorParallel === 1
  add(row('decode step, 1 sequence, eager', eager))
  add({
    name: `${title}: host time of that step`,
    value: ms(eager.host),
    unit: 'ms',
    better: 'lower',
    note: `at ${(1e6 * ascend910B3.host.launch).toFixed(0)} us a launch`,
    ...(chief ? { target: ms(hostBudget), note: hostNote(setup) } : {}),
  })
  add(row('decode step, 1 sequence, graph', graph))
  add({
    name: `${title}: that step over its bandwidth bound`,
    value: graph.total / graph.roofline,
    unit: 'x',
    better: 'lower',
    ...(chief ? { target: graphOverBound } : {}),
  })
  add(row('decode step, 16 sequences, graph', step(batchOf(16, { query: 1, context }), true)))
  add(row(`verify step, 1 sequence, ${drafts} drafts, graph`, step(batchOf(1, { query: 1 + drafts, context }), true)))
  add(row(`verify step, 8 sequences, ${drafts} drafts, graph`, step(batchOf(8, { query: 1 + drafts, context }), true)))
  const prefill = step(batchOf(1, { query: prefillChunk, context: prefillChunk }), false)
  add({
    name: `${title}: prefill of ${prefillChunk}`,
    value: prefillChunk / prefill.total,
    unit: 'tok/s',
    limit: prefillChunk / prefill.roofline,
    note: `${ms(prefill.total).toFixed(0)} ms, ${ms(prefill.collectives).toFixed(0)} of them between cards`,
  })
}
