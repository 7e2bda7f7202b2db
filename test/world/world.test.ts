import { describe, expect, test } from 'vitest'

import { lastSyllables, splitOf } from '../../bench/research-world/names.js'
import { callsNeeded, Oracle } from '../../bench/research-world/oracle.js'
import { isRight, makeQuestion, plannedAnswer, rightParts } from '../../bench/research-world/questions.js'
import { Random } from '../../bench/research-world/random.js'
import { answerCall, recordRun } from '../../bench/research-world/runs.js'
import { SearchIndex } from '../../bench/research-world/search.js'
import { makePlannedTasks, makeTasks } from '../../bench/research-world/tasks.js'
import { latencyOf, webLatencies, worldTools } from '../../bench/research-world/tools.js'
import { World } from '../../bench/research-world/world.js'

const ending = new RegExp(`^[A-Z][a-z]+(?:${lastSyllables.join('|')})$`)
const names = (world: World): string[] =>
  world.pages
    .flatMap(({ title, abstract, body }) => `${title} ${abstract} ${body}`.match(/\b[A-Z][a-z]{4,}\b/g) ?? [])
    .filter((word) => ending.test(word))

describe('a world', () => {
  test('follows from its seed and split', () => {
    const pages = (seed: number) => JSON.stringify(new World({ seed }).pages)
    expect(pages(3)).toBe(pages(3))
    expect(pages(3)).not.toBe(pages(4))
    expect(JSON.stringify(new World({ seed: 3, split: 'eval' }).pages)).not.toBe(pages(3))
  })

  test('uses names of its split only, so no name of training is met again in evaluation', () => {
    const met = new Map<string, Set<string>>()
    for (const split of ['train', 'tune', 'eval'] as const) {
      const used = new Set([1, 2, 3, 4, 5].flatMap((seed) => names(new World({ seed, split }))))
      expect(used.size).toBeGreaterThan(200)
      for (const name of used) expect([name, splitOf(name)]).toEqual([name, split])
      met.set(split, used)
    }
    expect([...met.get('train')!].filter((name) => met.get('eval')!.has(name))).toEqual([])
  })

  test('has a page for every entity, under a title of its own, and every difficulty', () => {
    const worlds = [1, 2, 3, 4].map((seed) => new World({ seed }))
    for (const world of worlds) {
      expect(new Set(world.pages.map(({ title }) => title)).size).toBe(world.pages.length)
      for (const { title, movedTo } of world.entities) {
        expect(world.page(title)).toBeDefined()
        if (movedTo !== undefined) expect(world.page(title)!.body).toContain(movedTo)
      }
    }
    expect(new Set(worlds.flatMap(({ pages }) => pages.map(({ type }) => type)))).toEqual(
      new Set(['entity', 'moved', 'target', 'old', 'advert']),
    )
    expect(worlds.some(({ facts }) => facts.some(({ elsewhere }) => elsewhere))).toBe(true)
    expect(worlds.some(({ entities }) => entities.some(({ title }) => title.includes('(')))).toBe(true)
  })

  test('tells a fact that is elsewhere on the page of the other side alone', () => {
    const world = new World({ seed: 2, elsewhere: 0.5 })
    const elsewhere = world.facts.filter((fact) => fact.elsewhere)
    expect(elsewhere.length).toBeGreaterThan(5)
    for (const { subject, relation, object } of elsewhere) {
      if (typeof object === 'number') throw new Error('a year has no page')
      expect(world.page(object.title)!.abstract).toContain(`${subject.name}'s ${relation.word}: ${object.name}.`)
      expect(world.page(subject.movedTo ?? subject.title)!.body).not.toContain(`${relation.word}: `)
    }
  })
})

describe('searching', () => {
  const world = new World({ seed: 5 })
  const index = new SearchIndex(world)

  test('finds the page of a name among its first results, though others mention it', () => {
    const found = world.entities.filter(({ name, title }) => index.search(name).some((hit) => hit.title === title))
    expect(found.length / world.entities.length).toBeGreaterThan(0.9)
    expect(index.search('nothing of the kind')).toEqual([])
  })

  test('finds no page that another has moved to', () => {
    const moved = world.entities.find(({ movedTo }) => movedTo !== undefined)!
    expect(index.search(moved.movedTo!, 100).map(({ title }) => title)).not.toContain(moved.movedTo)
  })
})

