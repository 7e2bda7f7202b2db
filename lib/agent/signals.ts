/** What a step showed of its progress beside the model's own verdict: repeated calls, nothing new, errors. Made of the log alone. */
import type { StepSignals, WrittenSignals } from '../policy/route.js'
import { grams, mentions, shareOf } from '../text/terms.js'
import { isMalformed } from '../text/tool_calls.js'
import { describeCall } from './transcript.js'
import type { NewStep, Step } from './transcript.js'

/** Calls that are compared with a new one. */
const remembered = 50

export class SignalTracker {
  readonly #sources = new Set<string>()
  readonly #entities = new Set<string>()
  #calls: { readonly text: string; readonly grams: ReadonlySet<string> }[] = []

  /** Everything the log says up to a turn border is known. */
  static from(log: readonly Step[]): SignalTracker {
    const tracker = new SignalTracker()
    tracker.#learn(log)
    return tracker
  }

  /** The signals of a turn before its calls are made. */
  written(steps: readonly NewStep[], confidence?: number): WrittenSignals {
    const acts = steps.flatMap((step) => (step.kind === 'act' ? step.calls : []))
    const likeness = acts.filter(({ call }) => !isMalformed(call)).map(({ call }) => this.#likeness(describeCall(call, 2000)))
    const model = steps.find((step) => step.kind === 'think' || step.kind === 'act' || step.kind === 'answer')?.model ?? 'small'
    return { model, repeated: likeness.length === 0 ? undefined : Math.min(...likeness), calls: acts.length, confidence }
  }

  /** The signals of a turn: its steps and its observations. They are known from then on. */
  turn(steps: readonly Step[], progress?: number, confidence?: number): StepSignals {
    const written = this.written(steps, confidence)
    const observations = steps.filter((step) => step.kind === 'observation')
    const [sources, entities] = [this.#sources.size, this.#entities.size]
    this.#learn(steps)
    return {
      ...written,
      progress,
      ...(observations.some(({ ok }) => ok) && {
        newSources: this.#sources.size - sources,
        newEntities: this.#entities.size - entities,
      }),
      errors: observations.filter(({ ok }) => !ok).length,
    }
  }

  #likeness(call: string): number {
    const own = grams(call)
    return this.#calls.reduce((most, { text, grams: theirs }) => Math.max(most, text === call ? 1 : Math.min(0.99, shareOf(own, theirs))), 0)
  }

  #learn(steps: readonly Step[]): void {
    for (const step of steps) {
      if (step.kind === 'act') {
        for (const { call } of step.calls) {
          const text = describeCall(call, 2000)
          this.#calls.push({ text, grams: grams(text) })
        }
      }
      if (step.kind !== 'observation' && step.kind !== 'query') continue
      const { sources, entities } = mentions(step.text)
      for (const source of sources) this.#sources.add(source)
      for (const entity of entities) this.#entities.add(entity)
    }
    this.#calls = this.#calls.slice(-remembered)
  }
}
