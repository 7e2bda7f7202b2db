import { describe, expect, test } from 'vitest'

import {
  collabRouter,
  confidenceOf,
  defaultCollab,
  defaultSensor,
  escalationBudget,
  paperRouter,
  routerOf,
  updateStuck,
} from '../../dist/esm/policy/route.js'
import type { CollabState, RouteDecision, Router, StepSignals } from '../../dist/esm/policy/route.js'

/** Runs a router over verdicts; each step is done by the model the router chose. */
function walk(router: Router, verdicts: readonly number[], more: Partial<StepSignals> = {}): RouteDecision[] {
  let { state, decision } = router.initial()
  const decisions = [decision]
  for (const progress of verdicts) {
    ;({ state, decision } = router.next(state, { ...more, model: decision.model, progress }))
    decisions.push(decision)
  }
  return decisions
}
const letters = (decisions: readonly RouteDecision[]) => decisions.map(({ model }) => model[0]).join('')

describe('being stuck', () => {
  test('a verdict moves it the right way, more so when it is sure', () => {
    const at = (progress: number) => updateStuck(0.3, { model: 'small', progress })
    const values = [0, 0.25, 0.5, 0.75, 1].map(at)
    expect(values.toSorted((a, b) => b - a)).toEqual(values)
    expect(values[0]).toBeGreaterThan(0.6)
    expect(values[4]).toBeLessThan(0.15)
  })

  test('no signal but time leads to where the filter rests', () => {
    let stuck = 0.9
    for (let i = 0; i < 100; ++i) stuck = updateStuck(stuck, { model: 'small' })
    expect(stuck).toBeCloseTo(defaultSensor.sticks / (defaultSensor.sticks + defaultSensor.freesSmall), 3)
  })

  test('repeated queries, nothing new and errors count as evidence; new sources against', () => {
    const base = updateStuck(0.3, { model: 'small', progress: 0.5 })
    const after = (signals: Partial<StepSignals>) => updateStuck(0.3, { model: 'small', progress: 0.5, ...signals })
    expect(after({ repeated: 0.95 })).toBeGreaterThan(after({ repeated: 0.7 }))
    expect(after({ repeated: 0.7 })).toBeGreaterThan(base)
    expect(after({ newSources: 0, newEntities: 0 })).toBeGreaterThan(base)
    expect(after({ calls: 2, errors: 2 })).toBeGreaterThan(after({ calls: 2, errors: 1 }))
    expect(after({ newSources: 2, newEntities: 5 })).toBeLessThan(base)
  })

  test('it stays a probability for any signals', () => {
    let seed = 11
    const random = () => (seed = (seed * 1103515245 + 12345) % 2 ** 31) / 2 ** 31
    let stuck = 0.5
    for (let i = 0; i < 5000; ++i) {
      const progress = random() < 0.1 ? Number.NaN : random() * 1.4 - 0.2
      stuck = updateStuck(stuck, {
        model: random() < 0.5 ? 'small' : 'large',
        progress,
        repeated: random(),
        newSources: Math.floor(random() * 3),
        calls: 3,
        errors: Math.floor(random() * 4),
      })
      expect(stuck).toBeGreaterThan(0)
      expect(stuck).toBeLessThan(1)
    }
  })
})