describe('questions', () => {
  test('have 1 to 6 hops, and an oracle that reads only what tools return answers each', () => {
    const tasks = makeTasks({ seed: 1, count: 120 })
    expect(new Set(tasks.map(({ question }) => question.chain.length))).toEqual(new Set([1, 2, 3, 4, 5, 6]))
    for (const { world, index, question, calls } of tasks) {
      const oracle = new Oracle(index, question)
      for (let call = 0; call < calls; ++call) oracle.observed(answerCall(world, index, oracle.turn().call!))
      expect(isRight(question, oracle.turn().answer!)).toBe(true)
    }
    expect(tasks.some(({ question, calls }) => question.deadEnds > 0 && calls > 2 * question.chain.length)).toBe(true)
  })

  test('are the same for the same seed, and answered by no other name', () => {
    const texts = (seed: number) => makeTasks({ seed, count: 8 }).map(({ question }) => question.text)
    expect(texts(7)).toEqual(texts(7))
    const { question } = makeTasks({ seed: 7, count: 1 })[0]!
    expect(isRight(question, ` ${question.answers[0]!}. `)).toBe(true)
    expect(isRight(question, `${question.answers[0]!} or Nobody`)).toBe(false)
  })

  test('can be asked together, and each part counts by itself', () => {
    const planned = makePlannedTasks({ seed: 2, count: 6 })
    for (const { world, question } of planned) {
      expect(question.parts.length).toBeGreaterThanOrEqual(2)
      expect(new Set(question.parts.map(({ start }) => world.entities.includes(start)))).toEqual(new Set([true]))
      const answers = question.parts.map((part) => part.answers[0]!)
      expect(rightParts(question, plannedAnswer(answers))).toBe(answers.length)
      expect(rightParts(question, plannedAnswer(answers.with(0, 'Nobody')))).toBe(answers.length - 1)
      expect(rightParts(question, answers[0]!)).toBe(0)
    }
  })

  test('that the taught way cannot answer are told apart', () => {
    const world = new World({ seed: 1 })
    const index = new SearchIndex(world)
    const question = makeQuestion(world, new Random(1))
    expect(callsNeeded(index, question, () => 'No results.')).toBeUndefined()
  })
})

describe('recorded runs', () => {
  const options = { useless: 0.2, slips: 0.15, filtered: 0.5 }
  const runs = makeTasks({ seed: 3, count: 60 }).map(({ world, index, question }, i) => ({
    question,
    run: recordRun(world, index, question, new Random(i), options),
  }))

  test('end with the right answer, whatever went wrong on the way', () => {
    for (const { question, run } of runs) expect(isRight(question, run.turns.at(-1)!.answer!)).toBe(true)
    expect(runs.some(({ run }) => run.turns.some(({ think, spoilt }) => !spoilt && think.startsWith('Wrong. ')))).toBe(true)
    expect(runs.some(({ run }) => run.turns.some(({ think, spoilt }) => !spoilt && think.startsWith('Not useful. ')))).toBe(true)
  })

  test('say of every turn whether the way became shorter: never for a spoilt one, and as often as the way is long', () => {
    for (const { run } of runs) {
      for (const { spoilt, progress } of run.turns) if (spoilt) expect(progress).toBe(false)
    }
    for (const { world, index, question } of makeTasks({ seed: 4, count: 40 })) {
      const { turns } = recordRun(world, index, question, new Random(1), { useless: 0, slips: 0, filtered: 0 })
      expect(turns.filter(({ progress }) => progress).length).toBe(new Oracle(index, question).distance())
    }
  })

  test('show all of a filtered search that the next turn needs', () => {
    const { run } = runs.find(({ run: { turns } }) => turns.some(({ observation }) => /\(o\d+: \d of \d\)$/.test(observation)))!
    run.turns.forEach((turn, i) => {
      const next = run.turns[i + 1]
      if (
        turn.call?.name !== 'search' ||
        turn.spoilt ||
        next?.spoilt !== false ||
        next.call?.name !== 'open' ||
        next.think.startsWith('Not useful')
      )
        return
      expect(turn.observation).toContain(`${next.call.argument} | `)
    })
  })
})

describe('tools', () => {
  const world = new World({ seed: 1 })
  const index = new SearchIndex(world)
  const { search, open } = worldTools(world, index, { seed: 1, timeScale: 0 })
  const context = { signal: new AbortController().signal, callId: 'c1' }

  test('return what the encyclopedia says, and an error for a page that is not there', async () => {
    const [{ title, name }] = [world.entities[0]!]
    const hits = await search.invoke({ query: name }, context)
    expect(search.render(hits)).toContain(`${title} | `)
    expect(search.results(hits)).toHaveLength((hits as unknown[]).length)
    expect(open.render(await open.invoke({ title }, context))).toMatch(new RegExp(`^${title.replaceAll(/[()]/g, '\\$&')}: `))
    await expect(open.invoke({ title: 'Nowhere' }, context)).rejects.toThrow('No such page.')
    expect(search.check({})).toHaveProperty('problem')
  })

  test('take as long as the web does, and as long again for the same call', () => {
    const drawn = Array.from({ length: 4000 }, (_, i) => latencyOf(webLatencies.open, 1, `open ${i}`))
    expect(drawn.reduce((sum, value) => sum + value, 0) / drawn.length / 1000).toBeCloseTo(webLatencies.open.mean, 0)
    expect(latencyOf(webLatencies.search, 1, 'search a')).toBe(latencyOf(webLatencies.search, 1, 'search a'))
    expect(latencyOf(webLatencies.search, 2, 'search a')).not.toBe(latencyOf(webLatencies.search, 1, 'search a'))
  })
})
