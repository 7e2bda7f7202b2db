/** Means over seeds, with 95 % intervals (Student's t); and how much a series swings. */

export interface Estimate {
  readonly mean: number
  /** Half of the 95 % interval; 0 with one sample. */
  readonly half: number
}

/** 97.5 % quantiles of Student's t for 1 to 30 degrees of freedom. */
const t975 = [
  12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.16, 2.145, 2.131, 2.12, 2.11, 2.101, 2.093, 2.086, 2.08, 2.074,
  2.069, 2.064, 2.06, 2.056, 2.052, 2.048, 2.045, 2.042,
]

export function estimate(samples: readonly number[]): Estimate {
  const n = samples.length
  if (n === 0) throw new RangeError('estimate: expected at least one sample')
  const mean = samples.reduce((sum, value) => sum + value, 0) / n
  if (n === 1) return { mean, half: 0 }
  const variance = samples.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (n - 1)
  return { mean, half: (t975[Math.min(n - 1, t975.length) - 1] ?? 1.96) * Math.sqrt(variance / n) }
}

/** Of a's samples over b's, seed by seed: what varies between seeds alike for both drops out. */
export function ratio(a: readonly number[], b: readonly number[]): Estimate {
  return estimate(a.map((value, i) => value / b[i]!))
}

/**
 * How often a series turns round, ignoring turns smaller than `amplitude`: the measure of oscillation used in tests and benches.
 */
export function turns(series: readonly number[], amplitude: number): number {
  let count = 0
  let direction = 0
  let extreme = series[0] ?? 0
  for (const value of series) {
    if (direction >= 0 && value > extreme) extreme = value
    else if (direction <= 0 && value < extreme) extreme = value
    if (Math.abs(value - extreme) < amplitude && direction !== 0) continue
    const next = Math.sign(value - extreme)
    if (direction === 0) {
      const first = series[0] ?? 0
      if (Math.abs(extreme - first) >= amplitude) direction = Math.sign(extreme - first)
      continue
    }
    if (next === -direction) {
      count += 1
      direction = next
      extreme = value
    }
  }
  return count
}
