/**
 * How many tokens of each sequence's draft to verify in a step. All draft tokens of the batch compete by their chance to survive; as
 * many are admitted as make (expected emitted tokens) - (what a second is worth) * (step time) largest. A second is worth what drafting
 * emits per second in the long run: that choice makes the rate over all steps largest, where the best rate of each step by itself would
 * cut good drafts short and let poor ones in. No draft is always one of the choices, so the expected rate is never below plain decoding,
 * and there is no threshold to tune.
 *
 * This is the pure half of AgentSAM, and the same function, bit for bit, as native/draft/admission.cc, which runs on the engine's thread
 * within the step, where drafts are known (test/fixtures/speculate_cases.json holds both to it). It is here to read, and to simulate
 * other rules with. What a request drafts is its own to decide: see `speculation.drafter` and `speculation.maxDraft` in lib/options.ts.
 */

/** The draft of one sequence: the chance that its tokens 0..i are all accepted. In [0, 1], non-increasing; empty: no draft. */
export type Survival = ArrayLike<number>

/** A measured step: `tokens` rows of the forward pass, of all sequences together, took `seconds`. */
export interface CostPoint {
  /** Rows of all sequences together. */
  readonly tokens: number
  /** That the step took. */
  readonly seconds: number
}

/** A step without its drafts. */
export interface SpeculationLoad {
  /** Rows without drafts: decoding sequences, and prefill chunks. */
  readonly tokens: number
  /** Tokens emitted without drafts: the decoding sequences. */
  readonly yield: number
  /** Seconds of the step that drafts do not change: reading the KV context; less what is not to count, such as the rows of a prefill. */
  readonly fixedSeconds: number
  /** Rows that drafts may take, padding included. */
  readonly room: number
  /**
   * Tokens a second that a second is worth; less than plain decoding emits counts as that. Absent or 0: unknown, as if all steps were
   * like this one, i.e. the best rate of this step.
   */
  readonly worth?: number
}

/** What the backend can run. */
export interface SpeculationShapes {
  /** Draft lengths the backend can run, rising, within 1..15; empty: any. A draft between two lengths is padded and costs as the longer. */
  readonly lengths: readonly number[]
  /** Every sequence gets the same padded length. */
  readonly uniform: boolean
}

/** What `speculate` decides on. */
export interface SpeculationSnapshot {
  /** Of the sequences that decode, one each. */
  readonly survivals: readonly Survival[]
  /** Seconds that each verified token of a draft adds beside its row (reading the context once more), for each draft; absent: 0. */
  readonly rowSeconds?: ArrayLike<number>
  /** The step without drafts. */
  readonly load: SpeculationLoad
  /** At least one point; tokens strictly rising, seconds positive and not falling. */
  readonly curve: readonly CostPoint[]
  /** What lengths drafts may have. */
  readonly shapes: SpeculationShapes
}

/** Tokens to draft and verify for each sequence, in the order of `survivals`. */
export type Speculate = (snapshot: SpeculationSnapshot) => number[]

/** Draft tokens a sequence can have at most: the NPU's attention takes 16 query tokens a row in decode. */
export const maxDraftTokens = 15

const everyLength = Array.from({ length: maxDraftTokens }, (_, i) => i + 1)

/** Step time at `tokens` rows: linear between points, with the last slope behind them, constant before them. */
export function costAt(curve: readonly CostPoint[], tokens: number): number {
  const first = curve[0]
  if (first === undefined) throw new RangeError('step cost: expected at least one measured step, got none')
  const last = curve.length - 1
  if (last === 0 || tokens <= first.tokens) return first.seconds
  let i = 1
  while (i < last && curve[i]!.tokens < tokens) i++
  const a = curve[i - 1]!
  const b = curve[i]!
  return a.seconds + (b.seconds - a.seconds) * ((tokens - a.tokens) / (b.tokens - a.tokens))
}

/** Tokens of one draft that are admitted together. */
interface Group {
  readonly gain: number
  /** Gain per row; never rises within one draft, so that sorting by it keeps a draft's groups in order. */
  readonly density: number
  readonly rows: number
  /** For the context of these rows. */
  readonly seconds: number
  readonly draft: number
  readonly end: number
}

function listGroups({ survivals, rowSeconds }: SpeculationSnapshot, steps: readonly number[]): Group[] {
  const groups: Group[] = []
  for (const [draft, survival] of survivals.entries()) {
    let density = 1
    let begin = 0
    for (const step of steps) {
      if (begin >= survival.length) break
      const end = Math.min(step, survival.length)
      let gain = 0
      for (let i = begin; i < end; i++) gain += survival[i]!
      density = Math.min(density, gain / (step - begin))
      groups.push({ gain, density, rows: step - begin, seconds: (rowSeconds?.[draft] ?? 0) * (step - begin), draft, end })
      begin = step
    }
  }
  return groups.toSorted((a, b) => b.density - a.density || a.draft - b.draft || a.end - b.end)
}

/** What makes one choice better than another. */
function scoreOf({ yield: plainYield, worth = 0 }: SpeculationLoad, plainSeconds: number): (emitted: number, seconds: number) => number {
  if (worth <= 0) return (emitted, seconds) => emitted / seconds
  const least = Math.max(worth, plainYield / plainSeconds)
  return (emitted, seconds) => emitted - least * seconds
}

function chooseUniform({ survivals, rowSeconds, load, curve }: SpeculationSnapshot, steps: readonly number[]): number[] {
  let lengths = survivals.map(() => 0)
  let rowsSeconds = 0
  for (let i = 0; i < survivals.length; i++) rowsSeconds += rowSeconds?.[i] ?? 0
  const plain = load.fixedSeconds + costAt(curve, load.tokens)
  const score = scoreOf(load, plain)
  let best = score(load.yield, plain)
  for (const step of steps) {
    const rows = step * survivals.length
    if (rows > load.room) break
    let emitted = load.yield
    for (const survival of survivals) for (let i = 0; i < Math.min(survival.length, step); i++) emitted += survival[i]!
    const reached = score(emitted, load.fixedSeconds + rowsSeconds * step + costAt(curve, load.tokens + rows))
    if (!(reached > best)) continue
    best = reached
    lengths = survivals.map((survival) => Math.min(step, survival.length))
  }
  return lengths
}

/** The default policy. */
export const speculate: Speculate = (snapshot) => {
  const { survivals, load, curve, shapes } = snapshot
  const steps = shapes.lengths.length > 0 ? shapes.lengths : everyLength
  if (shapes.uniform) return chooseUniform(snapshot, steps)
  const groups = listGroups(snapshot, steps)
  let emitted = load.yield
  const plain = load.fixedSeconds + costAt(curve, load.tokens)
  const score = scoreOf(load, plain)
  let best = score(load.yield, plain)
  let context = 0
  let rows = 0
  let taken = 0
  for (const [i, group] of groups.entries()) {
    if (rows + group.rows > load.room) break
    emitted += group.gain
    rows += group.rows
    context += group.seconds
    const reached = score(emitted, load.fixedSeconds + context + costAt(curve, load.tokens + rows))
    if (!(reached > best)) continue
    best = reached
    taken = i + 1
  }
  const lengths = survivals.map(() => 0)
  for (const group of groups.slice(0, taken)) lengths[group.draft] = group.end
  return lengths
}
