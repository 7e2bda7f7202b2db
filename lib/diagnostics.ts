/**
 * What engines and agents do, on channels of `node:diagnostics_channel`, so that a logger or OpenTelemetry can be attached without
 * touching the program: `diagnostics_channel.subscribe('agentinfer:request:end', (message) => ...)`. Where nobody listens, nothing is made.
 *
 * Messages are plain and read-only; listeners run at once, inside the engine's loop, so they must be quick. What one throws becomes an
 * uncaught exception of the process, as Node does it, and never reaches the engine.
 */
import { channel } from 'node:diagnostics_channel'
import type { Channel } from 'node:diagnostics_channel'

import type { AgentEvent, EndReason } from './agent/events.js'
import type { FinishReason, Timings, Usage } from './engine/request.js'
import type { SpeculationUsage } from './engine/speculation.js'

/** Of every message about a request. `engine` is unique for each open engine, `request` within it. */
export interface RequestMessage {
  /** A UUID. */
  readonly engine: string
  /** Counts from 1, prefills of sessions included. */
  readonly request: number
  /** `session.id`; undefined: it belongs to none. */
  readonly session: number | undefined
  /** As it was given; `''`: none was. */
  readonly tenant: string
}

/** `agentinfer:request:start`: its prompt is tokenised, and it joins the queue. */
export interface RequestStartMessage extends RequestMessage {
  /** Of its session, as given to `engine.session`: what ties the requests of a run of agents together. */
  readonly run: string | undefined
  /** Of its session, as given to `engine.session`; undefined: it has none. */
  readonly role: string | undefined
  /** Higher goes first. */
  readonly priority: number
  /** Of the whole prompt, found in the cache or not. */
  readonly promptTokens: number
  /** To be generated at most. */
  readonly maxTokens: number
  /** When `generate` was called, on the clock of `performance.now()`, milliseconds. */
  readonly calledAt: number
}

/** `agentinfer:request:first-token`. Milliseconds, as in `Timings`. */
export interface RequestFirstTokenMessage extends RequestMessage {
  /** From the call to the beginning of the first step it took part in, ms. */
  readonly queued: number
  /** From there to now, ms. */
  readonly prefill: number
  /** Of the prompt: tokens whose KV was found. */
  readonly cachedTokens: number
}

/** `agentinfer:request:preempt`: its KV gave way to others'; it waits to start again. */
export interface RequestPreemptMessage extends RequestMessage {
  /** Of this request, so far. */
  readonly preemptions: number
}

/** `agentinfer:request:end`: its output is complete, or its reader has left (`abort`). */
export interface RequestEndMessage extends RequestMessage {
  /** Why it ended. */
  readonly finishReason: FinishReason
  /** Its tokens. */
  readonly usage: Readonly<Usage>
  /** Its milliseconds. */
  readonly timings: Readonly<Timings>
  /** What drafts did for it. */
  readonly speculation: Readonly<SpeculationUsage>
  /** How often its KV gave way to others'. */
  readonly preemptions: number
}

/** `agentinfer:request:error`: it failed, or was aborted by its signal. `request` is undefined when its prompt could not be made. */
export interface RequestErrorMessage extends Omit<RequestMessage, 'request'> {
  /** Undefined: it failed before it had a number, such as one whose chat template refuses the messages. */
  readonly request: number | undefined
  /** An `AgentInferError`, or the reason of the signal. */
  readonly error: unknown
}

/** `agentinfer:step:start`: a plan leaves for native code, or native code goes on with the last one, which is told when the result before it is there. */
export interface StepStartMessage {
  /** As in `RequestMessage`. */
  readonly engine: string
  /** Counts from 0. */
  readonly step: number
  /** Its name. */
  readonly scheduler: string
  /** Sequences in it; 0: a step that only looks things up. */
  readonly rows: number
  /** To be computed at most, drafts left out. */
  readonly tokens: number
  /** Requests that give their KV back before it. */
  readonly preempted: number
  /** The plan is that of the step before; nobody was asked. */
  readonly repeated: boolean
  /** Live requests that hold KV, those that start with this step not among them. */
  readonly running: number
  /** Live requests that hold none. */
  readonly waiting: number
}

/** `agentinfer:step:end`: its result is there. Milliseconds. */
export interface StepEndMessage {
  /** As in `RequestMessage`. */
  readonly engine: string
  /** That of its start. */
  readonly step: number
  /** In native code. */
  readonly native: number
  /** On the way there and back; of a repeated step, what native code needed between the step before and this one. */
  readonly crossing: number
  /** Tokens it gave. */
  readonly emitted: number
  /** Sequences that found no room. */
  readonly deferred: number
  /** KV blocks after it. */
  readonly pool: {
    /** All of them. */
    readonly total: number
    /** In no use. */
    readonly free: number
    /** Held by nobody, still to be found by prompts that begin alike. */
    readonly cached: number
    /** Held by running requests. */
    readonly used: number
  }
}

