/**
 * Stable error codes. The first group comes from native code (native/tensor/check.h); the second is raised in TypeScript.
 * A code never changes its meaning; messages may.
 */
export const errorCodes = [
  'ERR_INVALID_ARGUMENT',
  'ERR_MODEL_INVALID',
  'ERR_MODEL_UNSUPPORTED',
  'ERR_IO',
  'ERR_OUT_OF_MEMORY',
  'ERR_DEVICE',
  'ERR_ABORTED',
  'ERR_CLOSED',
  'ERR_INTERNAL',

  'ERR_ADDON_NOT_FOUND',
  'ERR_BUSY',
  'ERR_CHAT_TEMPLATE',
  'ERR_CONTEXT_LENGTH',
  'ERR_DEADLINE',
  'ERR_SCHEDULER',
] as const

/** One of `errorCodes`. */
export type ErrorCode = (typeof errorCodes)[number]

const brand = Symbol.for('agentinfer.error')

/**
 * The one error class of the package. `code` is stable and meant for programs; `message` says what was expected and what
 * came, and is meant for people; `cause` is the error underneath, if any. `instanceof` works across two copies of the package.
 */
export class AgentInferError extends Error {
  /** What programs decide on; its meaning never changes. */
  readonly code: ErrorCode
  /** Facts behind the error that a program may use, such as the memory plan of `ERR_OUT_OF_MEMORY`. */
  readonly details: Readonly<Record<string, unknown>> | undefined

  /** `details`: facts that a program may use. */
  constructor(
    code: ErrorCode,
    message: string,
    options: { cause?: unknown; details?: Record<string, unknown> } = {},
  ) {
    super(message, 'cause' in options ? { cause: options.cause } : undefined)
    this.name = 'AgentInferError'
    this.code = code
    this.details = options.details
    Object.defineProperty(this, brand, { value: true })
  }

  /** True for errors of any copy of this package, such as the one that `require` loaded. */
  static override [Symbol.hasInstance](value: unknown): boolean {
    return typeof value === 'object' && value !== null && (value as Record<symbol, unknown>)[brand] === true
  }
}

const codeSet: ReadonlySet<string> = new Set(errorCodes)

/** Turns what native code threw (an Error with `code`) into an AgentInferError; anything else is returned as it is. */
export function fromNative(error: unknown): unknown {
  if (error instanceof AgentInferError || !(error instanceof Error)) return error
  const code = (error as { code?: unknown }).code
  if (typeof code !== 'string' || !codeSet.has(code)) return error
  return new AgentInferError(code as ErrorCode, error.message, { cause: error })
}
