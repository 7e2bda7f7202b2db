/**
 * Recorded runs as the text that models read and write, in pieces, each with what it counts as in training. The main line is one
 * conversation; branches are what a fork of it reads and writes (PROGRESS questions, distillation), placed where they fork off.
 * Cut where generation begins, as the runtime's sessions tokenise it.
 */
import { callText, plannerInstructions, systemText, worldPrompts } from './format.js'
import type { ToolName } from './format.js'
import { plannedAnswer } from './questions.js'
import type { PlannedQuestion } from './questions.js'
import type { RecordedRun, RecordedTurn } from './runs.js'
import type { Random } from './random.js'
import { relations, relationsOf } from './schema.js'
import { hitsText, pageText } from './search.js'
import type { SearchIndex } from './search.js'
import { objectText } from './world.js'
import type { World } from './world.js'

/** What a model is to learn of a piece; `read` pieces are given to it. The order is part of the data format. */
export const pieceKinds = ['read', 'think', 'call', 'answer', 'reason', 'verdict', 'memory', 'end'] as const
export type PieceKind = (typeof pieceKinds)[number]

export interface Piece {
  readonly text: string
  /** Whether markers in it are markers. */
  readonly special: boolean
  readonly kind: PieceKind
  /** 0: the main line. */
  readonly branch: number
}

/** A swap of old observations for a memory, seen after turn `at` (index). */
export interface Distillation {
  readonly at: number
  /** Turns whose observations stay. */
  readonly keepRecent: number
}

export interface RenderOptions {
  /** Whether the run has PROGRESS questions after its turns. */
  readonly progress: boolean
  /** Whether results can be left out of a run, so that it has a tool to recall them. */
  readonly recall: boolean
  /** The memory is asked for, in a branch. */
  readonly distil?: Distillation | undefined
  /** The memory is in its place: only what comes behind it is learnt. */
  readonly distilled?: Distillation | undefined
}

const read = (text: string, branch = 0, special = true): Piece => ({ text, special, kind: 'read', branch })

export function renderRun(run: RecordedRun, options: RenderOptions): Piece[] {
  const { progress, recall, distil, distilled } = options
  const tools: ToolName[] = recall ? ['search', 'open', 'recall'] : ['search', 'open']
  const pieces = [
    read(`<s>[unused9]系统：${systemText(tools, progress)}[unused10][unused9]用户：`),
    read(run.question.text, 0, false),
    read('[unused10]'),
  ]
  const lastGone = distilled === undefined ? -1 : distilled.at - distilled.keepRecent
  run.turns.forEach((turn, index) => {
    const known = distilled !== undefined && index <= distilled.at
    pieces.push(read('[unused9]助手：'), ...turnPieces(turn, known))
    if (turn.call === undefined) return
    if (progress && distilled === undefined) pieces.push(...progressPieces(turn, index + 1))
    if (index > lastGone) pieces.push(read('[unused9]工具：'), read(turn.observation, 0, false), read('[unused10]'))
    if (index === lastGone) pieces.push(read(`[unused9]助手：${worldPrompts.memory(memoryFacts(run, lastGone))}[unused10]`))
    if (index === distil?.at) pieces.push(...distilPieces(run, distil, run.turns.length + 1))
  })
  return pieces
}

function turnPieces(turn: RecordedTurn, known: boolean): Piece[] {
  const piece = (text: string, kind: PieceKind): Piece => ({
    text,
    special: true,
    kind: known || turn.spoilt ? 'read' : kind,
    branch: 0,
  })
  const act =
    turn.call === undefined
      ? piece(turn.answer ?? '', 'answer')
      : piece(`[unused11]${callText(turn.call.name, turn.call.argument)}[unused12]`, 'call')
  return [piece(`[unused16]${turn.think}[unused17]`, 'think'), act, piece('[unused10]', 'end')]
}

/**
 * The reason says what was sought, never whether it was found: the verdict's probability must not hang on the words before it.
 */
function progressPieces(turn: RecordedTurn, branch: number): Piece[] {
  return [
    read(`[unused9]用户：${worldPrompts.progressQuestion}[unused10]`, branch),
    read(`[unused9]助手：${worldPrompts.progressLead}`, branch),
    { text: ` Sought the ${turn.goal}. `, special: true, kind: 'reason', branch },
    { text: worldPrompts.progressValue, special: true, kind: 'reason', branch },
    { text: turn.progress ? ' TRUE ' : ' FALSE ', special: true, kind: 'verdict', branch },
    { text: '</value>\n===END_PROGRESS===[unused10]', special: true, kind: 'end', branch },
  ]
}

function distilPieces(run: RecordedRun, { at, keepRecent }: Distillation, branch: number): Piece[] {
  const lastGone = at - keepRecent
  const gone = run.turns
    .slice(0, lastGone + 1)
    .map(({ call }, index) => ({ ref: `o${index + 1}`, call: `${call!.name}("${call!.argument}")` }))
  return [
    read(`[unused9]用户：${worldPrompts.distil(gone)}[unused10]`, branch),
    read(`[unused9]助手：${worldPrompts.distilLead}`, branch),
    { text: memoryFacts(run, lastGone), special: true, kind: 'memory', branch },
    { text: `${worldPrompts.distilStop}[unused10]`, special: true, kind: 'memory', branch },
  ]
}

