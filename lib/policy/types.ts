/**
 * What policies see and say. A policy is a pure function of the snapshots it was given: no clock, no I/O, no native calls. All times are
 * seconds on the engine's clock (`Snapshot.now`), all KV amounts are blocks unless they say tokens.
 */

/**
 * One live request. Tokens: 0 <= computed < known. The engine changes these objects from step to step: a policy that remembers one
 * remembers values of it, not the object.
 */
export interface RequestView {
  /** To name it by in a plan. */
  readonly id: number
  /** The session it belongs to; undefined: a request of its own. */
  readonly session: number | undefined
  /** Requests of different tenants share no KV; fairness is between tenants. */
  readonly tenant: string
  /** Higher goes first. */
  readonly priority: number
  /** Tokens of its prompt. */
  readonly promptTokens: number
  /** Prompt and output tokens so far. */
  readonly known: number
  /** Tokens whose KV is computed. */
  readonly computed: number
  /** Tokens it may still generate. */
  readonly remaining: number
  /** Holds KV blocks (it has run before and was not preempted since). */
  readonly started: boolean
  /** When it joined the queue; a preempted request keeps it. */
  readonly arrivedAt: number
  /** Prompt tokens the engine had computed for anybody when this request arrived: `Snapshot.prefilled - prefilledAtArrival` is its age in tokens. */
  readonly prefilledAtArrival: number
  /** It is ended with `ERR_DEADLINE` at this time. */
  readonly deadline: number | undefined
  /** What the prefix index held of it after the last step; undefined while it runs, before it was looked up, or when not asked for. */
  readonly probe: ProbeView | undefined
}

/** hit and need of a request that has not started, without side effects. */
export interface ProbeView {
  /** Prompt tokens found in the cache, on the device or the host tier. */
  readonly hitTokens: number
  /** Of the hit: blocks that running sequences hold. */
  readonly pinned: number
  /** Of the hit: blocks that could be evicted. */
  readonly evictable: number
  /** Of the hit: blocks on the host tier. */
  readonly host: number
  /** New blocks its prompt needs on the device, those to come from the host tier included. */
  readonly need: number
  /** Requests with the same number share their first uncached block: the first to run computes it for the others. -1: alone. */
  readonly group: number
}

/** The KV pool, in blocks. */
export interface PoolView {
  /** All of them. */
  readonly total: number
  /** In no use. */
  readonly free: number
  /** Held by nobody, still in the index. */
  readonly cached: number
  /** Held by running requests. */
  readonly used: number
  /** Of the host tier. */
  readonly hostTotal: number
  /** Of the host tier, in no use. */
  readonly hostFree: number
}

/** Unions over all waiting requests, in blocks as in `ProbeView`: one that two of them share counts once. `fresh`: what nobody has computed. */
export interface DemandView {
  /** Found, and held by running sequences. */
  readonly pinned: number
  /** Found, and held by nobody. */
  readonly evictable: number
  /** Found on the host tier. */
  readonly host: number
  /** What nobody has computed. */
  readonly fresh: number
}

/** What a plan must keep. */
export interface PlanLimits {
  /** Rows (tokens) of a step. */
  readonly maxBatchTokens: number
  /** Sequences of a step. */
  readonly maxSequences: number
  /** Tokens in a block. */
  readonly blockSize: number
}

/** A session that is open, whether or not a request of it is live. */
export interface SessionView {
  /** To name it by in a plan. */
  readonly id: number
  /** Of all its requests. */
  readonly tenant: string
  /** Sessions of one run belong together: a run is done when the last of them is. */
  readonly run?: string | undefined
  /** Tokens whose KV it would find again. */
  readonly tokens: number
  /** What its owner says it is doing. */
  readonly activity: SessionActivity
  /** When it began to do that; what is appended meanwhile does not move it. */
  readonly since: number
}

