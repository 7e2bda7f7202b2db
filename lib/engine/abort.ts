/** Listens to one signal for many requests with one listener: a signal that a thousand requests share is nothing to be warned of. */
const listeners = new WeakMap<AbortSignal, Set<() => void>>()

/** Calls `listener` once when the signal aborts; never where it has already. Returns how to stop listening. */
export function onAbort(signal: AbortSignal, listener: () => void): () => void {
  let set = listeners.get(signal)
  if (set === undefined) {
    const created = new Set<() => void>()
    signal.addEventListener('abort', () => callAll(created), { once: true })
    listeners.set(signal, created)
    set = created
  }
  set.add(listener)
  return () => set.delete(listener)
}

/** Each, whatever the others throw; that is thrown at the end. */
function callAll(set: Set<() => void>): void {
  const thrown: unknown[] = []
  for (const each of set) {
    try {
      each()
    } catch (error) {
      thrown.push(error)
    }
  }
  set.clear()
  if (thrown.length > 0) throw thrown[0]
}
