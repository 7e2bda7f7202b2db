/**
 * How long tools take, learnt from what was seen: the last durations of each tool, with a prior that counts for less the more there are.
 * Of many tools, those that nobody waited for longest are forgotten: names may be made for each call.
 */

export interface DurationOptions {
  /** Mean duration, in seconds, of a tool nothing is known of, while no tool is known. Default: 10. */
  readonly priorMean: number
  /** Observations that the prior is worth. Default: 4. */
  readonly priorWeight: number
  /** Durations remembered per tool. Default: 64. */
  readonly memory: number
}

export const durationDefaults: DurationOptions = { priorMean: 10, priorWeight: 4, memory: 64 }

/** Tools that are remembered at most. */
const mostTools = 1024

interface Ring {
  readonly values: number[]
  next: number
  /** Sorted, with the prior; undefined: to be made. */
  sorted: Float64Array | undefined
  /** Observations of all tools when it was made. */
  madeAt: number
}

export class Durations {
  readonly #options: DurationOptions
  readonly #tools = new Map<string, Ring>()
  #sum = 0
  #count = 0

  constructor(options: Partial<DurationOptions> = {}) {
    this.#options = { ...durationDefaults, ...options }
  }

  /** `seconds` = Infinity: it never came back. */
  observe(tool: string, seconds: number): void {
    const ring = this.#ring(tool)
    ring.values[ring.next] = seconds
    ring.next = (ring.next + 1) % this.#options.memory
    ring.sorted = undefined
    if (!Number.isFinite(seconds)) return
    this.#sum += seconds
    this.#count += 1
  }

  /** Equally likely durations of the tool, ascending. Few observations: drawn towards an exponential with the mean over all tools. */
  samples(tool: string): Float64Array {
    const ring = this.#ring(tool)
    const full = ring.values.length === this.#options.memory
    if (ring.sorted !== undefined && (full || ring.madeAt === this.#count)) return ring.sorted
    const { priorMean, priorWeight } = this.#options
    const mean = (priorMean * priorWeight + this.#sum) / (priorWeight + this.#count)
    // The prior's quantiles; with enough observations it is left out.
    const seen = ring.values
    const prior = Math.max(0, Math.round(priorWeight * (1 - seen.length / this.#options.memory)))
    const pseudo = Array.from({ length: prior }, (_, i) => -mean * Math.log(1 - (i + 0.5) / prior))
    const sorted = Float64Array.from([...seen, ...pseudo]).toSorted()
    ring.sorted = sorted
    ring.madeAt = this.#count
    return sorted
  }

  #ring(tool: string): Ring {
    const ring = this.#tools.get(tool) ?? { values: [], next: 0, sorted: undefined, madeAt: 0 }
    this.#tools.delete(tool)
    this.#tools.set(tool, ring) // the latest is last
    if (this.#tools.size > mostTools) this.#tools.delete(this.#tools.keys().next().value!)
    return ring
  }
}

export interface Keep {
  /** Seconds after the start of the wait up to which keeping pays; at most `elapsed`: not at all. */
  readonly until: number
  /** Expected gain of keeping until then over giving up now, in seconds of the engine's time. >= 0 */
  readonly value: number
}

/**
 * For how long KV is worth keeping: the t that maximises P(return within t) · saving − price · E[time kept], given that `elapsed` seconds
 * have passed without a return. `samples`: ascending, as from `Durations`. `saving`: seconds that a hit saves; `price`: seconds that
 * keeping costs others per second.
 */
export function bestKeep(samples: Float64Array, elapsed: number, saving: number, price: number): Keep {
  let first = 0
  while (first < samples.length && samples[first]! <= elapsed) ++first
  const left = samples.length - first
  let best: Keep = { until: elapsed, value: 0 }
  let kept = 0
  for (let i = first; i < samples.length; ++i) {
    const t = samples[i]!
    if (!Number.isFinite(t)) break
    kept += t - elapsed
    const returned = i - first + 1
    const held = (kept + (left - returned) * (t - elapsed)) / left
    const value = (returned / left) * saving - price * held
    if (value >= best.value) best = { until: t, value }
  }
  return best
}