describe('collab', () => {
  test('the large model plans two steps, then the small one works', () => {
    expect(letters(walk(collabRouter(), [1, 1, 1, 1, 1]))).toBe('llssss')
    expect(letters(walk(collabRouter({ planSteps: 0 }), [1, 1]))).toBe('sss')
  })

  test('one doubtful verdict does not escalate; certain ones do', () => {
    expect(letters(walk(collabRouter({ planSteps: 0 }), [1, 1, 0.35, 1, 1]))).toBe('ssssss')
    const decisions = walk(collabRouter({ planSteps: 0 }), [1, 1, 0, 0])
    expect(letters(decisions)).toContain('l')
    expect(decisions.find(({ model }) => model === 'large')?.reason).toBe('stuck')
  })

  test('weak evidence adds up: loops escalate though each verdict alone would not', () => {
    const loop = { repeated: 0.95, newSources: 0, newEntities: 0 }
    expect(letters(walk(collabRouter({ planSteps: 0 }), [0.6, 0.6, 0.6]))).not.toContain('l')
    expect(letters(walk(collabRouter({ planSteps: 0 }), [0.6, 0.6, 0.6], loop))).toContain('l')
  })

  test('progress of the large model gives the work back; failures are forgotten after sustained progress', () => {
    const router = collabRouter({ planSteps: 0 })
    let { state, decision } = router.initial()
    const step = (progress: number) => ({ state, decision } = router.next(state, { model: decision.model, progress }))
    while (decision.model === 'small') step(0)
    while (decision.model === 'large') step(0)
    expect(state.failures).toBe(1)
    expect(decision.reason).toBe('budget')
    while (decision.model === 'small') step(0)
    while (decision.model === 'large') step(1)
    expect(decision.reason).toBe('moving')
    expect(state.failures).toBe(1)
    for (let i = 0; i < defaultCollab.sustained; ++i) step(1)
    expect(state.failures).toBe(0)
  })

  test('budgets are 2, 4, 6, 6 and then the run is told to answer', () => {
    expect([0, 1, 2, 3, 9].map((failures) => escalationBudget(failures))).toEqual([2, 4, 6, 6, 6])
    const decisions = walk(collabRouter({ planSteps: 0 }), Array.from({ length: 60 }, () => 0))
    const end = decisions.findIndex(({ finish }) => finish)
    expect(end).toBeGreaterThan(0)
    const runs = letters(decisions.slice(0, end)).match(/l+/g)!
    expect(runs.map((run) => run.length)).toEqual([2, 4, 6, 6])
    expect(decisions[end]!.model).toBe('large')
  })

  test('the band between the thresholds changes nothing', () => {
    const router = collabRouter()
    for (const phase of ['small', 'large'] as const) {
      const state: CollabState = { phase, used: 0, failures: 0, good: 0, stuck: 0.45 }
      // Evidence that leaves the probability inside the band.
      const next = router.next(state, { model: phase, progress: phase === 'small' ? 0.52 : 0.45 })
      expect(next.decision.stuck).toBeGreaterThan(defaultCollab.down)
      expect(next.decision.stuck).toBeLessThan(defaultCollab.up)
      expect(next.decision.model).toBe(phase)
    }
  })

  test('whatever the signals: no escalation beyond its budget, and the state is plain data', () => {
    let seed = 5
    const random = () => (seed = (seed * 1103515245 + 12345) % 2 ** 31) / 2 ** 31
    for (let round = 0; round < 200; ++round) {
      const router = collabRouter()
      let { state, decision } = router.initial()
      let [large, failures] = [0, 0]
      for (let i = 0; i < 100 && !decision.finish; ++i) {
        if (state.phase === 'large') ++large
        else large = 0
        expect(large).toBeLessThanOrEqual(escalationBudget(failures))
        const signals = { model: decision.model, progress: random() ** 2, repeated: random(), newSources: random() < 0.5 ? 0 : 2 }
        const direct = router.next(state, signals)
        const saved = router.next(JSON.parse(JSON.stringify(state)) as CollabState, signals)
        expect(saved).toEqual(direct)
        ;({ state, decision } = direct)
        failures = state.failures
      }
    }
  })
})

