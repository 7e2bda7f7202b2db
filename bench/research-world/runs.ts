/** The oracle's runs as training material: with useless calls and misreadings in them, and what follows from those. */
import { worldPrompts } from './format.js'
import type { Call, Turn } from './oracle.js'
import { Oracle } from './oracle.js'
import type { Question } from './questions.js'
import type { Random } from './random.js'
import { hitsText, noSuchPage, pageText } from './search.js'
import type { SearchIndex } from './search.js'
import { objectText } from './world.js'
import type { Fact, World } from './world.js'

/** A run with everything that happened in it. */
export interface RecordedTurn extends Turn {
  /** The text the call brought; '' for an answer. */
  readonly observation: string
  /** Whether the way that was left became shorter. */
  readonly progress: boolean
  /** What the run was after when the turn began. */
  readonly goal: string
  /** A turn made worse on purpose: to be recovered from, not to be learnt. */
  readonly spoilt: boolean
}

export interface RecordedRun {
  readonly question: Question
  readonly turns: readonly RecordedTurn[]
}

export interface RunOptions {
  /** Chance per turn of a useless call, and per fact read of a wrong one. */
  readonly useless: number
  readonly slips: number
  /** Chance per run that its search results are filtered: in another order, some left out, and a note that says so. */
  readonly filtered: number
}

export const defaultRun: RunOptions = { useless: 0.08, slips: 0.04, filtered: 0.4 }

export function answerCall(world: World, index: SearchIndex, call: Call): string {
  return call.name === 'search' ? hitsText(index.search(call.argument)) : pageText(world, call.argument)
}

/** The oracle's run, spoilt here and there. */
export function recordRun(
  world: World,
  index: SearchIndex,
  question: Question,
  random: Random,
  options: RunOptions,
): RecordedRun {
  const oracle = new Oracle(index, question)
  const turns: RecordedTurn[] = []
  const filtered = random.chance(options.filtered)
  let stored = 0
  const shown = (text: string, title: string | undefined): string => {
    if (text !== noSuchPage) ++stored
    return filtered && text.includes(' | ') ? filteredHits(text, title, `o${stored}`, random) : text
  }
  while (!oracle.done || turns.at(-1)?.answer === undefined) {
    const turn = oracle.turn()
    const { goal } = oracle
    const before = oracle.distance()
    if (turn.answer !== undefined) {
      turns.push({ ...turn, observation: '', progress: true, goal, spoilt: false })
      break
    }
    const slip = random.chance(options.slips) ? slipOf(world, random, turn) : undefined
    const call = slip?.call ?? (random.chance(options.useless) ? uselessCall(world, random, turns, turn.call!) : undefined)
    if (call === undefined) {
      const observation = answerCall(world, index, turn.call!)
      oracle.observed(observation)
      const needed = oracle.turn().call
      turns.push({
        ...turn,
        observation: shown(observation, needed?.name === 'open' ? needed.argument : undefined),
        progress: oracle.distance() < before,
        goal,
        spoilt: false,
      })
    } else {
      const observation = answerCall(world, index, call)
      if (slip === undefined) oracle.distracted()
      else oracle.corrected()
      turns.push({
        think: slip?.think ?? turn.think,
        call,
        answer: undefined,
        observation: shown(observation, undefined),
        progress: false,
        goal: slip?.goal ?? goal,
        spoilt: true,
      })
    }
  }
  return { question, turns }
}

/** As the runtime's filter leaves results: at least three where there are so many, the one that matters among them. */
function filteredHits(text: string, title: string | undefined, ref: string, random: Random): string {
  const lines = text.split('\n')
  const count = Math.min(lines.length, 3 + random.below(2))
  const order = random.shuffled(lines)
  const needed = order.find((line) => title !== undefined && line.startsWith(`${title} | `))
  const kept = order.filter((line) => line !== needed).slice(0, count - (needed === undefined ? 0 : 1))
  if (needed !== undefined) kept.splice(random.chance(0.7) ? 0 : random.below(kept.length + 1), 0, needed)
  return [...kept, ...(kept.length < lines.length ? [worldPrompts.someResults(ref, kept.length, lines.length)] : [])].join('\n')
}

/** The same turn with another object read off the page. */
function slipOf(world: World, random: Random, turn: Turn): { think: string; call: Call; goal: string } | undefined {
  const match = /^(\w+): (\w+)\. Seek the (\w+) of \w+\.$/.exec(turn.think)
  if (match === null || turn.call?.name !== 'search') return undefined
  const facts: Fact[] = world.facts.filter((fact) => fact.relation.word === match[1] && objectText(fact.object) !== match[2])
  if (facts.length === 0) return undefined
  const wrong = objectText(random.pick(facts).object)
  return {
    think: `${match[1]}: ${wrong}. Seek the ${match[3]} of ${wrong}.`,
    call: { name: 'search', argument: wrong },
    goal: `${match[3]} of ${wrong}`,
  }
}

/** A call that brings nothing: an earlier one again, a page that is not meant, a search for another name that was read. */
function uselessCall(world: World, random: Random, turns: readonly RecordedTurn[], right: Call): Call | undefined {
  const calls: Call[] = turns.flatMap(({ call }) => (call === undefined ? [] : [call]))
  const last = turns.at(-1)?.observation ?? ''
  const titles = last.includes(' | ') ? last.split('\n').map((line) => line.split(' | ')[0]!) : []
  for (const title of titles) calls.push({ name: 'open', argument: title })
  for (const name of last.match(/[A-Z][a-z]{4,}/g) ?? []) {
    if (world.entities.some((entity) => entity.name === name)) calls.push({ name: 'search', argument: name })
  }
  const useless = calls.filter((call) => call.argument !== right.argument)
  return useless.length === 0 ? undefined : random.pick(useless)
}
