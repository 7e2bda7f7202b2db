/** Tool calls out of the text between a model's call markers: a JSON list of objects with a name and arguments, mended where it can be. */
import { parseLooseJson } from './loose_json.js'

/** A call that can be made. */
export interface ToolCallText {
  /** Of the tool, as the model wrote it: there need not be one. */
  readonly name: string
  /** Not checked against any schema. */
  readonly arguments: Readonly<Record<string, unknown>>
  /** What was mended to read it; empty for a well-formed call. */
  readonly repairs: readonly string[]
}

/** A call that cannot. */
export interface MalformedCall {
  /** What is wrong with it, in words a model can act on. */
  readonly error: string
  /** All of the text between the markers, as it was. */
  readonly text: string
}

/** What a model wrote as a call. */
export type ParsedCall = ToolCallText | MalformedCall

export function isMalformed(call: ParsedCall): call is MalformedCall {
  return 'error' in call
}

const nameKeys = ['name', 'tool', 'tool_name', 'function_name', 'function'] as const
const argumentKeys = ['arguments', 'parameters', 'args', 'input', 'params'] as const
const otherKeys = new Set<string>([...nameKeys, ...argumentKeys, 'id', 'type', 'index'])

/** Never throws: text that is no call gives one MalformedCall. `complete: false` says the text was cut off, so nothing is closed for it. */
export function parseToolCalls(text: string, complete = true): ParsedCall[] {
  if (text.trim() === '') return [{ error: 'the tool call is empty: expected a JSON list of {"name", "arguments"}', text }]
  let parsed: ReturnType<typeof parseLooseJson>
  try {
    parsed = parseLooseJson(text)
  } catch (error) {
    return [{ error: `the tool call is not JSON (${(error as Error).message})`, text }]
  }
  if (!complete && parsed.repairs.includes('unclosed')) return [{ error: 'the tool call was cut off before its end', text }]
  const entries = listOf(parsed.value)
  if (entries.length === 0) return [{ error: 'the list of tool calls is empty', text }]
  return entries.map((entry) => callOf(entry, parsed.repairs, text))
}

function listOf(value: unknown): readonly unknown[] {
  if (Array.isArray(value)) return value.flatMap((entry: unknown) => (Array.isArray(entry) ? (entry as unknown[]) : [entry]))
  if (isObject(value) && Array.isArray(value['tool_calls'])) return value['tool_calls']
  return [value]
}

function callOf(entry: unknown, repairs: readonly string[], text: string): ParsedCall {
  if (!isObject(entry)) return { error: `expected an object with "name" and "arguments", got ${JSON.stringify(entry)}`, text }
  const inner = entry['function']
  if (isObject(inner)) return callOf(inner, repairs, text)
  const nameKey = nameKeys.find((key) => typeof entry[key] === 'string' && entry[key] !== '')
  if (nameKey === undefined) return { error: 'the tool call has no "name"', text }
  const name = (entry[nameKey] as string).trim()
  const mended = nameKey === 'name' ? repairs : [...repairs, `"${nameKey}" for "name"`]
  const key = argumentKeys.find((candidate) => candidate in entry)
  if (key === undefined) {
    const flat = Object.entries(entry).filter(([other]) => !otherKeys.has(other))
    return { name, arguments: Object.fromEntries(flat), repairs: flat.length > 0 ? [...mended, 'arguments not nested'] : mended }
  }
  const given = argumentsOf(entry[key])
  if (given === undefined) return { error: `"${key}" of ${name}: expected an object, got ${JSON.stringify(entry[key])}`, text }
  const more = [...(key === 'arguments' ? [] : [`"${key}" for "arguments"`]), ...given.repairs]
  return { name, arguments: given.value, repairs: [...mended, ...more] }
}

/** Arguments are an object, or the JSON of one in a string; nothing counts as none. */
function argumentsOf(value: unknown): { value: Record<string, unknown>; repairs: readonly string[] } | undefined {
  if (isObject(value)) return { value, repairs: [] }
  if (value === null || value === undefined || value === '') return { value: {}, repairs: [] }
  if (typeof value !== 'string') return undefined
  try {
    const parsed = parseLooseJson(value)
    return isObject(parsed.value) ? { value: parsed.value, repairs: [...parsed.repairs, 'arguments in a string'] } : undefined
  } catch {
    return undefined
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
