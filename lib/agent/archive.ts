/** Full texts of everything an agent's tools returned, under short ids that the models can name. Nothing in it is ever shortened. */

/** What a tool returned. */
export interface ArchivedText {
  /** Unique in the run, such as `o3`. */
  readonly id: string
  /** All of it, as the tool renders it. */
  readonly text: string
  /** Name of the tool that returned it. */
  readonly tool: string
  /** That called it; the first is 1. */
  readonly turn: number
  /** The call in short, such as `open(url: "…")`. */
  readonly call: string
}

export class Archive {
  readonly #texts = new Map<string, ArchivedText>()

  static from(entries: readonly ArchivedText[]): Archive {
    const archive = new Archive()
    for (const entry of entries) archive.#texts.set(entry.id, entry)
    return archive
  }

  put(entry: Omit<ArchivedText, 'id'>): ArchivedText {
    const stored = { ...entry, id: `o${this.#texts.size + 1}` }
    this.#texts.set(stored.id, stored)
    return stored
  }

  /** Ids are found however a model writes them: `o3`, `O3`, `"o3"`, `3`. */
  get(id: string): ArchivedText | undefined {
    const digits = /(\d+)\D*$/.exec(id)?.[1]
    return this.#texts.get(id) ?? (digits === undefined ? undefined : this.#texts.get(`o${Number(digits)}`))
  }

  get size(): number {
    return this.#texts.size
  }

  toJSON(): readonly ArchivedText[] {
    return [...this.#texts.values()]
  }
}
