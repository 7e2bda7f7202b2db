/**
 * Runs a Jinja template within bounds. @huggingface/jinja evaluates every node of a template through one method; overriding it
 * gives what the library itself lacks: a limit on steps, on the size of every value made on the way, and on time. A watchdog
 * (the timeout of node:vm, which stops V8 itself) stands behind them for the few built-ins that can be slow in a single step.
 */
import { createContext, Script } from 'node:vm'
import * as library from '@huggingface/jinja'

export interface JinjaLimits {
  /** Bytes of the template's source, as UTF-8. */
  readonly templateBytes: number
  /** Nodes evaluated in one rendering. */
  readonly steps: number
  /** UTF-16 units of any text made while rendering. */
  readonly size: number
  /** Elements of any list made while rendering; each takes a hundred bytes or more. */
  readonly elements: number
  /** Milliseconds for one parsing or rendering; Infinity: nobody watches, which saves a thread's start each time. */
  readonly time: number
}

export const defaultJinjaLimits: JinjaLimits = {
  templateBytes: 65_536,
  steps: 1_000_000,
  size: 64 * 1024 * 1024,
  elements: 1_000_000,
  time: 1000,
}

// The parts of the library that are used. Its own declarations do not resolve under "nodenext".
interface Value {
  readonly type: string
  readonly value: unknown
}
interface Environment {
  set(name: string, value: unknown): Value
}
interface Evaluator {
  run(program: Program): Value
  evaluate(node: AnyNode | undefined, environment: Environment): Value
}
type Program = Readonly<Record<string, unknown>>
const { Environment, Interpreter, parse, tokenize } = library as unknown as {
  readonly Environment: new () => Environment
  readonly Interpreter: new (environment: Environment) => Evaluator
  readonly parse: (tokens: unknown) => Program
  readonly tokenize: (source: string, options: Readonly<Record<string, boolean>>) => unknown
}

/** What the template sees for texts it must not tell apart; see taint.ts. */
export interface TextView {
  /** The text as it really is, for tests on it. */
  real(text: string): string
  /** Real text as it would look inside a text like `beside`, for methods such as split. */
  alike(text: string, beside: string): string
}

const comparisons = new Set(['==', '!=', 'in', 'not in', '<', '>', '<=', '>='])
const questions = new Set(['startswith', 'endswith'])
const reshapers = new Set(['split', 'rsplit', 'replace'])

/** The fields of syntax nodes that are looked at here. */
interface AnyNode {
  readonly type: string
  /** Of our own node type `known`: a value already. */
  readonly known?: Value
  readonly operator?: { readonly value: string }
  readonly left?: AnyNode
  readonly right?: AnyNode
  readonly callee?: AnyNode
  readonly object?: AnyNode
  readonly property?: AnyNode & { readonly value?: unknown }
  readonly computed?: boolean
  readonly args?: readonly AnyNode[]
  readonly operand?: AnyNode
  readonly filter?: AnyNode & { readonly value?: unknown }
}

class BoundedInterpreter extends Interpreter {
  #steps = 0
  readonly #limits: JinjaLimits
  readonly #view: TextView | undefined

  constructor(environment: Environment, limits: JinjaLimits, view: TextView | undefined) {
    super(environment)
    this.#limits = limits
    this.#view = view
  }

