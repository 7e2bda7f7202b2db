/** What an engine did and does. */
import type { PolicyPoint } from '../policy/types.js'
import type { contract } from '../native.js'
import type { SpeculationStats } from './speculation.js'

/** Figures of an engine: see `engine.stats()`. */
export interface EngineStats {
  /** Requests that hold KV. */
  running: number
  /** Requests that wait for their start. */
  waiting: number
  /** Open sessions. */
  sessions: number
  /** Tokens of the open sessions together; what they share counts for each. */
  sessionTokens: number
  /** Since the engine was opened, repeated ones and those that only looked things up included. */
  steps: number
  /** KV blocks as of the last step. */
  pool: {
    /** All of them. */
    total: number
    /** In no use. */
    free: number
    /** Held by nobody, still to be found by prompts that begin alike; evicted when others need room. */
    cached: number
    /** Held by running requests. */
    used: number
    /** Times that a cached block was given up for room, since the engine was opened. */
    evicted: number
  }
  /** KV blocks of the host tier as of the last step. */
  host: {
    /** All of them; 0: there is no host tier. */
    total: number
    /** In no use. */
    free: number
  }
  /** Since the engine was opened; prefills of sessions count as requests. */
  requests: {
    /** Came to their end. */
    finished: number
    /** By leaving the stream, by signal, by release. */
    aborted: number
    /** By an error, a deadline included. */
    failed: number
  }
  /** Since the engine was opened. */
  tokens: {
    /** Of the prompts of requests that have started. */
    prompt: number
    /** Of `prompt`: those whose KV was found in the cache. */
    cached: number
    /** Whose KV was computed, generated ones and what preemption had computed again included. */
    computed: number
    /** Generated, those that ended a request included. */
    generated: number
  }
  /** tokens.cached / tokens.prompt, 0..1; 0 before the first request has started. */
  hitRate: number
  /** Requests that gave their KV back and started again, since the engine was opened; one counts each time. */
  preemptions: number
  /** Of the last step, milliseconds by phase. */
  phases: Record<(typeof contract.phases)[number], number>
  /** Of the last steps (at most 512), milliseconds. */
  stepTimes: {
    /** In native code. */
    native: TimeSummary
    /**
     * From a step's result to the next plan's departure: results applied, snapshot, policy, check. Where the plan is repeated, results
     * applied alone, while the next step runs.
     */
    planning: TimeSummary
    /**
     * From a plan's departure to its result's arrival, without the native time: both crossings and what held the event loop up. Of a
     * repeated step, the engine's thread's pause before it: nothing else is between two such steps.
     */
    crossing: TimeSummary
    /** Text and streams, while the next step runs. */
    delivery: TimeSummary
  }
  /** Since the engine was opened; `memory` is as it is now. */
  speculation: SpeculationStats
  /** The scheduler, and what it is judged by. */
  sched: {
    /** Its name. */
    scheduler: string
    /** The same as above, beside what it is judged by: prompt tokens found in the cache over prompt tokens, 0..1, since the engine was opened. */
    hitRate: number
    /** Waiting requests by the reason the scheduler gave in its last plan. */
    reasons: Record<string, number>
    /** Figures of the scheduler itself, of its last plan. */
    figures: Readonly<Record<string, number>>
    /** Those figures over time, oldest first, where the scheduler remembers them. */
    history: readonly PolicyPoint[]
  }
}

/** Milliseconds. */
export interface TimeSummary {
  /** The mean. */
  mean: number
  /** The median. */
  p50: number
  /** 99 in a hundred were no longer than this. */
  p99: number
}

/** Forward progress, not liveness. */
export interface EngineHealth {
  /** False for good once the device has failed, or a result could not be handled. */
  healthy: boolean
  /** Why not. */
  reason: string | undefined
  /**
   * Milliseconds since the last step was heard of while work is there; 0 when idle. Where no stream is read token by token, steps are
   * heard of up to 0.1 s late.
   */
  stalledMs: number
  /** Requests that wait or run. */
  queued: number
}

/** Counts that only grow. */
export class Counters {
  steps = 0
  preemptions = 0
  finished = 0
  aborted = 0
  failed = 0
  promptTokens = 0
  cachedTokens = 0
  computedTokens = 0
  generatedTokens = 0
  /** Tokens computed for prompts; what preempted requests compute again counts too. */
  prefilled = 0

  report(): Pick<EngineStats, 'steps' | 'preemptions' | 'requests' | 'tokens' | 'hitRate'> {
    const { steps, preemptions, finished, aborted, failed, promptTokens, cachedTokens } = this
    return {
      steps,
      preemptions,
      requests: { finished, aborted, failed },
      tokens: { prompt: promptTokens, cached: cachedTokens, computed: this.computedTokens, generated: this.generatedTokens },
      hitRate: promptTokens === 0 ? 0 : cachedTokens / promptTokens,
    }
  }
}

export class StepTimes {
  readonly native = new LastSamples()
  readonly planning = new LastSamples()
  readonly crossing = new LastSamples()
  readonly delivery = new LastSamples()

  report(): EngineStats['stepTimes'] {
    return {
      native: this.native.summary(),
      planning: this.planning.summary(),
      crossing: this.crossing.summary(),
      delivery: this.delivery.summary(),
    }
  }
}

/** Of a duration: the last 512. */
class LastSamples {
  readonly #samples = new Float64Array(512)
  #count = 0

  add(milliseconds: number): void {
    this.#samples[this.#count++ % this.#samples.length] = milliseconds
  }

  summary(): TimeSummary {
    const sorted = this.#samples.slice(0, Math.min(this.#count, this.#samples.length)).toSorted()
    if (sorted.length === 0) return { mean: 0, p50: 0, p99: 0 }
    const at = (q: number): number => sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))]!
    return { mean: sorted.reduce((sum, value) => sum + value, 0) / sorted.length, p50: at(0.5), p99: at(0.99) }
  }
}
