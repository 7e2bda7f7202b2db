import { fromNative } from './errors.js'
import { native } from './native.js'
import type { MachineLimits } from './native.js'

/**
 * Measures what this machine can do at most, for a figure to be put beside. Other load shows in a sample: measure in the same minutes as
 * what it is compared to. `threads` 0: the cores this process may use; `isa`: see `agentinfer doctor`, default the best.
 * @throws {AgentInferError} `ERR_INVALID_ARGUMENT` for an instruction set this machine does not have.
 */
export async function measureLimits(options: { threads?: number; isa?: string; samples?: number } = {}): Promise<MachineLimits> {
  try {
    return await native().limits(options)
  } catch (error) {
    throw fromNative(error)
  }
}
