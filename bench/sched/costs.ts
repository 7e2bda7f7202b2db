/** How long a step takes: by the model of Ascend NPUs (bench/ascend), or by what was measured on another machine. Seconds. */
import { stepTime } from '../ascend/model.js'
import type { SequenceStep } from '../ascend/model.js'
import { kvBytesPerToken, shapes } from '../ascend/shapes.js'

export type { SequenceStep } from '../ascend/model.js'

export interface CostModel {
  step(sequences: readonly SequenceStep[]): number
  /** Of copying one block between device and host. */
  readonly copy: number
  /** Equal steps may take different times. */
  readonly varies?: boolean
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
  /** What each step took beyond that, in the order of the steps; the mean is 0. None: every step takes what it should. */
  readonly residuals?: readonly number[]
}

/**
 * Residuals come round in their order. They matter: a machine that does something else for 20 ms now and then has more requests at once than
 * one whose steps all take their mean, so that more blocks are held and more histories are lost.
 */
export function measured({ step, row, residuals = [] }: MeasuredCosts): CostModel {
  let next = 0
  return {
    step: (sequences) => {
      const mean = sequences.reduce((sum, { query }) => sum + query * row, step)
      return residuals.length === 0 ? mean : Math.max(0.05 * mean, mean + residuals[next++ % residuals.length]!)
    },
    copy: 0,
    varies: residuals.length > 0,
  }
}
