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
import { relationsOf } from './schema.js'
import { hitsText, pageText } from './search.js'
import type { SearchIndex } from './search.js'
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
    .flatMap(({ think, spoilt }) => (spoilt ? [] : (/The \w+ of \w+ is \w+\./.exec(think) ?? [])))
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

/** The ways in which pages and search results tell a fact: relation, subject, object. */
const tellings: readonly { readonly pattern: RegExp; readonly order: readonly [number, number, number] }[] = [
  { pattern: /\bThe (\w+) of (\w+) is (\w+)\./g, order: [1, 2, 3] },
  { pattern: /\b(\w+)'s (\w+) is (\w+)\./g, order: [2, 1, 3] },
  { pattern: /\bAs (\w+), (\w+) has (\w+)\./g, order: [1, 2, 3] },
  { pattern: /\b([A-Z]\w+) is a \w+ of [\w ]+ and the (\w+) of (\w+)\./g, order: [2, 3, 1] },
]

/** Everything that a text tells, as `relation of subject` -> objects. */
export function toldBy(text: string): Map<string, Set<string>> {
  const told = new Map<string, Set<string>>()
  for (const { pattern, order } of tellings) {
    for (const match of text.matchAll(pattern)) {
      const [relation, subject, object] = order.map((group) => match[group]!)
      const key = `${relation} of ${subject}`
      told.set(key, (told.get(key) ?? new Set()).add(object!))
    }
  }
  return told
}

/**
 * Reading practice: some pages and a search, then what they tell, fact by fact, as runs write it, and what they do not tell. A run of 580
 * tokens looks three facts up; this does so every twenty tokens, and looking up is what takes longest to learn.
 */
export function renderDrill(world: World, index: SearchIndex, random: Random): Piece[] {
  const texts: string[] = []
  const missing: { relation: string; subject: string }[] = []
  const count = 1 + random.below(3)
  while (texts.length < count) {
    const entity = random.pick(world.entities)
    texts.push(pageText(world, entity.movedTo ?? entity.title))
    for (const { word } of relationsOf(entity.kind)) missing.push({ relation: word, subject: entity.name })
  }
  const elsewhere = world.facts.filter((fact) => fact.elsewhere)
  if (elsewhere.length > 0 && random.chance(0.5)) {
    const { relation, subject } = random.pick(elsewhere)
    texts.splice(random.below(texts.length + 1), 0, hitsText(index.search(`${relation.word} of ${subject.name}`)))
  }
  const told = toldBy(texts.join('\n'))
  const facts = random.shuffled([...told].filter(([, objects]) => objects.size === 1)).slice(0, 12)
  const gaps = random.shuffled(missing.filter(({ relation, subject }) => !told.has(`${relation} of ${subject}`))).slice(0, 3)
  const progress = random.chance(0.5)
  const pieces = [read(`<s>[unused9]系统：${systemText(['search', 'open'], progress)}[unused10]`)]
  for (const text of texts) pieces.push(read('[unused9]工具：'), read(text, 0, false), read('[unused10]'))
  const own = (text: string): Piece => ({ text, special: true, kind: 'think', branch: 0 })
  const asked = random.shuffled([
    ...facts.map(([goal, objects]) => ({ goal, says: [`The ${goal} is `, [...objects][0]!] })),
    ...gaps.map(({ relation, subject }) => ({ goal: `${relation} of ${subject}`, says: [`No ${relation} here. `] })),
  ])
  for (const { goal, says } of asked) {
    const [first, second] = says
    if (second === undefined || random.chance(0.4)) {
      pieces.push(read(`[unused9]助手：[unused16]Seek the ${goal}.[unused17][unused10][unused9]助手：[unused16]`), own(first!))
    } else {
      pieces.push(read(`[unused9]助手：[unused16]${first}`))
    }
    if (second !== undefined) pieces.push(own(second), read('. Done.'))
    pieces.push(read('[unused17][unused10]'))
  }
  return pieces
}
