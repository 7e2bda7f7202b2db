/** Questions: a chain of relations from a named start. */
import type { Random } from './random.js'
import type { Relation } from './schema.js'
import { nameElsewhere } from './world.js'
import type { Entity, Fact, World } from './world.js'

export interface Question {
  readonly text: string
  readonly start: Entity
  readonly chain: readonly Relation[]
  /** One fact per relation. */
  readonly facts: readonly Fact[]
  /** Any of these is right: a thing's name and its former name, or a number. */
  readonly answers: readonly string[]
  /** A fact on the way is not where one would look. */
  readonly deadEnds: number
}

/** Relative frequency of 1, 2, ... hops. */
export const defaultHops: readonly number[] = [0.2, 0.22, 0.2, 0.16, 0.12, 0.1]

/** undefined: this start has no such chain. */
function questionFrom(world: World, random: Random, start: Entity, hops: number): Question | undefined {
  const facts: Fact[] = []
  const visited = new Set<Entity>([start])
  for (let at: Entity | number = start; facts.length < hops;) {
    if (typeof at === 'number') return undefined
    const last = facts.length === hops - 1
    const next: Fact[] = world
      .factsOf(at)
      .filter(
        ({ relation, object }) =>
          !facts.some((fact) => fact.relation === relation) && (typeof object === 'number' ? last : !visited.has(object)),
      )
    if (next.length === 0) return undefined
    const fact: Fact = random.pick(next)
    facts.push(fact)
    at = fact.object
    if (typeof at !== 'number') visited.add(at)
  }
  const end = facts.at(-1)!.object
  const chain = facts.map((fact) => fact.relation)
  return {
    text: questionText(random, start, chain),
    start,
    chain,
    facts,
    answers: typeof end === 'number' ? [`${end}`] : [end.name, nameElsewhere(end)],
    deadEnds: facts.filter((fact) => fact.elsewhere).length,
  }
}

export function makeQuestion(world: World, random: Random, weights: readonly number[] = defaultHops): Question {
  for (;;) {
    const question = questionFrom(world, random, random.pick(world.entities), 1 + random.weighted(weights))
    if (question !== undefined) return question
  }
}

function questionText(random: Random, start: Entity, chain: readonly Relation[]): string {
  const words = chain.map((relation) => relation.word)
  const form = random.weighted([0.45, 0.3, 0.25])
  const from = random.chance(0.4) ? `the ${start.kind} ${start.name}` : start.name
  if (form === 0) return `Name ${from}'s ${words.join("'s ")}.`
  if (form === 1) return `Begin at ${from}. Go to the ${words.join(', then the ')}. Where do you end?`
  return `Who or what is ${words
    .toReversed()
    .map((word) => `the ${word} of `)
    .join('')}${from}?`
}

/** Whether an answer names the right thing and nothing else of the kind. */
export function isRight(question: Question, answer: string): boolean {
  const text = answer.trim().replace(/[.\s]+$/, '')
  return question.answers.includes(text)
}

/** Independent questions asked together: a planner has each answered by an agent of its own. */
export interface PlannedQuestion {
  readonly text: string
  readonly parts: readonly Question[]
}

export function joinQuestions(parts: readonly Question[]): PlannedQuestion {
  return { text: parts.map(({ text }) => text).join('\n'), parts }
}

/** The answer to a planned question, of the answers to its parts. */
export function plannedAnswer(answers: readonly string[]): string {
  return answers.join(', ')
}

/** Parts of a planned question that are answered right. */
export function rightParts({ parts }: PlannedQuestion, answer: string): number {
  const given = answer.split(',')
  return given.length === parts.length ? parts.filter((part, i) => isRight(part, given[i]!)).length : 0
}
