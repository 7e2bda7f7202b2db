/** Runs jobs in processes of their own: a simulation is one thread's work, and there are many of them. */
import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { fileURLToPath } from 'node:url'

import type { Job, Result } from './run.js'

/** Results in the order of the jobs. */
export async function runJobs(jobs: readonly Job[], processes: number, onResult: (done: number, result: Result) => void): Promise<Result[]> {
  const results: Result[] = []
  let next = 0
  let done = 0
  const work = (child: ChildProcess): Promise<void> =>
    new Promise((resolve, reject) => {
      let at = -1
      const feed = (): void => {
        if (next === jobs.length) return resolve()
        at = next++
        child.send(jobs[at]!)
      }
      child.on('message', (result: Result) => {
        results[at] = result
        onResult((done += 1), result)
        feed()
      })
      child.on('error', reject)
      child.on('exit', (code) => reject(new Error(`a simulation ended with code ${code}: ${JSON.stringify(jobs[at])}`)))
      feed()
    })
  const children = Array.from({ length: Math.min(processes, jobs.length) }, () => fork(fileURLToPath(new URL('worker.js', import.meta.url))))
  try {
    await Promise.all(children.map(work))
  } finally {
    for (const child of children) child.kill()
  }
  return results
}
