/**
 * A small closed encyclopedia: entities, facts between them, and the pages that tell them. Everything follows from the seed and
 * the split.
 *
 * What makes it hard to read: names shared by things of different kinds, outdated copies of pages, adverts, sentences about
 * other things, pages that have moved, things that others call by a former name, and facts that are not on the page where one
 * would look but on the page of the other side.
 */
import { NameSource } from './names.js'
import type { Split } from './names.js'
import { Random } from './random.js'
import { kinds, relationsOf } from './schema.js'
import type { Kind, Relation } from './schema.js'

export interface Entity {
  readonly id: number
  readonly kind: Kind
  readonly name: string
  /** What other pages call it; the page itself tells. */
  readonly formerName: string | undefined
  /** Unique title of its page. */
  readonly title: string
  /** Where its text has moved: another title, which no search finds. */
  readonly movedTo: string | undefined
}

export interface Fact {
  readonly subject: Entity
  readonly relation: Relation
  readonly object: Entity | number
  /** Told by the abstract of the object's page, and not on the subject's. */
  readonly elsewhere: boolean
}

export interface Page {
  readonly title: string
  /** The first sentence: all that search knows of a page. */
  readonly abstract: string
  readonly body: string
  readonly type: 'entity' | 'moved' | 'target' | 'old' | 'advert'
  /** Whether search finds it. */
  readonly listed: boolean
}

/** How often each difficulty occurs, 0..1. */
export interface WorldOptions {
  readonly seed: number
  readonly split: Split
  /** Entities of each kind are in proportion to this. */
  readonly size: number
  readonly namesakes: number
  readonly formerNames: number
  readonly moved: number
  readonly elsewhere: number
  readonly oldCopies: number
  readonly adverts: number
  readonly distractors: number
  /** Facts of a page's subject that stand there as `relation: object.`; the others are sentences of several forms, which are harder to read. */
  readonly listed: number
}

const defaultWorld: WorldOptions = {
  seed: 1,
  split: 'tune',
  size: 1,
  namesakes: 0.3,
  formerNames: 0.12,
  moved: 0.08,
  elsewhere: 0.04,
  oldCopies: 0.12,
  adverts: 0.2,
  distractors: 0.35,
  listed: 1,
}

const counts: Readonly<Record<Kind, number>> = { person: 26, town: 14, company: 10, river: 6, region: 5, book: 6 }
const directions = ['north', 'south', 'east', 'west'] as const
const fillers = [
  'Few visitors come.',
  'Winters are long.',
  'Old songs tell of it.',
  'Many letters survive.',
  'Maps show it in red.',
  'It is rarely seen.',
] as const
const wares = ['tickets', 'postcards', 'lamps', 'tours'] as const

export class World {
  readonly options: WorldOptions
  readonly entities: readonly Entity[]
  readonly facts: readonly Fact[]
  readonly pages: readonly Page[]
  readonly #byTitle: ReadonlyMap<string, Page>
  readonly #bySubject = new Map<Entity, Fact[]>()

  constructor(options: Partial<WorldOptions> = {}) {
    this.options = { ...defaultWorld, ...options }
    const random = new Random(`${this.options.split} ${this.options.seed}`)
    const names = new NameSource(random.fork('names'), this.options.split)
    this.entities = makeEntities(this.options, random.fork('entities'), names)
    this.facts = makeFacts(this.options, random.fork('facts'), this.entities)
    for (const fact of this.facts) this.#bySubject.set(fact.subject, [...(this.#bySubject.get(fact.subject) ?? []), fact])
    this.pages = makePages(this, random.fork('pages'), names)
    this.#byTitle = new Map(this.pages.map((page) => [page.title, page]))
  }

  page(title: string): Page | undefined {
    return this.#byTitle.get(title)
  }

  factsOf(subject: Entity): readonly Fact[] {
    return this.#bySubject.get(subject) ?? []
  }
}

/** What pages other than its own call it. */
export function nameElsewhere(entity: Entity): string {
  return entity.formerName ?? entity.name
}

/** How the page of its object tells a fact that is not on its subject's. */
export function toldElsewhere({ subject, relation, object }: Fact): string {
  return `${nameElsewhere(subject)}'s ${relation.word}: ${objectText(object)}.`
}

export function objectText(object: Entity | number): string {
  return typeof object === 'number' ? `${object}` : nameElsewhere(object)
}

