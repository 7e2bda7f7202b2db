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
  readonly request: number
  /** `session.id`; undefined: it belongs to none. */
  readonly session: number | undefined
  readonly tenant: string
}

/** `agentinfer:request:start`: its prompt is tokenised, and it joins the queue. */
export interface RequestStartMessage extends RequestMessage {
  /** Of its session, as given to `engine.session`: what ties the requests of a run of agents together. */
  readonly run: string | undefined
  readonly role: string | undefined
  readonly priority: number
  readonly promptTokens: number
  /** To be generated at most. */
  readonly maxTokens: number
  /** When `generate` was called, on the clock of `performance.now()`, milliseconds. */
  readonly calledAt: number
}

/** `agentinfer:request:first-token`. Milliseconds, as in `Timings`. */
export interface RequestFirstTokenMessage extends RequestMessage {
  readonly queued: number
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
  readonly finishReason: FinishReason
  readonly usage: Readonly<Usage>
  readonly timings: Readonly<Timings>
  readonly speculation: Readonly<SpeculationUsage>
  readonly preemptions: number
}

/** `agentinfer:request:error`: it failed, or was aborted by its signal. `request` is undefined when its prompt could not be made. */
export interface RequestErrorMessage extends Omit<RequestMessage, 'request'> {
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
  readonly scheduler: string
  /** Sequences in it; 0: a step that only looks things up. */
  readonly rows: number
  /** To be computed at most, drafts left out. */
  readonly tokens: number
  /** Requests that give their KV back before it. */
  readonly preempted: number
  /** The plan is that of the step before; nobody was asked. */
  readonly repeated: boolean
  /** Requests that hold KV, and those that wait. */
  readonly running: number
  readonly waiting: number
}

/** `agentinfer:step:end`: its result is there. Milliseconds. */
export interface StepEndMessage {
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
  readonly pool: { readonly total: number; readonly free: number; readonly cached: number; readonly used: number }
}

/** `agentinfer:step:error`: the scheduler failed, or the device; the requests concerned are told as well. */
export interface StepErrorMessage {
  readonly engine: string
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
  readonly event: Exclude<AgentEvent, { readonly type: 'delta' }>
}

/** `agentinfer:agent:end` */
export interface AgentEndMessage extends AgentMessage {
  readonly end: EndReason
  readonly answer: string | undefined
  /** Since it was started, milliseconds. */
  readonly milliseconds: number
}

/** `agentinfer:agent:error`: aborted, or an engine failed. */
export interface AgentErrorMessage extends AgentMessage {
  readonly error: unknown
}

/** The channels by name, and what is published on them. */
export interface DiagnosticsMessages {
  'agentinfer:request:start': RequestStartMessage
  'agentinfer:request:first-token': RequestFirstTokenMessage
  'agentinfer:request:preempt': RequestPreemptMessage
  'agentinfer:request:end': RequestEndMessage
  'agentinfer:request:error': RequestErrorMessage
  'agentinfer:step:start': StepStartMessage
  'agentinfer:step:end': StepEndMessage
  'agentinfer:step:error': StepErrorMessage
  'agentinfer:agent:start': AgentStartMessage
  'agentinfer:agent:event': AgentEventMessage
  'agentinfer:agent:end': AgentEndMessage
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
