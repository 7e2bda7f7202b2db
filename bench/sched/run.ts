/** One run: a scenario, a contestant, a seed. */
import { measure } from './measure.js'
import type { Measures } from './measure.js'
import { contestants } from './policies.js'
import type { Contestant, ContestantName } from './policies.js'
import { blockSize, costs, hostBlocks, maxBatchTokens, maxSequences, scenarios } from './scenarios.js'
import { turns } from './statistics.js'
import { World } from './world.js'

export interface Job {
  readonly scenario: string
  readonly contestant: ContestantName
  readonly seed: number
}

export interface Result extends Job {
  readonly measures: Measures
  /** λ of the first engine, if the policy has one: [seconds, λ], and how often it turns round by a fifth of its range per minute. */
  readonly lambda: readonly (readonly [number, number])[]
  readonly lambdaTurnsPerMinute: number
}

const lambdaPoints = 300

export function runJob({ scenario: name, contestant: who, seed }: Job): Result {
  const scenario = scenarios.find((each) => each.name === name)
  if (scenario === undefined) throw new Error(`no scenario '${name}'; there are ${scenarios.map((each) => each.name).join(', ')}`)
  const contestant: Contestant = contestants[who]
  const blocks = contestant.unlimited === true ? 1_000_000 : scenario.blocks
  const outcome = new World(scenario.trace(seed), {
    engines: scenario.engines,
    spec: { blocks, blockSize, hostBlocks: contestant.host === true ? hostBlocks : 0, maxBatchTokens, maxSequences, costs },
    scheduler: contestant.scheduler,
    oracle: contestant.oracle === true,
  }).run()
  const history = (outcome.engines[0]!.scheduler.history?.() ?? []).map(({ now, figures }) => [now, figures['lambda'] ?? 0] as const)
  const every = Math.max(1, Math.ceil(history.length / lambdaPoints))
  return {
    scenario: name, contestant: who, seed, measures: measure(outcome), lambda: history.filter((_, i) => i % every === 0),
    lambdaTurnsPerMinute: turns(history.map(([, lambda]) => lambda), 0.2) / (outcome.seconds / 60),
  }
}
