/**
 * Which of two models does the next step of an agent. Routers are pure: state and signals in, state and decision out; their state is
 * plain data, so that a run can be saved in the middle.
 *
 * `collab` treats the model's own verdict on its progress as a noisy sensor (AgentInfer, arXiv 2512.18337, section 3, takes one FALSE for
 * certain): a two-state filter keeps the probability of being stuck, with cheap signals beside the verdict. It escalates on that
 * probability, gives the large model 2 steps, 2 more for each escalation that failed, 6 at most (the growing budget of arXiv 2603.26034),
 * and comes back with hysteresis. `paper` is the published rule, for comparison.
 */

/** Which of the two models. */
export type Which = 'small' | 'large'

/** What a finished think step showed. Everything but `model` may be unknown. */
export interface StepSignals {
  /** Who did the step. */
  readonly model: Which
  /** Probability that the model's PROGRESS verdict is TRUE, 0..1. */
  readonly progress?: number | undefined
  /** Likeness of this step's calls with the most alike earlier ones, 0..1. */
  readonly repeated?: number | undefined
  /** Addresses that observations brought for the first time. */
  readonly newSources?: number | undefined
  /** Names, numbers and quoted titles that observations brought for the first time. */
  readonly newEntities?: number | undefined
  /** Tool calls of the step, those that could not be read included. */
  readonly calls?: number | undefined
  /** Of these: calls that failed. */
  readonly errors?: number | undefined
  /** How sure the model was of what it wrote where it was least sure, 0..1: see `confidenceOf`. */
  readonly confidence?: number | undefined
}

/** What is known of a step before its calls are made. */
export type WrittenSignals = Pick<StepSignals, 'model' | 'repeated' | 'calls' | 'confidence'>

/** `doubt`: the small model was unsure of a turn, and the large one writes it instead. */
export type RouteReason = 'plan' | 'planned' | 'stay' | 'stuck' | 'moving' | 'budget' | 'doubt' | 'custom'

/** Who does the next step, and why. */
export interface RouteDecision {
  /** Who does the next step. */
  readonly model: Which
  /** Why. */
  readonly reason: RouteReason
  /** Probability of being stuck, 0..1; 0 where the rule has no notion of it. */
  readonly stuck: number
  /** Escalations keep failing: let the large model answer with what there is. */
  readonly finish: boolean
}

/** What a router says, and where it stands then. */
export interface Routed<State = unknown> {
  /** The router's own; plain data. */
  readonly state: State
  /** For the next step. */
  readonly decision: RouteDecision
}

/** A rule for who does the next step. Its state is plain data, so that a run can be saved. */
export interface Router<State = unknown> {
  /** A record goes on with the state of a router of the same name; with another, routing begins anew. */
  readonly name: string
  /** Whether it wants the PROGRESS verdict after a step. */
  readonly wantsProgress: boolean
  /** Tokens of the window for `StepSignals.confidence`; undefined: not wanted, so nobody computes probabilities. */
  readonly confidenceWindow?: number | undefined
  /** Before the first step. */
  initial(): Routed<State>
  /** After a step. */
  next(state: State, signals: StepSignals): Routed<State>
  /** Whether the verdict on a step is worth its tokens. Default: always. */
  asks?(state: State, signals: WrittenSignals): boolean
  /** Before a step's calls are made or its answer given: a decision for the other model has it written again, by that one. */
  review?(state: State, signals: WrittenSignals): Routed<State> | undefined
}

/**
 * The lowest geometric mean of the probabilities of `window` neighbouring tokens, 0..1 (group confidence, arXiv 2508.15260); undefined
 * without tokens. A model that misreads or guesses is unsure at a few tokens, which a mean over the turn would hide.
 */
export function confidenceOf(logprobs: readonly number[], window: number): number | undefined {
  if (logprobs.length === 0) return undefined
  const width = Math.min(window, logprobs.length)
  let sum = 0
  let lowest = Number.POSITIVE_INFINITY
  for (let i = 0; i < logprobs.length; ++i) {
    sum += logprobs[i]! - (i >= width ? logprobs[i - width]! : 0)
    if (i + 1 >= width) lowest = Math.min(lowest, sum)
  }
  return Math.min(1, Math.exp(lowest / width))
}

/** A router by name. */
export type RouteName = 'small' | 'large' | 'collab' | 'paper'

/** The user's own rule: sees every step so far, the last one last. */
export type CustomRoute = (steps: readonly StepSignals[]) => Which

export function routerOf(route: RouteName | CustomRoute | Router, options: Partial<CollabOptions> = {}): Router {
  if (typeof route === 'object') return route
  if (typeof route === 'function') return customRouter(route)
  if (route === 'collab') return collabRouter(options)
  if (route === 'paper') return paperRouter(options)
  return fixedRouter(route)
}

