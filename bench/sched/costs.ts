/** How long a step takes: by the model of Ascend NPUs (bench/ascend), or by what was measured on another machine. Seconds. */
import { stepTime } from '../ascend/model.js'
import type { SequenceStep } from '../ascend/model.js'
import { kvBytesPerToken, shapes } from '../ascend/shapes.js'

export type { SequenceStep } from '../ascend/model.js'

export interface CostModel {
  step(sequences: readonly SequenceStep[]): number
  /** Of copying one block between device and host. */
  readonly copy: number
}

/** Bytes a second between a card's memory and the host's: PCIe 4.0 x16 less what protocol and pinning take. Assumed. */
const hostLink = 20e9

/** openPangu 7B in bf16 on so many Ascend 910B3 chips; decode steps replay captured graphs. */
export function ascend7b(ranks: number, blockSize: number): CostModel {
  const shape = shapes['openpangu-7b']
  if (shape === undefined) throw new Error('bench/ascend/shapes.ts has no openpangu-7b')
  const setup = { shape, tensorParallel: ranks, graph: true }
  return {
    step: (sequences) => stepTime(setup, sequences).total,
    copy: (kvBytesPerToken(shape, ranks) * blockSize) / hostLink,
  }
}

export interface MeasuredCosts {
  /** Of a step, whatever it holds. */
  readonly step: number
  /** Per row, attention included: for contexts that are much alike. */
  readonly row: number
}

export function measured({ step, row }: MeasuredCosts): CostModel {
  return {
    step: (sequences) => sequences.reduce((sum, { query }) => sum + query * row, step),
    copy: 0,
  }
}
