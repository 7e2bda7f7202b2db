/** Speculation as requests and their engine see it: what drafts may come from, what became of them, and what they saved. */
import { createHash, randomUUID } from 'node:crypto'

import { contract } from '../native.js'
import type { NativeEngineOptions, NativeSpeculation, StepResult } from '../native.js'
import type { RequestSpeculation, ResolvedSpeculation } from '../option_schemas.js'
import type { DraftContext, Message } from '../options.js'

/** In order of preference: see `SourceKind` in native/draft/acceptance.h. 'supplied': by the request's own drafter. */
export type DraftSource = (typeof contract.draftSources)[number]

/** What drafts did for a request, or for all of them. */
export interface SpeculationUsage {
  /** Draft tokens that were verified. */
  drafted: number
  /** Those of them that the model itself would have said. */
  accepted: number
  /** Of the sources that drafted at all. */
  bySource: Partial<Record<DraftSource, Pick<SpeculationUsage, 'drafted' | 'accepted'>>>
  /** Speculation hit rate: accepted / drafted; 0 before the first draft. */
  shr: number
  /** Tokens for each forward pass of decoding; 1 where no draft was accepted. The first token belongs to the prefill. */
  ote: number
  /** Estimated by what steps cost on this machine: without the drafts it would have taken so much longer. */
  savedSeconds: number
}

/** What drafts did since the engine was opened, and what they are made of. */
export interface SpeculationStats extends SpeculationUsage {
  /** What there is to draft from. */
  memory: {
    /** Requests that draft now. */
    open: number
    /** Sessions whose text is there to draft from. */
    sessions: number
    /** Roles, which are system prompts unless requests name theirs, with text to draft from. */
    roles: number
    /** Sessions kept for later ones with similar tasks. */
    storedSessions: number
    /** Stored sessions that gave way to others since the engine was opened. */
    evictedSessions: number
    /** Bytes that stored sessions take, in memory. */
    storedBytes: number
  }
  /** What last went wrong with the memory, such as a file that was refused. */
  notice: string | undefined
}

/** Counts of one request, or of all. */
export class SpeculationFigures {
  readonly #all: SpeculationFigures | undefined
  readonly #drafted = new Float64Array(contract.draftSources.length)
  readonly #accepted = new Float64Array(contract.draftSources.length)
  #savedMicroseconds = 0
  #steps = 0
  #tokens = 0

  /** `all`: counts along. */
  constructor(all?: SpeculationFigures) {
    this.#all = all
  }

  draft(source: number, drafted: number, accepted: number, savedMicroseconds: number): void {
    this.#drafted[source]! += drafted
    this.#accepted[source]! += accepted
    this.#savedMicroseconds += savedMicroseconds
    this.#all?.draft(source, drafted, accepted, savedMicroseconds)
  }

  /** A step of decoding that emitted `tokens`. */
  step(tokens: number): void {
    this.#steps += 1
    this.#tokens += tokens
    this.#all?.step(tokens)
  }

