import type { SessionView } from '../policy/types.js'

/** The open sessions of an engine, as schedulers see them. */
export class Sessions {
  readonly #live = new Set<number>()
  readonly #views = new Map<number, SessionView>()
  #list: readonly SessionView[] | undefined
  #nextId = 1
  /** Called after a session has changed what it does. */
  onChange: () => void = () => undefined

  nextId(): number {
    return this.#nextId++
  }

  add({ id }: { readonly id: number }): void {
    this.#live.add(id)
  }

  remove({ id }: { readonly id: number }): void {
    this.#live.delete(id)
    this.#views.delete(id)
    this.#list = undefined
  }

  has(id: number): boolean {
    return this.#live.has(id)
  }

  get count(): number {
    return this.#live.size
  }

  update(view: SessionView): void {
    const before = this.#views.get(view.id)
    this.#views.set(view.id, view)
    this.#list = undefined
    if (before !== undefined && before.activity !== view.activity) this.onChange()
  }

  /** In order of creation. Made anew only after a change. */
  get views(): readonly SessionView[] {
    return (this.#list ??= Array.from(this.#views.values()))
  }
}
