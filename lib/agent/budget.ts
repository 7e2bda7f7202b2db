/** What a run may spend. A child's spending counts for its parents as well, so a tree of agents keeps the limits of its root. */

/** What a run may spend; it ends when one of them is reached. */
export interface Limits {
  /** Turns: generations of the main loop. Default: 40. */
  readonly turns: number
  /** Generated tokens, those of progress checks, distillation and called agents included. Default: no limit. */
  readonly tokens: number
  /** Seconds from its beginning, those of earlier parts of a resumed run included. Default: no limit. */
  readonly seconds: number
}

/** A limit of a run, by name. */
export type LimitName = keyof Limits

/** What a run has spent so far, those it goes on from included. */
export interface Spent {
  /** Its own; called agents count theirs. */
  readonly turns: number
  /** Generated, those of progress checks, distillation and called agents included. */
  readonly tokens: number
  /** Since it began, without the time between a record and its resumption. */
  readonly seconds: number
}

export class Budget {
  readonly limits: Limits
  readonly #parent: Budget | undefined
  readonly #startedAt: number
  #turns: number
  #tokens: number

  /** `spent`: what a resumed run had used before. `now` in milliseconds. */
  constructor(limits: Limits, now: number, parent?: Budget, spent: Spent = { turns: 0, tokens: 0, seconds: 0 }) {
    this.limits = limits
    this.#parent = parent
    this.#turns = spent.turns
    this.#tokens = spent.tokens
    this.#startedAt = now - spent.seconds * 1000
  }

  turn(): void {
    ++this.#turns
  }

  spend(tokens: number): void {
    this.#tokens += tokens
    this.#parent?.spend(tokens)
  }

  spent(now: number): Spent {
    return { turns: this.#turns, tokens: this.#tokens, seconds: (now - this.#startedAt) / 1000 }
  }

  /** What is left here and with every parent; turns are each agent's own. */
  left(now: number): Limits {
    const spent = this.spent(now)
    const above = this.#parent?.left(now)
    return {
      turns: Math.max(0, this.limits.turns - spent.turns),
      tokens: Math.max(0, Math.min(this.limits.tokens - spent.tokens, above?.tokens ?? Number.POSITIVE_INFINITY)),
      seconds: Math.max(0, Math.min(this.limits.seconds - spent.seconds, above?.seconds ?? Number.POSITIVE_INFINITY)),
    }
  }

  /** The first limit that is reached. */
  reached(now: number): LimitName | undefined {
    const left = this.left(now)
    return (['turns', 'tokens', 'seconds'] as const).find((name) => left[name] <= 0)
  }

  /** A budget for one of `count` children at once: an equal part of what is left after `keep` (a share) stays here. */
  share(count: number, own: Limits, now: number, keep = 0.2): Budget {
    const left = this.left(now)
    const limits = {
      turns: own.turns,
      tokens: Math.min(own.tokens, Number.isFinite(left.tokens) ? Math.floor((left.tokens * (1 - keep)) / count) : left.tokens),
      seconds: Math.min(own.seconds, left.seconds * (1 - keep)),
    }
    return new Budget(limits, now, this)
  }
}
