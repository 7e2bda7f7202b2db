/** The four parts as they suit this world and its two models, chosen on the split `tune`. */
import { AgentSched } from 'agentinfer'

import type { Parts } from './arena.js'

/**
 * The large model plans, in its first turn, and writes what the small one is unsure of. The verdict on progress is not asked for: it costs as
 * many tokens as a turn here, and tells less (bench/models).
 */
const collab = { route: 'collab', planSteps: 1, redoBelow: 0.985, askFrom: 1, warmFrom: 0.5 } as const

/** Contexts here have hundreds of tokens where those of the web have thousands. */
export const shortHistory = { minSaved: 64, memoryMin: 16, memoryMax: 96, usualTurns: 9 } as const

/**
 * Results of at most four lines have nothing worth leaving out. A memory says what the thinking says, so little is lost with old results: runs
 * have 1 % more turns.
 */
const compress = { observations: false, history: { ...shortHistory, rule: 'gate', extraTurns: 0.01 } } as const

export const tuned = {
  collab: { collab },
  compress: { compress },
  sched: { scheduler: () => new AgentSched() },
  sam: { speculation: 'auto' },
} as const satisfies Record<string, Parts>

export const whole: Parts = { ...tuned.collab, ...tuned.compress, ...tuned.sched, ...tuned.sam }
