/** Listens to one signal for many requests with one listener: a signal that a thousand requests share is nothing to be warned of. */
const listeners = new WeakMap<AbortSignal, Set<() => void>>()

/** Calls `listener` once when the signal aborts. Returns how to stop listening. */
export function onAbort(signal: AbortSignal, listener: () => void): () => void {
  let set = listeners.get(signal)
  if (set === undefined) {
    const created = new Set<() => void>()
    const abort = (): void => {
      listeners.delete(signal)
      for (const each of created) each()
    }
    signal.addEventListener('abort', abort, { once: true })
    listeners.set(signal, created)
    set = created
  }
  set.add(listener)
  return () => set.delete(listener)
}
