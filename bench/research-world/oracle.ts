/**
 * Answers questions the way the models are taught to. It knows the world, so it can tell the way from any state and how far it
 * still is; what it writes follows only from what a model has read at that point.
 */
import type { Question } from './questions.js'
import { noSuchPage } from './search.js'
import type { SearchIndex } from './search.js'
import { objectText, toldElsewhere } from './world.js'
import type { Fact } from './world.js'

export interface Call {
  readonly name: 'search' | 'open'
  readonly argument: string
}

/** A turn: thinking, then either a call or the answer. */
export interface Turn {
  readonly think: string
  readonly call: Call | undefined
  readonly answer: string | undefined
}

/**
 * Where a run stands. `search`: look the subject up; `narrow`: again, with its kind; `open`: its page; `target`: the page it
 * moved to; `elsewhere`: the fact is not on the page, ask for it; `done`: answer.
 */
type Stage = 'search' | 'narrow' | 'open' | 'target' | 'elsewhere' | 'done'

export class Oracle {
  readonly #index: SearchIndex
  readonly #question: Question
  #hop = 0
  #stage: Stage = 'search'
  /** What the run calls the subject of the current hop. */
  #name: string
  /** What the last observation told, to be written before the next plan. */
  #news: string

  constructor(index: SearchIndex, question: Question) {
    this.#index = index
    this.#question = question
    this.#name = question.start.name
    this.#news = `Plan: ${question.chain.map((relation) => relation.word).join(', ')}. ${this.#seek()}`
  }

  get done(): boolean {
    return this.#stage === 'done'
  }

  /** The relation and the subject that the run is after, as models write it. */
  get goal(): string {
    return `${this.#fact.relation.word} of ${this.#name}`
  }

  turn(): Turn {
    const think = this.#news
    if (this.#stage === 'done') return { think, call: undefined, answer: this.#name }
    return { think, call: this.#call(), answer: undefined }
  }

  /** The last turn's call was not what `turn` said: nothing is known that was not, and the next turn says so. */
  distracted(): void {
    this.#news = `Not useful. ${this.#intent()}`
  }

  /** The last thinking told a wrong object: the next turn takes it back. */
  corrected(): void {
    const fact = this.#question.facts[this.#hop - 1]!
    const next = this.#stage === 'done' ? 'Done.' : this.#seek()
    this.#news = `Wrong. The ${fact.relation.word}: ${this.#name}. ${next}`
  }

  /** The turn's call was made, with this outcome. */
  observed(text: string): void {
    const fact = this.#fact
    const { subject } = fact
    switch (this.#stage) {
      case 'search':
      case 'narrow':
        if (text.split('\n').some((line) => line.startsWith(`${subject.title} | `))) this.#to('open')
        else this.#to('narrow', 'Not listed. ')
        return
      case 'open':
        if (subject.movedTo !== undefined) this.#to('target', 'Moved. ')
        else this.#read(fact)
        return
      case 'target':
        this.#read(fact)
        return
      case 'elsewhere':
        this.#resolve(fact, 'open')
        return
      case 'done':
    }
  }

  /** Calls that are still needed by one who knows the world, and one turn for the answer. */
  distance(): number {
    let total = 1
    let stage: Stage = this.#stage
    for (let hop = this.#hop; hop < this.#question.facts.length; ++hop) {
      const fact = this.#question.facts[hop]!
      const name = hop === this.#hop ? this.#name : objectText(this.#question.facts[hop - 1]!.object)
      total += fact.elsewhere ? 1 : this.#calls(fact, name, stage)
      stage = fact.elsewhere ? 'open' : 'search'
    }
    return total
  }

  get #fact(): Fact {
    return this.#question.facts[Math.min(this.#hop, this.#question.facts.length - 1)]!
  }

  #calls({ subject }: Fact, name: string, stage: Stage): number {
    const moved = subject.movedTo === undefined ? 0 : 1
    if (stage === 'target') return 1
    if (stage === 'open') return 1 + moved
    if (stage === 'narrow') return 2 + moved
    return (this.#index.search(name).some((hit) => hit.title === subject.title) ? 2 : 3) + moved
  }

  #read(fact: Fact): void {
    if (fact.elsewhere) this.#to('elsewhere', `No ${fact.relation.word} here. `)
    else this.#resolve(fact, 'search')
  }

  #resolve(fact: Fact, next: Stage): void {
    const told = `${fact.relation.word}: `
    this.#name = objectText(fact.object)
    ++this.#hop
    const done = this.#hop === this.#question.facts.length
    this.#stage = done ? 'done' : next
    this.#news = `${told}${this.#name}. ${done ? 'Done.' : this.#seek()}`
  }

  #to(stage: Stage, told = ''): void {
    this.#stage = stage
    this.#news = told + this.#intent()
  }

  #seek(): string {
    return `Seek the ${this.goal}.`
  }

  /** What the run is about to do, in words. */
  #intent(): string {
    const { subject } = this.#fact
    switch (this.#stage) {
      case 'search':
        return this.#seek()
      case 'narrow':
      case 'open':
        return `Need the ${subject.kind}.`
      case 'target':
        return 'Follow.'
      case 'elsewhere':
        return `Ask for the ${this.goal}.`
      case 'done':
        return 'Done.'
      default:
        return unreachable(this.#stage)
    }
  }

  #call(): Call {
    const { subject } = this.#fact
    switch (this.#stage) {
      case 'narrow':
        return { name: 'search', argument: `${subject.kind} ${this.#name}` }
      case 'open':
        return { name: 'open', argument: subject.title }
      case 'target':
        return { name: 'open', argument: subject.movedTo ?? subject.title }
      case 'elsewhere':
        return { name: 'search', argument: this.goal }
      default:
        return { name: 'search', argument: this.#name }
    }
  }
}

/** Whether the taught way leads to the answer within so many calls, and how many it takes; undefined: it does not. */
export function callsNeeded(
  index: SearchIndex,
  question: Question,
  answerCall: (call: Call) => string,
  limit = 24,
): number | undefined {
  const oracle = new Oracle(index, question)
  for (let calls = 0; calls <= limit; ++calls) {
    const { call, answer } = oracle.turn()
    if (answer !== undefined) return question.answers.includes(answer) ? calls : undefined
    const text = answerCall(call!)
    if (!possible(question, call!, text)) return undefined
    oracle.observed(text)
  }
  return undefined
}

function unreachable(stage: never): never {
  throw new Error(`oracle: expected a stage, got ${String(stage)}`)
}

/** Searches of the last resort must bring what they are for. */
function possible(question: Question, call: Call, text: string): boolean {
  if (call.name === 'open') return text !== noSuchPage
  const asked = question.facts.find((fact) => fact.elsewhere && call.argument.startsWith(`${fact.relation.word} of `))
  if (asked === undefined) return true
  const { object } = asked
  const told = toldElsewhere(asked)
  return (
    typeof object !== 'number' && text.split('\n').some((line) => line.startsWith(`${object.title} | `) && line.endsWith(told))
  )
}
