/** Options that are numbers and switches, completed from their defaults. A wrong one would not fail later, it would silently decide otherwise. */
import { AgentInferError } from '../errors.js'

/**
 * `what`: whose options they are, for messages; `prefix`: where among them. Numbers are 0 or more where the default is. What has an object as its
 * default is not looked into.
 * @throws {AgentInferError} `ERR_INVALID_ARGUMENT` for an option that there is not, or of another type than its default.
 */
export function completed<Options extends object>(given: Partial<Options>, defaults: Options, what: string, prefix = ''): Options {
  const refuse = (problem: string): never => {
    throw new AgentInferError('ERR_INVALID_ARGUMENT', `${what}: ${problem}`)
  }
  const result: Options = { ...defaults }
  for (const key of Object.keys(given) as (Extract<keyof Options, string>)[]) {
    const [value, usual] = [given[key], defaults[key]]
    if (!Object.hasOwn(defaults, key)) refuse(`unknown option ${prefix}${key}: expected some of ${Object.keys(defaults).join(', ')}`)
    if (value === undefined) continue
    const least = typeof usual === 'number' && usual < 0 ? -Infinity : 0
    const right = typeof value === typeof usual && value !== null && (typeof value !== 'number' || value >= least)
    const expected = typeof usual === 'number' && least === 0 ? 'a number of at least 0' : typeof usual === 'object' ? 'an object' : `a ${typeof usual}`
    if (!right) refuse(`${prefix}${key}: expected ${expected}, got ${typeof value === 'string' ? JSON.stringify(value) : String(value)}`)
    result[key] = value as Options[typeof key]
  }
  return result
}