/** What a session's owner says it is doing. */
export type SessionActivity =
  | {
      /** Nothing is known of when it comes back. */
      readonly kind: 'idle'
    }
  | {
      /** A request of it is live; the engine says so itself. */
      readonly kind: 'running'
    }
  | {
      /** It waits for a tool. */
      readonly kind: 'tool'
      /** Names what it waits for, so that how long that takes is learnt by name. */
      readonly tool: string
    }
  | {
      /** Its next request comes on this engine, though it now runs elsewhere. */
      readonly kind: 'elsewhere'
      /** By so many, about, that request is longer than what it has. */
      readonly tokens: number
    }

/** What a scheduler sees. */
export interface Snapshot {
  /** Seconds on the engine's clock. */
  readonly now: number
  /** Snapshots before this one, those whose plan did nothing included, and steps that were repeated without one (`Plan.ahead`). */
  readonly step: number
  /** In order of arrival. */
  readonly requests: readonly RequestView[]
  /** Open ones, in order of creation. */
  readonly sessions: readonly SessionView[]
  /** As of the last step. */
  readonly pool: PoolView
  /** Of all that wait, as of the last step; zeros unless the scheduler `wants` it. */
  readonly demand: DemandView
  /** What a plan must keep. */
  readonly limits: PlanLimits
  /** Prompt tokens computed since the engine was opened. */
  readonly prefilled: number
  /** Running requests that were planned in the last step and found no room. */
  readonly deferred: readonly number[]
}

/** A request's part of a step. */
export interface PlannedRow {
  /** Of a request in the snapshot. */
  readonly id: number
  /** Tokens to compute, at most known - computed. */
  readonly tokens: number
}

/** Blocks of higher classes are evicted after all blocks of lower ones; within a class expired ones first, then the least recently used. */
export interface Retention {
  /** An open session. */
  readonly session: number
  /** Blocks of higher classes are evicted after all blocks of lower ones, 0 to 3; 0: none. */
  readonly retentionClass: number
  /** Seconds on the engine's clock; `Infinity`: never. */
  readonly expiresAt: number
}

/** What a scheduler says: the next step. */
export interface Plan {
  /** Each id at most once; tokens sum to at most maxBatchTokens. */
  readonly rows: readonly PlannedRow[]
  /** Running requests that give their blocks back and start over later. */
  readonly preempt: readonly number[]
  /** What changes of whose KV stays; sessions whose owner has chosen by `session.retain` keep that. */
  readonly retain: readonly Retention[]
  /** Sessions whose KV should come back from the host tier now, as far as free blocks go, because they are about to return. */
  readonly prefetch?: readonly number[]
  /**
   * For how many steps more this plan holds as it is, if nothing happens: nobody ends, comes, leaves or finds no room, no session changes
   * what it does, no lookup tells anything new. From 0, the default: ask before each step, to 256. So many steps may then follow without
   * being asked for, their planning and crossing with them. It counts only where every row is one token of a request that decodes and
   * nothing is preempted or brought back from the host tier.
   */
  readonly ahead?: number
  /** Why requests that could have run wait, by id; for `engine.stats()`. */
  readonly reasons: ReadonlyMap<number, string>
  /** Figures of the policy itself (λ, z …), for `engine.stats()`. */
  readonly figures?: Readonly<Record<string, number>>
}

/**
 * Decides what a step computes. It may keep state, but only from the snapshots it was given: the same snapshots in the same order give
 * the same plans.
 */
export interface Scheduler {
  /** For `engine.stats()`, messages and errors. */
  readonly name: string
  /** Which lookups it wants before each plan. They cost microseconds each on the engine's thread. */
  readonly wants?: {
    /** `RequestView.probe` of those that wait. Absent: no. */
    readonly probes?: boolean
    /** `Snapshot.demand`. Absent: no. */
    readonly demand?: boolean
  }
  /** The next step. Called once a step, on the event loop: it must be quick. */
  plan(snapshot: Snapshot): Plan
  /** Figures over time, oldest first, for plots; as many as the policy remembers. */
  history?(): readonly PolicyPoint[]
}

/** One point of a policy's history. */
export interface PolicyPoint {
  /** Seconds on the engine's clock. */
  readonly now: number
  /** As in `Plan.figures`, at that time. */
  readonly figures: Readonly<Record<string, number>>
}
