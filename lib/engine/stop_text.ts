/**
 * Finds stop strings in streamed text. Text that may still turn out to be the beginning of a stop string is held back.
 */
export class StopText {
  readonly #stops: readonly string[]
  readonly #longest: number
  #held = ''

  constructor(stops: readonly string[]) {
    this.#stops = stops
    this.#longest = Math.max(0, ...stops.map((stop) => stop.length))
  }

  /** Whether there is anything to find. */
  get active(): boolean {
    return this.#longest > 0
  }

  /** Text that is safe to deliver, and whether a stop string was met (nothing behind it is ever delivered). */
  push(text: string): { text: string; stopped: boolean } {
    if (this.#longest === 0) return { text, stopped: false }
    const all = this.#held + text
    const found = this.#stops.map((stop) => all.indexOf(stop)).filter((index) => index >= 0)
    if (found.length > 0) {
      this.#held = ''
      return { text: all.slice(0, Math.min(...found)), stopped: true }
    }
    const keep = this.#partialAtEnd(all)
    this.#held = all.slice(all.length - keep)
    return { text: all.slice(0, all.length - keep), stopped: false }
  }

  /** What was held back, at the end of the output. */
  flush(): string {
    const held = this.#held
    this.#held = ''
    return held
  }

  /** Length of the longest suffix that begins a stop string. */
  #partialAtEnd(text: string): number {
    for (let length = Math.min(this.#longest - 1, text.length); length > 0; --length) {
      const suffix = text.slice(text.length - length)
      if (this.#stops.some((stop) => stop.startsWith(suffix))) return length
    }
    return 0
  }
}