/** What the observations up to a turn told of the way, and what is open: as the thinking behind them put it. */
function memoryFacts(run: RecordedRun, lastGone: number): string {
  const facts = run.turns
    .slice(0, lastGone + 2)
    .flatMap(({ think, spoilt }) => (spoilt ? [] : (/\w+: \w+\./.exec(think) ?? [])))
  return [...facts, `Seek the ${run.turns[lastGone + 1]!.goal}.`].join(' ')
}

/** A planner's run: every part of the question to a seeker of its own, at once, and what they bring in the order of the parts. */
export function renderPlan(plan: PlannedQuestion, options: { readonly recall: boolean }): Piece[] {
  const tools: ToolName[] = options.recall ? ['seeker', 'recall'] : ['seeker']
  const own = (text: string, kind: PieceKind): Piece => ({ text, special: true, kind, branch: 0 })
  const answers = plan.parts.map((part) => part.answers.at(-1)!)
  return [
    read(`<s>[unused9]系统：${systemText(tools, false, plannerInstructions)}[unused10][unused9]用户：`),
    read(plan.text, 0, false),
    read('[unused10][unused9]助手：'),
    own('[unused16]Ask for each.[unused17]', 'think'),
    own(`[unused11]${callText('seeker', ...plan.parts.map((part) => part.text))}[unused12]`, 'call'),
    own('[unused10]', 'end'),
    ...answers.flatMap((answer) => [read('[unused9]工具：'), read(answer, 0, false), read('[unused10]')]),
    read('[unused9]助手：'),
    own('[unused16]Done.[unused17]', 'think'),
    own(plannedAnswer(answers), 'answer'),
    own('[unused10]', 'end'),
  ]
}

/**
 * Reading practice: pages and searches, and after each what a run would write that seeks one thing there or another. A run of 580 tokens
 * looks three facts up; this does so every thirty.
 */
export function renderDrill(world: World, index: SearchIndex, random: Random): Piece[] {
  if (random.chance(0.7)) return renderLists(world, random)
  const progress = random.chance(0.5)
  const pieces = [read(`<s>[unused9]系统：${systemText(['search', 'open'], progress)}[unused10]`)]
  const own = (text: string): Piece => ({ text, special: true, kind: 'think', branch: 0 })
  const ask = (goal: string, says: string): void => {
    pieces.push(read(`[unused9]助手：[unused16]Seek the ${goal}.[unused17][unused10][unused9]助手：[unused16]`), own(says), read('[unused17][unused10]'))
  }
  const show = (text: string): unknown => pieces.push(read('[unused9]工具：'), read(text, 0, false), read('[unused10]'))
  const elsewhere = world.facts.filter((fact) => fact.elsewhere)
  for (let count = 2 + random.below(3); count > 0; --count) {
    if (elsewhere.length > 0 && random.chance(0.25)) {
      const { relation, subject, object } = random.pick(elsewhere)
      const goal = `${relation.word} of ${subject.name}`
      show(hitsText(index.search(goal)))
      ask(goal, `${relation.word}: ${objectText(object)}. `)
      continue
    }
    const entity = random.pick(world.entities)
    show(pageText(world, entity.movedTo ?? entity.title))
    const facts = new Map(world.factsOf(entity).map((fact) => [fact.relation, fact]))
    for (const relation of random.shuffled(relationsOf(entity.kind)).slice(0, 3)) {
      const fact = facts.get(relation)
      const says = fact === undefined || fact.elsewhere ? `No ${relation.word} here. ` : `${relation.word}: ${objectText(fact.object)}. `
      ask(`${relation.word} of ${entity.name}`, says)
    }
  }
  return pieces
}

/** Two made-up pages of ten facts, each looked up behind its page: copying, and little else. */
function renderLists(world: World, random: Random): Piece[] {
  const pieces = [read(`<s>[unused9]系统：${systemText(['search', 'open'], random.chance(0.5))}[unused10]`)]
  for (let page = 0; page < 2; ++page) {
    const { name, kind } = random.pick(world.entities)
    const facts = random.shuffled(relations).slice(0, 10)
      .map(({ word, to }) => [`${word}: `, to === 'year' ? `${1100 + random.below(900)}` : random.pick(world.entities).name] as const)
    const text = facts.map(([word, object]) => `${word}${object}.`).join(' ')
    pieces.push(read('[unused9]工具：'), read(`${name}: ${name} is a ${kind} of ${random.pick(world.entities).name}. ${text}`, 0, false))
    pieces.push(read('[unused10][unused9]助手：[unused16]'))
    for (const [word, object] of random.shuffled(facts)) {
      pieces.push(read(word), { text: object, special: true, kind: 'think', branch: 0 }, read('. '))
    }
    pieces.push(read('[unused17][unused10]'))
  }
  return pieces
}
