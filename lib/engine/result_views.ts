/** A step's flat records, by name. */
import { contract, positions } from '../native.js'
import type { StepResult } from '../native.js'
import type { DemandView, PoolView, ProbeView } from '../policy/types.js'
import type { MissFields } from './miss.js'

/** Where each field of an outcome lies. */
export const outcomeField = positions(contract.outcome)
const probe = positions(contract.probe)
const miss = positions(contract.miss)
const pool = positions(contract.pool)
const demand = positions(contract.demand)
const totalPhase = contract.phases.indexOf('total')

export interface PoolFigures extends PoolView {
  /** Blocks evicted since the engine was opened. */
  readonly evicted: number
}

export function poolOf({ pool: p }: StepResult): PoolFigures {
  return {
    total: p[pool.total]!,
    free: p[pool.free]!,
    cached: p[pool.cached]!,
    used: p[pool.used]!,
    hostTotal: p[pool.hostTotal]!,
    hostFree: p[pool.hostFree]!,
    evicted: p[pool.evicted]!,
  }
}

export function demandOf({ demand: d }: StepResult): DemandView {
  return { pinned: d[demand.pinned]!, evictable: d[demand.evictable]!, host: d[demand.host]!, fresh: d[demand.fresh]! }
}

/** Milliseconds in native code. */
export function nativeTime({ phases }: StepResult): number {
  return phases[totalPhase]!
}

/** Those that changed. */
export function eachProbe({ probes: p }: StepResult, tell: (id: number, view: ProbeView) => void): void {
  for (let i = 0; i < p.length; i += contract.probe.length) {
    tell(p[i + probe.sequence]!, {
      hitTokens: p[i + probe.hitTokens]!,
      pinned: p[i + probe.pinned]!,
      evictable: p[i + probe.evictable]!,
      host: p[i + probe.host]!,
      need: p[i + probe.need]!,
      group: p[i + probe.group]!,
    })
  }
}

export function eachMiss({ misses: m }: StepResult, tell: (id: number, fields: MissFields) => void): void {
  for (let i = 0; i < m.length; i += contract.miss.length)
    tell(m[i + miss.sequence]!, [m[i + miss.cause]!, m[i + miss.index]!, m[i + miss.token]!, m[i + miss.indexed]!])
}