function makeEntities(options: WorldOptions, random: Random, names: NameSource): Entity[] {
  const named: { kind: Kind; name: string }[] = []
  for (const kind of kinds) {
    for (let i = 0; i < Math.max(2, Math.round(counts[kind] * options.size)); ++i) {
      const others = named.filter((one) => one.kind !== kind && named.every((two) => two === one || two.name !== one.name))
      const shared = others.length > 0 && random.chance(options.namesakes)
      named.push({ kind, name: shared ? random.pick(others).name : names.next() })
    }
  }
  return named.map(({ kind, name }, id) => {
    const title = named.filter((one) => one.name === name).length > 1 ? `${name} (${kind})` : name
    const formerName = random.chance(options.formerNames) && (kind === 'person' || kind === 'company') ? names.next() : undefined
    const movedTo = random.chance(options.moved) ? `About ${title}` : undefined
    return { id, kind, name, formerName, title, movedTo }
  })
}

function makeFacts(options: WorldOptions, random: Random, entities: readonly Entity[]): Fact[] {
  const facts: Fact[] = []
  const told = new Set<Entity>()
  for (const subject of entities) {
    for (const relation of relationsOf(subject.kind)) {
      if (random.chance(0.2)) continue
      if (relation.to === 'year') {
        facts.push({ subject, relation, object: 1100 + random.below(900), elsewhere: false })
        continue
      }
      const object = random.pick(entities.filter((one) => one.kind === relation.to && one !== subject))
      const plain = subject.formerName === undefined && object.formerName === undefined
      const elsewhere = plain && !told.has(object) && random.chance(options.elsewhere)
      if (elsewhere) told.add(object)
      facts.push({ subject, relation, object, elsewhere })
    }
  }
  return facts
}

function makePages(world: World, random: Random, names: NameSource): Page[] {
  const pages: Page[] = []
  const towns = world.entities.filter((one) => one.kind === 'town')
  const told = new Map(world.facts.filter((fact) => fact.elsewhere).map((fact) => [fact.object, fact]))
  for (const entity of world.entities) {
    const place =
      entity.kind === 'region' ? `the ${random.pick(directions)}` : random.pick(towns.filter((town) => town !== entity)).name
    const former = entity.formerName === undefined ? '' : `, once ${entity.formerName},`
    const other = told.get(entity)
    const also = other === undefined ? '' : ` ${toldElsewhere(other)}`
    const abstract = `${entity.name}${former} is a ${entity.kind} of ${place}.${also}`
    const body = bodyOf(world, random, entity, world.factsOf(entity))
    const { title, movedTo } = entity
    if (movedTo === undefined) {
      pages.push({ title, abstract, body, type: 'entity', listed: true })
    } else {
      pages.push({ title, abstract, body: `This page has moved to ${movedTo}.`, type: 'moved', listed: true })
      pages.push({ title: movedTo, abstract, body, type: 'target', listed: false })
    }
    if (random.chance(world.options.oldCopies)) {
      const outdated = world
        .factsOf(entity)
        .map((fact) => ({ ...fact, elsewhere: false, object: otherObject(world, random, fact) }))
      const old = bodyOf(world, random, entity, outdated)
      pages.push({ title: `${title} (old)`, abstract: `Old copy. ${abstract}`, body: old, type: 'old', listed: true })
    }
    if (random.chance(world.options.adverts)) {
      const [ware, brand] = [random.pick(wares), names.next()]
      const slogan = `Advert. ${entity.name} ${ware} at ${brand}.`
      pages.push({
        title: `${title} ${ware}`,
        abstract: slogan,
        body: `Buy ${ware} at ${brand} today. Best prices.`,
        type: 'advert',
        listed: true,
      })
    }
  }
  return pages
}

function otherObject(world: World, random: Random, fact: Fact): Entity | number {
  if (typeof fact.object === 'number') return 1100 + random.below(900)
  return random.pick(world.entities.filter((one) => one.kind === fact.relation.to && one !== fact.object && one !== fact.subject))
}

function bodyOf(world: World, random: Random, entity: Entity, facts: readonly Fact[]): string {
  const sentences = facts
    .filter((fact) => !fact.elsewhere)
    .map(({ relation: { word }, object }) =>
      random.chance(world.options.listed) ? `${word}: ${objectText(object)}.` : sentence(random, entity.name, word, objectText(object)),
    )
  for (let i = 0; i < 2; ++i) {
    if (!random.chance(world.options.distractors)) continue
    // Of the same kind, so that the relation alone does not tell.
    const others = world.facts.filter(
      (one) => one.subject.kind === entity.kind && one.subject.name !== entity.name && !one.elsewhere,
    )
    if (others.length === 0) continue
    const fact = random.pick(others)
    sentences.push(sentence(random, nameElsewhere(fact.subject), fact.relation.word, objectText(fact.object)))
  }
  if (random.chance(0.5)) sentences.push(random.pick(fillers))
  return random.shuffled(sentences).join(' ')
}

function sentence(random: Random, subject: string, word: string, object: string): string {
  const forms = [
    `The ${word} of ${subject} is ${object}.`,
    `${subject}'s ${word} is ${object}.`,
    `As ${word}, ${subject} has ${object}.`,
  ]
  return forms[random.weighted([0.5, 0.3, 0.2])]!
}
