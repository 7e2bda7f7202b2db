import { fromNative } from './errors.js'
import { native } from './native.js'
import type { MachineLimits } from './native.js'
import { refuseUnknown } from './option_schemas.js'

/**
 * Measures what this machine can do at most, for a figure to be put beside. Other load shows in a sample: measure in the same minutes as
 * what it is compared to. `threads` 0, the default: the cores this process may use; `isa`: see `agentinfer doctor`, default the best;
 * `samples`: default 5, medians are returned. Takes some seconds and 256 MiB, on threads beside the event loop.
 * @throws {AgentInferError} `ERR_INVALID_ARGUMENT` for an option that there is not, or an instruction set this machine does not have.
 */
export async function measureLimits(options: { threads?: number; isa?: string; samples?: number } = {}): Promise<MachineLimits> {
  refuseUnknown(options, ['threads', 'isa', 'samples'], 'measureLimits')
  try {
    return await native().limits(options)
  } catch (error) {
    throw fromNative(error)
  }
}
