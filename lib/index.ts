export * from './agent/index.js'
export { diagnosticsChannels } from './diagnostics.js'
export type {
  AgentEndMessage,
  AgentErrorMessage,
  AgentEventMessage,
  AgentMessage,
  AgentStartMessage,
  DiagnosticsChannelName,
  DiagnosticsMessages,
  RequestEndMessage,
  RequestErrorMessage,
  RequestFirstTokenMessage,
  RequestMessage,
  RequestPreemptMessage,
  RequestStartMessage,
  StepEndMessage,
  StepErrorMessage,
  StepStartMessage,
} from './diagnostics.js'
export { AgentInferError, errorCodes } from './errors.js'
export type { ErrorCode } from './errors.js'
export { Engine } from './engine/engine.js'
export type { EngineInfo } from './engine/engine.js'
export type { CacheMiss, MissCause } from './engine/miss.js'
export type { DraftSource, SpeculationStats, SpeculationUsage } from './engine/speculation.js'
export type { EngineHealth, EngineStats, TimeSummary } from './engine/stats.js'
export { Session } from './engine/session.js'
export type { TurnsMark } from './engine/chat_turns.js'
export type { PrefillResult, SessionMark, SessionStats } from './engine/session.js'
export type { FinishReason, GenerationResponse, Timings, Usage } from './engine/request.js'
export type { Delta, GenerationStream, TokenLogprob } from './engine/stream.js'
export { measureLimits } from './limits.js'
export type { MachineLimits, ModelInfo } from './native.js'
export type {
  DraftContext,
  EngineOptions,
  EngineSpeculationOptions,
  GenerateOptions,
  GenerationOptions,
  Message,
  RequestSpeculationOptions,
  RetainOptions,
  SamplingOptions,
  SessionGenerateOptions,
  SessionInput,
  SessionOptions,
  SessionPrefillOptions,
  SessionSegments,
  SessionTokens,
  SpeculationMemoryOptions,
} from './options.js'
export { schedulerNames } from './policy/schedulers.js'
export type { SchedulerName } from './policy/schedulers.js'
export { firstCome, longestPrefix, responseRatio, shortestPrompt, shortestUncached } from './policy/baselines.js'
export type { BaselineOptions } from './policy/baselines.js'
export { AgentSched, agentSchedDefaults } from './policy/schedule.js'
export type { AgentSchedOptions } from './policy/schedule.js'
export type { PausingOptions } from './policy/sessions.js'
export type { ShadowPriceOptions } from './policy/shadow_price.js'
export { costAt, speculate } from './policy/speculate.js'
export type { CostPoint, Speculate, SpeculationLoad, SpeculationShapes, SpeculationSnapshot, Survival } from './policy/speculate.js'
export type {
  DemandView,
  Plan,
  PlanLimits,
  PlannedRow,
  PolicyPoint,
  PoolView,
  ProbeView,
  RequestView,
  Retention,
  Scheduler,
  SessionActivity,
  SessionView,
  Snapshot,
} from './policy/types.js'
export { namedMarkers, openPanguMarkers, parseOutput } from './text/output_parser.js'
export type { OutputMarkers, OutputPart } from './text/output_parser.js'
export type { MalformedCall, ParsedCall, ToolCallText } from './text/tool_calls.js'
export type { CompressCosts, CompressOptions, ContextPiece, GateVerdict, SwapPlan } from './policy/compress.js'
export type { ModelSize } from './policy/compress_costs.js'
export type { RankOptions, SearchResult } from './policy/observe.js'
export type { CollabOptions, CustomRoute, RouteDecision, RouteName, RouteReason, Routed, Router, StepSignals, StuckSensor, Which, WrittenSignals } from './policy/route.js'