  usage(): SpeculationUsage {
    const sum = (counts: Float64Array): number => counts.reduce((total, count) => total + count, 0)
    const drafted = sum(this.#drafted)
    const accepted = sum(this.#accepted)
    const used = contract.draftSources.map((name, i) => [name, { drafted: this.#drafted[i]!, accepted: this.#accepted[i]! }] as const)
    return {
      drafted,
      accepted,
      bySource: Object.fromEntries(used.filter(([, counts]) => counts.drafted > 0)),
      shr: drafted === 0 ? 0 : accepted / drafted,
      ote: this.#steps === 0 ? 1 : this.#tokens / this.#steps,
      savedSeconds: this.#savedMicroseconds / 1e6,
    }
  }
}

const stride = contract.draft.length
const memoryField = (name: (typeof contract.draftMemory)[number]): number => contract.draftMemory.indexOf(name)

/** Of an engine. */
export class EngineSpeculation extends SpeculationFigures {
  #memory: Float64Array = new Float64Array(contract.draftMemory.length)
  #notice: string | undefined

  /** To be called before the step's tokens are delivered: what ends a request also ends its count. */
  result(result: StepResult, of: (id: number) => SpeculationFigures | undefined): void {
    for (let i = 0; i < result.drafts.length; i += stride) {
      const [id = 0, source = 0, drafted = 0, accepted = 0, saved = 0] = result.drafts.subarray(i, i + stride)
      const figures = of(id) ?? this
      figures.draft(source, drafted, accepted, saved)
    }
    this.#memory = result.draftMemory
    this.#notice = result.notices?.at(-1) ?? this.#notice
  }

  stats(): SpeculationStats {
    const of = (name: (typeof contract.draftMemory)[number]): number => this.#memory[memoryField(name)]!
    return {
      ...this.usage(),
      memory: {
        open: of('open'),
        sessions: of('sessions'),
        roles: of('roles'),
        storedSessions: of('storedSessions'),
        evictedSessions: of('evictedSessions'),
        storedBytes: of('storedBytes'),
      },
      notice: this.#notice,
    }
  }
}

/** What a conversation is about, by its first messages. */
export interface Topic {
  /** Of the system prompt. */
  role?: string
  /** The first user message. */
  query?: string
}

/** Characters of a query that are kept. */
const queryLength = 4096

/** `earlier`: what was known of it before these messages; that stays. */
export function topicOf(messages: readonly Message[], earlier: Topic = {}): Topic {
  const system = messages.find(({ role }) => role === 'system')?.content
  const user = messages.find(({ role }) => role === 'user')?.content
  const role = earlier.role ?? (system === undefined ? undefined : digest('system', system))
  const query = earlier.query ?? user?.slice(0, queryLength)
  return { ...(role !== undefined && { role }), ...(query !== undefined && { query }) }
}

/** Who wants to draft, as far as the request does not say otherwise. */
export interface Drafting extends Topic {
  /** The request belongs to a session of the engine. Without one, requests with the same role and query go on with one conversation. */
  inSession: boolean
  run?: string
}

export interface RequestDrafting {
  draftLimit: number
  speculation: NativeSpeculation
  drafter: ((context: DraftContext) => ArrayLike<number>) | undefined
}

/** `engineDraft`: tokens the engine drafts at most, 0 for none. Returns undefined where nothing is to be drafted. */
export function speculationOf(
  option: RequestSpeculation,
  engineDraft: number,
  tenant: string,
  drafting: Drafting,
): RequestDrafting | undefined {
  if (option === 'off' || engineDraft === 0) return undefined
  const own = option === 'auto' ? {} : option
  const allowed = (source: Exclude<DraftSource, 'own' | 'supplied'>): boolean => own.sources?.includes(source) ?? true
  const role = own.role === undefined ? drafting.role : digest('role', own.role)
  const query = own.query?.slice(0, queryLength) ?? drafting.query
  const run = own.run ?? drafting.run
  return {
    draftLimit: Math.min(engineDraft, own.maxDraft ?? engineDraft),
    drafter: own.drafter,
    speculation: {
      tenant,
      session: allowed('session'),
      ...(allowed('session') && !drafting.inSession && query !== undefined && { conversation: digest('chat', role ?? '', query) }),
      ...(allowed('sibling') && run !== undefined && { run }),
      ...(allowed('role') && role !== undefined && { role }),
      ...(allowed('retrieved') && query !== undefined && { query }),
      ...(allowed('retrieved') && own.vector !== undefined && { vector: Float64Array.from(own.vector) }),
    },
  }
}

/** The engine's part, as native code wants it. */
export function nativeSpeculation(options: ResolvedSpeculation): NonNullable<NativeEngineOptions['speculation']> {
  const { siblings, retrieved, memory } = options
  return {
    engineName: randomUUID(),
    memoryBytes: memory.bytes,
    siblings,
    retrieved,
    ...(memory.directory !== undefined && { directory: memory.directory }),
  }
}

function digest(...parts: readonly string[]): string {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(`${part.length}:${part}`)
  return hash.digest('base64url').slice(0, 22)
}
