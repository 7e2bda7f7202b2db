export { AgentInferError, errorCodes } from './errors.js'
export type { ErrorCode } from './errors.js'
export { Engine } from './engine/engine.js'
export type { EngineInfo } from './engine/engine.js'
export type { LoopStats } from './engine/loop.js'
export { Session } from './engine/session.js'
export type { PrefillResult, SessionStats } from './engine/session.js'
export type { FinishReason, GenerationResponse, Timings, Usage } from './engine/request.js'
export type { Delta, GenerationStream, TokenLogprob } from './engine/stream.js'
export { measureLimits } from './limits.js'
export type { MachineLimits } from './native.js'
export type {
  EngineOptions,
  GenerateOptions,
  Message,
  RetainOptions,
  SamplingOptions,
  SessionGenerateOptions,
  SessionInput,
  SessionOptions,
  SessionPrefillOptions,
} from './options.js'
export type { SessionActivity } from './policy/types.js'