function fixedRouter(model: Which): Router<null> {
  const result = { state: null, decision: { model, reason: 'stay', stuck: 0, finish: false } } as const
  return { name: model, wantsProgress: false, initial: () => result, next: () => result }
}

function customRouter(route: CustomRoute): Router<readonly StepSignals[]> {
  const decide = (steps: readonly StepSignals[]) =>
    ({ state: steps, decision: { model: route(steps), reason: 'custom', stuck: 0, finish: false } }) as const
  return { name: 'custom', wantsProgress: true, initial: () => decide([]), next: (steps, signals) => decide([...steps, signals]) }
}

/** Numbers of the `collab` and `paper` routers. */
export interface CollabOptions {
  /** Steps the large model plans at the start (K_L). Default: 2. */
  readonly planSteps: number
  /** Large steps of the first escalation. Default: 2. */
  readonly budget: number
  /** Large steps more for each escalation that failed. Default: 2. */
  readonly budgetGrowth: number
  /** Large steps of an escalation at most. Default: 6. */
  readonly budgetCap: number
  /** Escalate at this probability of being stuck or above, 0 to 1. Default: 0.6. */
  readonly up: number
  /** Come back at this probability of being stuck or below, 0 to 1; between the two nothing changes. Default: 0.35. */
  readonly down: number
  /** Small steps before the next escalation may begin. Default: 1. */
  readonly minSmall: number
  /** Small steps in a row at or below `down` that make earlier failures forgotten. Default: 3. */
  readonly sustained: number
  /** Failed escalations in a row after which the run is told to answer. Default: 4. */
  readonly giveUpAfter: number
  /**
   * The verdict is asked for from this probability of being stuck on, 0 to 1, as the signals known before it have it; 0: after
   * every step. What it is worth is to be weighed against its tokens, which short turns have no more of themselves. Default: 0.
   */
  readonly askFrom: number
  /**
   * A turn of the small model with less confidence is withdrawn, and the large one writes it, 0 to 1; 0: never. What is a low
   * confidence depends on the model, the sampling and the window, so it is to be measured (`StepSignals.confidence`). Default: 0.
   */
  readonly redoBelow: number
  /** Tokens over which confidence is taken. Default: 16. */
  readonly confidenceWindow: number
  /** How the verdict and the world behave. Default: see `StuckSensor`. */
  readonly sensor: StuckSensor
}

/** Probabilities of the two-state filter. */
export interface StuckSensor {
  /** Of being stuck at the start. Default: 0.1. */
  readonly prior: number
  /** Of getting stuck, per step. Default: 0.1. */
  readonly sticks: number
  /** Of getting free with the small model, per step. Default: 0.15. */
  readonly freesSmall: number
  /** Of getting free with the large model, per step. Default: 0.4. */
  readonly freesLarge: number
  /** Of a TRUE verdict when moving. Default: 0.9. */
  readonly trueMoving: number
  /** Of a TRUE verdict when stuck. Default: 0.2. */
  readonly trueStuck: number
}

export const defaultSensor: StuckSensor = {
  prior: 0.1,
  sticks: 0.1,
  freesSmall: 0.15,
  freesLarge: 0.4,
  trueMoving: 0.9,
  trueStuck: 0.2,
}

export const defaultCollab: CollabOptions = {
  planSteps: 2,
  budget: 2,
  budgetGrowth: 2,
  budgetCap: 6,
  up: 0.6,
  down: 0.35,
  minSmall: 1,
  sustained: 3,
  giveUpAfter: 4,
  askFrom: 0,
  redoBelow: 0,
  confidenceWindow: 16,
  sensor: defaultSensor,
}

/** The probability of being stuck after one more step: the filter's prediction, then each signal as independent evidence. */
export function updateStuck(stuck: number, signals: StepSignals, sensor: StuckSensor = defaultSensor): number {
  const frees = signals.model === 'large' ? sensor.freesLarge : sensor.freesSmall
  const predicted = stuck * (1 - frees) + (1 - stuck) * sensor.sticks
  const odds = (predicted / (1 - predicted)) * verdictRatio(signals.progress, sensor) * worldRatio(signals)
  return Math.min(0.999, Math.max(0.001, odds / (1 + odds)))
}

/** A verdict that is only probably TRUE counts as the mixture of both verdicts (virtual evidence). */
function verdictRatio(progress: number | undefined, sensor: StuckSensor): number {
  if (progress === undefined || Number.isNaN(progress)) return 1
  const p = Math.min(1, Math.max(0, progress))
  return (
    (p * sensor.trueStuck + (1 - p) * (1 - sensor.trueStuck)) / (p * sensor.trueMoving + (1 - p) * (1 - sensor.trueMoving))
  )
}

