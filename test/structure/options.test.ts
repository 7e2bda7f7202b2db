/** What editors show of an option is its docstring in the emitted types: each has one, and its defaults and bounds are those that hold. */
import { readFileSync, readdirSync } from 'node:fs'
import path from 'node:path'

import { describe, expect, test } from 'vitest'
import { z } from 'zod'

import { agentSchedDefaults } from '../../dist/esm/index.js'
import { defaultHistory, scalars } from '../../dist/esm/agent/options.js'
import * as schemas from '../../dist/esm/option_schemas.js'
import { defaultObserve } from '../../dist/esm/agent/observe.js'
import { durationDefaults } from '../../dist/esm/policy/durations.js'
import { defaultRank } from '../../dist/esm/policy/observe.js'
import { defaultCollab, defaultSensor } from '../../dist/esm/policy/route.js'
import { pausingDefaults } from '../../dist/esm/policy/sessions.js'
import { shadowPriceDefaults } from '../../dist/esm/policy/shadow_price.js'

const types = path.resolve(import.meta.dirname, '../../dist/esm')

interface Member {
  readonly optional: boolean
  readonly text: string
}

/** Of an interface's lines, its own members, in order. */
function membersOf(lines: readonly string[]): Map<string, Member> {
  const members = new Map<string, Member>()
  let text = ''
  for (const line of lines) {
    if (/^ {4}(?:\/\*\*| \*)/.test(line)) text += line.replace(/^ +(?:\/\*\*|\*\/|\*)|\*\/$/g, '')
    const member = /^ {4}(?:readonly )?(\w+)(\??)[:(<]/.exec(line)
    if (member === null) continue
    members.set(member[1]!, { optional: member[2] === '?', text: text.replaceAll(/\s+/g, ' ').trim() })
    text = ''
  }
  return members
}

/** The interfaces that the package exports, by name. */
const interfaces = new Map<string, Map<string, Member>>()
const files = readdirSync(types, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.d.ts'))
for (const file of files)
  for (const [, name, body] of readFileSync(path.join(types, file), 'utf8').matchAll(/^export interface (\w+)[^{]*\{\n(.*?)^\}/gms))
    interfaces.set(name!, membersOf(body!.split('\n')))

const exported = new Set(['index.d.ts', 'agent/index.d.ts'].flatMap((file) => readFileSync(path.join(types, file), 'utf8').match(/\w+/g) ?? []))
const others = new Set(['AgentModels', 'AgentPrompts', 'Limits', 'Message', 'StuckSensor'])
const ofOptions = [...interfaces.keys()].filter((name) => exported.has(name) && (name.endsWith('Options') || others.has(name)))

/** What comes back, and what schedulers see and say. */
const results = [
  'AgentResult', 'CacheMiss', 'Delta', 'DemandView', 'EngineHealth', 'EngineStats', 'GenerationResponse', 'Plan', 'PlanLimits', 'PoolView', 'PrefillResult',
  'PlannedRow', 'ProbeView', 'RequestView', 'Retention', 'Scheduler', 'SessionStats', 'SessionView', 'Snapshot', 'SpeculationStats', 'SpeculationUsage', 'TimeSummary', 'Timings',
  'TokenLogprob', 'Tool', 'Usage',
]

/** One of them is needed, or what is missing says so itself. */
const oneOfSeveral = new Set(['messages', 'prompt', 'tokens', 'small', 'large'])

test('the interfaces are found', () => {
  expect(ofOptions.length).toBeGreaterThan(20)
  expect(interfaces.get('EngineOptions')!.size).toBeGreaterThan(20)
  expect(interfaces.get('EngineOptions')!.get('threads')!.text).toMatch(/^CPU threads/)
})

test.each(ofOptions)('%s: every member is documented, and what it is when left out', (name) => {
  for (const [member, { optional, text }] of interfaces.get(name)!) {
    expect(text, `${name}.${member}`).not.toBe('')
    if (optional && !oneOfSeveral.has(member)) expect(text, `${name}.${member}`).toMatch(/Default: ./)
  }
})

test.each(results)('%s: every member is documented', (name) => {
  for (const [member, { text }] of interfaces.get(name)!) expect(text, `${name}.${member}`).not.toBe('')
})

type JsonSchema = { readonly properties: Record<string, Property>; readonly anyOf?: readonly JsonSchema[] }
interface Property extends Partial<JsonSchema> {
  readonly default?: unknown
  readonly minimum?: number
  readonly exclusiveMinimum?: number
  readonly maximum?: number
}

function jsonSchema(schema: z.ZodType): JsonSchema {
  return z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }) as unknown as JsonSchema
}

const engine = jsonSchema(schemas.engineOptionsSchema)
const generate = jsonSchema(schemas.generateOptionsSchema)
const inUnion = (property: Property): JsonSchema => property.anyOf!.find(({ properties }) => properties !== undefined)!
const engineSpeculation = inUnion(engine.properties['speculation']!)
const { messages: _chat, prompt: _prompt, tokens: _tokens, chatTemplate: _template, parseSpecial: _special, tenant: _tenant, ...generation } = generate.properties

/** Literals as documentation has them. */
const shown = (value: unknown): string => (typeof value === 'number' ? String(value) : `\`${typeof value === 'string' ? `'${value}'` : String(value)}\``)

describe('defaults and bounds are as documented', () => {
  test.each<[string, Record<string, Property>]>([
    ['EngineOptions', engine.properties],
    ['EngineSpeculationOptions', engineSpeculation.properties],
    ['SpeculationMemoryOptions', engineSpeculation.properties['memory']!.properties!],
    ['GenerationOptions', generation],
    ['RequestSpeculationOptions', inUnion(generation['speculation']!).properties],
    ['SamplingOptions', jsonSchema(schemas.samplingSchema).properties],
    ['SessionOptions', jsonSchema(schemas.sessionOptionsSchema).properties],
    ['RetainOptions', jsonSchema(schemas.retainSchema).properties],
    ['AgentOptions', (({ limits: _limits, ...own }) => own)(jsonSchema(scalars).properties)],
    ['Limits', jsonSchema(scalars).properties['limits']!.properties!],
  ])('%s', (name, properties) => {
    const members = interfaces.get(name)!
    let bounds = 0
    for (const [member, property] of Object.entries(properties)) {
      const text = members.get(member)?.text ?? ''
      const { default: standard } = property
      if (standard !== undefined && !Array.isArray(standard) && typeof standard !== 'object' && standard !== '') {
        const said = /Default: (.*)$/.exec(text)?.[1] ?? ''
        expect(said === 'no limit.' || said.startsWith(shown(standard)) || member === 'instructions', `${name}.${member}: ${text}`).toBe(true)
      }
      for (const bound of [property.minimum, property.exclusiveMinimum, property.maximum]) {
        // What is a count or an id by its meaning needs no words.
        if (bound === undefined || Math.abs(bound) >= 2 ** 31 - 1 || [0, 1].includes(bound)) continue
        expect(text, `${name}.${member}`).toContain(String(bound))
        ++bounds
      }
    }
    expect(Object.keys(properties).length + bounds).toBeGreaterThan(1)
  })

  test.each<[string, object]>([
    ['AgentSchedOptions', agentSchedDefaults],
    ['CollabOptions', defaultCollab],
    ['StuckSensor', defaultSensor],
    ['HistoryOptions', defaultHistory],
    ['CompressOptions', Object.fromEntries(Object.entries(defaultHistory).filter(([key]) => interfaces.get('CompressOptions')!.has(key)))],
    ['AgentObserveOptions', defaultObserve],
    ['RankOptions', defaultRank],
    ['PausingOptions', pausingDefaults],
    ['DurationOptions', durationDefaults],
    ['ShadowPriceOptions', shadowPriceDefaults],
  ])('%s', (name, defaults) => {
    const members = interfaces.get(name)!
    for (const [member, value] of Object.entries<unknown>({ ...defaults })) {
      if (typeof value === 'object' || !members.has(member)) continue
      expect(members.get(member)!.text.replace(/\.$/, ''), `${name}.${member}`).toSatisfy((text: string) => text.endsWith(`Default: ${shown(value)}`))
    }
    expect(Object.keys(defaults).some((member) => members.has(member))).toBe(true)
  })
})