/** `agentinfer:step:error`: the scheduler failed, or the device; the requests concerned are told as well. */
export interface StepErrorMessage {
  /** As in `RequestMessage`. */
  readonly engine: string
  /** An `AgentInferError`: `ERR_SCHEDULER`, `ERR_DEVICE`, or `ERR_INTERNAL` where a result could not be handled. */
  readonly error: unknown
}

/** Of every message about a run of an agent. */
export interface AgentMessage {
  /** The agent's name. */
  readonly agent: string
  /** A UUID, shared by the agents that a run calls; it is the `run` of their requests. */
  readonly run: string
}

/** `agentinfer:agent:start` */
export interface AgentStartMessage extends AgentMessage {
  /** Undefined when a run goes on from a record without a new one. */
  readonly question: string | undefined
  /** It goes on from a record. */
  readonly resumed: boolean
  /** Another agent called it as a tool. */
  readonly called: boolean
}

/** `agentinfer:agent:event`: what its reader gets as well, but for the deltas of text. */
export interface AgentEventMessage extends AgentMessage {
  /** As `agent.run` gives it. */
  readonly event: Exclude<AgentEvent, Record<'type', 'delta'>>
}

/** `agentinfer:agent:end` */
export interface AgentEndMessage extends AgentMessage {
  /** Why it ended. */
  readonly end: EndReason
  /** Undefined when the run ended without one. */
  readonly answer: string | undefined
  /** Since it was started, milliseconds. */
  readonly milliseconds: number
}

/** `agentinfer:agent:error`: aborted, or an engine failed. */
export interface AgentErrorMessage extends AgentMessage {
  /** The reason of the abort, or what broke the run, such as an engine's `AgentInferError`. */
  readonly error: unknown
}

/** The channels by name, and what is published on them. */
export interface DiagnosticsMessages {
  /** Once for each request, unless it fails before. */
  'agentinfer:request:start': RequestStartMessage
  /** Once at most, before `end`. */
  'agentinfer:request:first-token': RequestFirstTokenMessage
  /** As often as it happens. */
  'agentinfer:request:preempt': RequestPreemptMessage
  /** The last of a request, unless `error` is. */
  'agentinfer:request:end': RequestEndMessage
  /** The last of a request, unless `end` is. */
  'agentinfer:request:error': RequestErrorMessage
  /** Before each step. */
  'agentinfer:step:start': StepStartMessage
  /** After each step, when its result is there. */
  'agentinfer:step:end': StepEndMessage
  /** Instead of a step, or behind one. */
  'agentinfer:step:error': StepErrorMessage
  /** Once for each run. */
  'agentinfer:agent:start': AgentStartMessage
  /** As often as something happens. */
  'agentinfer:agent:event': AgentEventMessage
  /** The last of a run, unless `error` is. */
  'agentinfer:agent:end': AgentEndMessage
  /** The last of a run, unless `end` is. */
  'agentinfer:agent:error': AgentErrorMessage
}

/** The name of a channel of this package. */
export type DiagnosticsChannelName = keyof DiagnosticsMessages

/** All channels of this package, for `diagnostics_channel.subscribe`. */
export const diagnosticsChannels = [
  'agentinfer:request:start',
  'agentinfer:request:first-token',
  'agentinfer:request:preempt',
  'agentinfer:request:end',
  'agentinfer:request:error',
  'agentinfer:step:start',
  'agentinfer:step:end',
  'agentinfer:step:error',
  'agentinfer:agent:start',
  'agentinfer:agent:event',
  'agentinfer:agent:end',
  'agentinfer:agent:error',
] as const satisfies readonly DiagnosticsChannelName[]

/** Channels are found by name, so all copies of this package in a process publish on the same ones. */
const channels = Object.fromEntries(diagnosticsChannels.map((name) => [name, channel(name)])) as unknown as Record<DiagnosticsChannelName, Channel>

/** Publishes what `make` gives, which is called only when somebody listens. */
export function publish<Name extends DiagnosticsChannelName>(name: Name, make: () => DiagnosticsMessages[Name]): void {
  const to = channels[name]
  if (to.hasSubscribers) to.publish(make())
}

/** Whether somebody hears of each step. */
export function stepsAreHeard(): boolean {
  return channels['agentinfer:step:start'].hasSubscribers || channels['agentinfer:step:end'].hasSubscribers
}