/** Likelihood ratios of what the step did, mild on purpose: no single one of them escalates. */
function worldRatio(signals: StepSignals): number {
  const { repeated = 0, newSources, newEntities, calls = 0, errors = 0 } = signals
  let ratio = 1
  if (repeated >= 0.9) ratio *= 3
  else if (repeated >= 0.6) ratio *= 1.7
  if (newSources !== undefined || newEntities !== undefined) {
    const fresh = 2 * (newSources ?? 0) + (newEntities ?? 0)
    ratio *= fresh === 0 ? 2 : fresh >= 3 ? 0.6 : 0.85
  }
  if (calls > 0) ratio *= 1 + errors / calls
  return ratio
}

export interface CollabState {
  readonly phase: 'plan' | Which
  /** Steps in this phase. */
  readonly used: number
  readonly failures: number
  readonly good: number
  readonly stuck: number
}

export function escalationBudget(failures: number, options: CollabOptions = defaultCollab): number {
  return Math.min(options.budget + options.budgetGrowth * failures, options.budgetCap)
}

export function collabRouter(given: Partial<CollabOptions> = {}): Router<CollabState> {
  const options: CollabOptions = { ...defaultCollab, ...given }
  const start: CollabState = {
    phase: options.planSteps > 0 ? 'plan' : 'small',
    used: 0,
    failures: 0,
    good: 0,
    stuck: options.sensor.prior,
  }
  return {
    name: 'collab',
    wantsProgress: true,
    ...(options.redoBelow > 0 && { confidenceWindow: options.confidenceWindow }),
    initial: () => ({ state: start, decision: decision(start, start.phase === 'plan' ? 'plan' : 'stay') }),
    asks: ({ stuck }, signals) => updateStuck(stuck, signals, options.sensor) >= options.askFrom,
    review: (state, { confidence = 1 }) =>
      state.phase === 'small' && confidence < options.redoBelow ? enter(state, 'large', 'doubt') : undefined,
    next(before, signals) {
      const stuck = updateStuck(before.stuck, signals, options.sensor)
      const state: CollabState = { ...before, stuck, used: before.used + 1 }
      if (state.phase === 'plan') return planStep(state, options)
      return state.phase === 'small' ? smallStep(state, options) : largeStep(state, options)
    },
  }
}

type Moved = Routed<CollabState>

function decision(state: CollabState, reason: RouteReason, finish = false): RouteDecision {
  return { model: state.phase === 'small' ? 'small' : 'large', reason, stuck: state.stuck, finish }
}

function enter(state: CollabState, phase: Which, reason: RouteReason): Moved {
  const entered: CollabState = { ...state, phase, used: 0, good: 0 }
  return { state: entered, decision: decision(entered, reason) }
}

function planStep(state: CollabState, options: CollabOptions): Moved {
  if (state.used >= options.planSteps) return enter(state, 'small', 'planned')
  return { state, decision: decision(state, 'plan') }
}

function smallStep(state: CollabState, options: CollabOptions): Moved {
  const good = state.stuck <= options.down ? state.good + 1 : 0
  const next: CollabState = { ...state, good, failures: good >= options.sustained ? 0 : state.failures }
  if (next.stuck >= options.up && next.used >= options.minSmall) return enter(next, 'large', 'stuck')
  return { state: next, decision: decision(next, 'stay') }
}

function largeStep(state: CollabState, options: CollabOptions): Moved {
  if (state.stuck <= options.down) return enter(state, 'small', 'moving')
  if (state.used < escalationBudget(state.failures, options)) return { state, decision: decision(state, 'stay') }
  const failures = state.failures + 1
  // The small model starts from the middle of the band: one more bad step is needed before the next escalation.
  const back: CollabState = { ...state, failures, stuck: Math.min(state.stuck, (options.up + options.down) / 2) }
  if (failures < options.giveUpAfter) return enter(back, 'small', 'budget')
  const last: CollabState = { ...back, phase: 'large', used: 0 }
  return { state: last, decision: decision(last, 'budget', true) }
}

/** Algorithm 1 of the paper: K_L large steps, then small ones; one FALSE escalates, one TRUE or the fixed budget B_L comes back. */
export function paperRouter(given: Partial<CollabOptions> = {}): Router<CollabState> {
  const options: CollabOptions = { ...defaultCollab, ...given }
  const start: CollabState = { phase: options.planSteps > 0 ? 'plan' : 'small', used: 0, failures: 0, good: 0, stuck: 0 }
  return {
    name: 'paper',
    wantsProgress: true,
    initial: () => ({ state: start, decision: decision(start, start.phase === 'plan' ? 'plan' : 'stay') }),
    next(before, signals) {
      const moving = (signals.progress ?? 1) >= 0.5
      const state: CollabState = { ...before, stuck: moving ? 0 : 1, used: before.used + 1 }
      if (state.phase === 'plan') return planStep(state, options)
      if (state.phase === 'small') return moving ? { state, decision: decision(state, 'stay') } : enter(state, 'large', 'stuck')
      if (moving) return enter(state, 'small', 'moving')
      return state.used >= options.budget ? enter(state, 'small', 'budget') : { state, decision: decision(state, 'stay') }
    },
  }
}
