/** What a plan costs on the JavaScript thread. */
import { AgentSched } from 'agentinfer'
import type { RequestView, SessionView, Snapshot } from 'agentinfer'

import { Random } from './random.js'

/** Median and 99th percentile of a plan, in microseconds, with so many requests waiting, each of a session of its own. */
export function planCost(waiting: number, plans: number): { median: number; p99: number } {
  const random = new Random(11)
  const requests: RequestView[] = []
  const sessions: SessionView[] = []
  const running = 32
  for (let id = 0; id < waiting + running; ++id) {
    const known = random.integer(2000, 40_000)
    const hit = 128 * random.integer(0, Math.floor(known / 128))
    const started = id < running
    sessions.push({ id, tenant: `t${id % 4}`, tokens: known, activity: { kind: 'running' }, since: 0 })
    requests.push({
      id, session: id, tenant: `t${id % 4}`, priority: 0, promptTokens: known, known, computed: started ? known - 1 : 0, remaining: 300, started,
      arrivedAt: id / 100, prefilledAtArrival: id * 50, deadline: undefined,
      probe: started ? undefined : { hitTokens: hit, pinned: 0, evictable: hit / 128, host: 0, need: Math.ceil(known / 128) - hit / 128, group: -1 },
    })
  }
  const scheduler = new AgentSched()
  const took = new Float64Array(plans)
  for (let step = 0; step < plans; ++step) {
    const snapshot: Snapshot = {
      now: 20 + step / 50, step, requests, sessions, prefilled: 1e6 + 100 * step, deferred: [],
      pool: { total: 6000, free: 300, cached: 700, used: 5000, hostTotal: 0, hostFree: 0 },
      demand: { pinned: 0, evictable: 3000, host: 0, fresh: 9000 }, limits: { maxBatchTokens: 2048, maxSequences: 256, blockSize: 128 },
    }
    const begin = performance.now()
    scheduler.plan(snapshot)
    took[step] = 1000 * (performance.now() - begin)
  }
  // The first plans are compiled as they run.
  const warm = took.slice(Math.floor(plans / 4)).toSorted()
  return { median: warm[Math.floor(warm.length / 2)]!, p99: warm[Math.floor(0.99 * warm.length)]! }
}