  override evaluate(node: AnyNode | undefined, environment: Environment): Value {
    if (node?.known) return node.known
    if (++this.#steps > this.#limits.steps) throw new Error(`more than ${this.#limits.steps} steps`)
    const value = super.evaluate(this.#view && node ? this.#asReal(node, environment, this.#view) : node, environment)
    const inner = value.value
    const { size, elements } = this.#limits
    if (typeof inner === 'string' && inner.length > size) throw new Error(`a text longer than ${size}`)
    if (Array.isArray(inner) && inner.length > elements) throw new Error(`a list longer than ${elements}`)
    return value
  }

  /** Questions about texts are asked of the real ones, so that both renderings of a template take the same path. */
  #asReal(node: AnyNode, environment: Environment, view: TextView): AnyNode {
    const value = (part: AnyNode | undefined) => this.evaluate(part, environment)
    const real = (part: AnyNode | undefined) => known(mapTexts(value(part), (text) => view.real(text)))
    if (node.type === 'BinaryExpression' && comparisons.has(node.operator?.value ?? ''))
      return { ...node, left: real(node.left), right: real(node.right) }
    if (node.type === 'FilterExpression' && node.filter?.type === 'Identifier' && node.filter.value === 'length')
      return { ...node, operand: real(node.operand) }
    const callee = node.callee
    if (node.type !== 'CallExpression' || callee?.type !== 'MemberExpression' || callee.computed === true) return node
    const method = String(callee.property?.value)
    if (!questions.has(method) && !reshapers.has(method)) return node
    const plain = (node.args ?? []).every((arg) => arg.type !== 'KeywordArgumentExpression' && arg.type !== 'SpreadExpression')
    const receiver = value(callee.object)
    if (!plain || typeof receiver.value !== 'string') return { ...node, callee: { ...callee, object: known(receiver) } }
    const text = receiver.value
    const question = questions.has(method)
    return {
      ...node,
      callee: { ...callee, object: question ? known(mapTexts(receiver, (part) => view.real(part))) : known(receiver) },
      args: (node.args ?? []).map((arg) =>
        known(mapTexts(value(arg), (part) => (question ? view.real(part) : view.alike(part, text)))),
      ),
    }
  }
}

function known(value: Value): AnyNode {
  return { type: 'known', known: value }
}

/** The value with `change` applied to a text, or to the texts of a list; the same value where nothing changes. */
function mapTexts(value: Value, change: (text: string) => string): Value {
  const inner = value.value
  if (typeof inner === 'string') {
    const changed = change(inner)
    return changed === inner ? value : new Environment().set('text', changed)
  }
  if (!Array.isArray(inner)) return value
  const items = (inner as Value[]).map((item) => mapTexts(item, change))
  if (items.every((item, index) => item === (inner as Value[])[index])) return value
  const copy = new Environment().set('list', [])
  ;(copy.value as Value[]).push(...items)
  return copy
}

const watched = createContext({ run: undefined as (() => void) | undefined })
const script = new Script('run()')

/** Runs `work`, and stops it after `time` milliseconds wherever it is. */
function withinTime<T>(time: number, work: () => T): T {
  if (time === Infinity) return work()
  let result: { value: T } | undefined
  watched['run'] = () => {
    result = { value: work() }
  }
  try {
    script.runInContext(watched, { timeout: time })
  } catch (error) {
    if ((error as { code?: unknown }).code === 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw new Error(`more than ${time} ms`, { cause: error })
    throw error
  } finally {
    watched['run'] = undefined
  }
  return (result as unknown as { value: T }).value
}

export class Jinja {
  readonly #program: Program
  readonly #limits: JinjaLimits

  /** Its syntax tree. */
  get program(): unknown {
    return this.#program
  }

  /** Throws an Error that says what is wrong with the template. */
  constructor(source: string, limits: JinjaLimits = defaultJinjaLimits) {
    const bytes = Buffer.byteLength(source)
    if (bytes > limits.templateBytes) throw new Error(`${bytes} bytes, at most ${limits.templateBytes} are allowed`)
    this.#limits = limits
    this.#program = withinTime(limits.time, () => parse(tokenize(source, { lstrip_blocks: true, trim_blocks: true })))
  }

  /** Throws an Error when the template fails (also by its own raise_exception) or leaves its bounds. */
  render(variables: Readonly<Record<string, unknown>>, now: Date, view?: TextView): string {
    return withinTime(this.#limits.time, () => {
      const environment = new Environment()
      const globals = { ...builtins(this.#limits, now), ...variables }
      for (const [name, value] of Object.entries(globals)) environment.set(name, value)
      return String(new BoundedInterpreter(environment, this.#limits, view).run(this.#program).value)
    })
  }
}

function builtins(limits: JinjaLimits, now: Date): Record<string, unknown> {
  return {
    true: true,
    false: false,
    none: null,
    True: true,
    False: false,
    None: null,
    range: (start: number, stop?: number, step = 1) => boundedRange(start, stop, step, limits.elements),
    strftime_now: (format: string) => strftime(now, format),
    raise_exception: (message: unknown) => {
      throw new Error(String(message))
    },
  }
}

function boundedRange(first: number, second: number | undefined, step: number, elements: number): number[] {
  const [start, stop] = second === undefined ? [0, first] : [first, second]
  const length = Math.max(0, Math.ceil((stop - start) / step))
  if (!Number.isInteger(length) || length > elements) throw new Error(`range() of ${length} numbers`)
  return Array.from({ length }, (_, index) => start + index * step)
}

const months = ['January', 'February', 'March', 'April', 'May', 'June', 'July', 'August', 'September', 'October', 'November', 'December']
const days = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday']

function strftime(now: Date, format: string): string {
  const two = (value: number) => String(value).padStart(2, '0')
  const fields: Record<string, string> = {
    Y: String(now.getFullYear()),
    m: two(now.getMonth() + 1),
    d: two(now.getDate()),
    H: two(now.getHours()),
    M: two(now.getMinutes()),
    S: two(now.getSeconds()),
    B: months[now.getMonth()] ?? '',
    b: (months[now.getMonth()] ?? '').slice(0, 3),
    A: days[now.getDay()] ?? '',
    a: (days[now.getDay()] ?? '').slice(0, 3),
    '%': '%',
  }
  return format.replaceAll(/%(.)/gs, (whole, field: string) => fields[field] ?? whole)
}