describe('confidence', () => {
  test('is the lowest geometric mean of neighbouring tokens, as many as the window has', () => {
    const of = (probabilities: readonly number[], window: number): number | undefined => confidenceOf(probabilities.map((p) => Math.log(p)), window)
    expect(of([], 4)).toBeUndefined()
    expect(of([0.9, 0.5, 0.8], 1)).toBeCloseTo(0.5)
    expect(of([0.9, 0.5, 0.8], 2)).toBeCloseTo(Math.sqrt(0.4))
    expect(of([0.9, 0.5, 0.8], 16)).toBeCloseTo(0.36 ** (1 / 3))
    expect(of([1, 1, 1, 1], 2)).toBe(1)
  })

  test('any tokens and windows: what looking at every window gives', () => {
    let seed = 3
    const random = () => (seed = (seed * 1103515245 + 12345) % 2 ** 31) / 2 ** 31
    for (let round = 0; round < 300; ++round) {
      const list = Array.from({ length: 1 + Math.floor(random() * 40) }, () => Math.log(random() + 1e-9))
      const window = 1 + Math.floor(random() * 20)
      const width = Math.min(window, list.length)
      const means = list.slice(width - 1).map((_, at) => list.slice(at, at + width).reduce((sum, one) => sum + one, 0) / width)
      expect(confidenceOf(list, window)).toBeCloseTo(Math.exp(Math.min(...means)), 9)
    }
  })

  test('a doubtful turn of the small model is the large one’s to write, and the next one is the small one’s again', () => {
    const router = collabRouter({ planSteps: 0, redoBelow: 0.9 })
    expect(router.confidenceWindow).toBe(defaultCollab.confidenceWindow)
    const { state } = router.initial()
    expect(router.review!(state, { model: 'small', confidence: 0.95 })).toBeUndefined()
    expect(router.review!(state, { model: 'small', confidence: undefined })).toBeUndefined()
    const doubted = router.review!(state, { model: 'small', confidence: 0.8 })!
    expect(doubted.decision).toMatchObject({ model: 'large', reason: 'doubt' })
    expect(router.review!(doubted.state, { model: 'large', confidence: 0.1 })).toBeUndefined()
    expect(router.next(doubted.state, { model: 'large' }).decision).toMatchObject({ model: 'small', reason: 'moving' })
  })

  test('unless told to, nobody is asked for confidence and nothing is doubted', () => {
    const router = collabRouter({ planSteps: 0 })
    expect(router.confidenceWindow).toBeUndefined()
    expect(router.review!(router.initial().state, { model: 'small', confidence: 0 })).toBeUndefined()
  })

  test('the verdict is asked for where what is known before it leaves enough doubt', () => {
    const always = collabRouter()
    const sparing = collabRouter({ askFrom: 0.3 })
    const { state } = sparing.initial()
    for (const repeated of [0, 1]) expect(always.asks!(state, { model: 'small', repeated })).toBe(true)
    expect(sparing.asks!(state, { model: 'small', repeated: 0 })).toBe(false)
    expect(sparing.asks!(state, { model: 'small', repeated: 1 })).toBe(true)
    expect(sparing.asks!({ ...state, stuck: 0.6 }, { model: 'small', repeated: 0 })).toBe(true)
  })
})

describe('the other routes', () => {
  test('paper: one FALSE escalates, TRUE or the fixed budget comes back, without memory', () => {
    expect(letters(walk(paperRouter(), [1, 1, 1, 0, 1, 0, 0, 0, 0, 0, 0, 1]))).toBe('llssl' + 'sllsllss'.slice(0, 8))
    const forever = walk(paperRouter(), Array.from({ length: 300 }, () => 0))
    expect(forever.every(({ finish }) => !finish)).toBe(true)
    expect(letters(forever).slice(2, 11)).toBe('sllsllsll')
  })

  test('small, large, custom and a router of the user', () => {
    expect(letters(walk(routerOf('small'), [0, 0]))).toBe('sss')
    expect(letters(walk(routerOf('large'), [1, 1]))).toBe('lll')
    expect(letters(walk(routerOf((steps) => (steps.length % 2 === 0 ? 'small' : 'large')), [1, 1, 1]))).toBe('slsl')
    const own = collabRouter({ planSteps: 1 }) as Router
    expect(routerOf(own)).toBe(own)
    expect(['small', 'large', 'collab', 'paper'].map((name) => routerOf(name as 'small').name)).toEqual(['small', 'large', 'collab', 'paper'])
  })
})
