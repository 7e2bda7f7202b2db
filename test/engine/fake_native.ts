/** A native engine that does what a test says, step by step, so that the step loop can be seen alone. */
import { contract } from '../../dist/esm/native.js'
import type { NativeEngine, SequenceSpec, StepPlan, StepResult } from '../../dist/esm/native.js'
import { Request } from '../../dist/esm/engine/request.js'
import { SpeculationFigures } from '../../dist/esm/engine/speculation.js'
import { StopText } from '../../dist/esm/engine/stop_text.js'
import { GenerationStream } from '../../dist/esm/engine/stream.js'

/** What happens in a step beside what its plan says. */
export interface Happening {
  /** Sequences that end, and how (`Finish`). */
  ends?: Readonly<Record<number, number>>
  /** Sequences that find no room. */
  deferred?: readonly number[]
  more?: boolean
  gap?: number
  held?: number
  demand?: readonly number[]
  native?: number
  /** Tokens that each sequence finds in the cache as it starts. */
  cached?: number
}

interface Sequence {
  known: number
  computed: number
}

/** Each sequence says 1, 2, 3 … behind its prompt: 'b', 'c', 'd' as text. */
export class FakeNative implements NativeEngine {
  /** All calls but steps, in order: 'add 1', 'interrupt' … */
  readonly calls: string[] = []
  readonly plans: StepPlan[] = []
  readonly #sequences = new Map<number, Sequence>()
  #repeat = 0

  add({ id, tokens }: SequenceSpec): void {
    this.calls.push(`add ${id}`)
    this.#sequences.set(id, { known: tokens.length, computed: 0 })
  }
  remove(id: number): void {
    this.calls.push(`remove ${id}`)
  }
  forget(session: number): void {
    this.calls.push(`forget ${session}`)
  }
  interrupt(): void {
    this.calls.push('interrupt')
  }
  check(): void {}
  close(): void {}
  ref(): void {}
  unref(): void {}

  step(plan: StepPlan): void {
    this.plans.push(plan)
    this.#repeat = 0
  }

  /** The result of the next step with the last plan. */
  result({ ends = {}, deferred = [], more = false, gap = 0, demand = [0, 0, 0, 0], native = 1, cached = 0, held = 0 }: Happening = {}): StepResult {
    const outcomes: number[] = []
    const tokens: number[] = []
    const { rows } = this.plans.at(-1)!
    for (let i = 0; i < rows.length; i += contract.planRow.length) {
      const [id, count] = [rows[i]!, rows[i + 1]!]
      const sequence = this.#sequences.get(id)!
      const room = !deferred.includes(id)
      if (room) sequence.computed += Math.min(count, sequence.known - sequence.computed)
      const emits = room && sequence.computed === sequence.known
      const outcome = { sequence: id, kind: room ? 0 : 1, computed: sequence.computed, emitted: Number(emits), finish: ends[id] ?? 0, blocks: 1, cachedTokens: cached, error: -1 }
      outcomes.push(...contract.outcome.map((name) => (outcome as Record<string, number>)[name] ?? 0))
      if (emits) tokens.push(sequence.known++)
    }
    const phases = contract.phases.map((name) => (name === 'total' ? native : 0))
    return {
      outcomes: Int32Array.from(outcomes), tokens: Int32Array.from(tokens), probes: new Int32Array(0), misses: new Int32Array(0),
      pool: Int32Array.from([100, 90, 0, 10, 0, 0, 0]), demand: Int32Array.from(demand), drafts: new Int32Array(0),
      draftMemory: new Float64Array(contract.draftMemory.length), phases: Float64Array.from(phases), repeat: this.#repeat++, gap, held, more,
    }
  }
}

export interface Made {
  request: Request
  stream: GenerationStream
}

/** A request of `promptTokens` tokens; its tokens are letters. */
export function makeRequest(id: number, { stop = [] as readonly string[], promptTokens = 1, maxTokens = 1000, onRead = (): void => undefined } = {}): Made {
  // Its constructor is nobody's but the engine's, so its type is not told.
  const stream = new (GenerationStream as unknown as new (onAbandon: () => void, onRead: () => void) => GenerationStream)(() => undefined, onRead)
  const text = (token: number): string => String.fromCodePoint(97 + token)
  const request = new Request({
    id, engine: 'fake', tokens: Int32Array.from({ length: promptTokens }, (_, i) => i), maxTokens, priority: 0, tenant: '', salt: 0,
    sampling: {
      temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, presencePenalty: 0, frequencyPenalty: 0, minTokens: 0, seed: 1,
      stopIds: new Int32Array(0),
    },
    session: undefined, templateChanged: false, drafting: undefined, speculation: new SpeculationFigures(), stream,
    tokenizer: { piece: String }, pieces: 1000, detokenizer: { push: text, flush: () => '' }, stopText: new StopText(stop),
    createdAt: performance.now(), deadline: undefined,
  })
  return { request, stream }
}
