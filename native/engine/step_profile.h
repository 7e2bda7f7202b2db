#pragma once
// Measures how long steps take on the running backend, before there is anything to run: a few layers for a
// few row counts, scaled up to the whole model by the bytes of weights. Cheap (for 1 GB of weights about a
// tenth of a second), so a start: StepCost refines itself by every step.

#include "draft/step_cost.h"
#include "model/decoder.h"
#include "model/weights.h"

namespace agentinfer {

// REQUIRES: no sequence has KV yet (block 0 and some behind it are written to). With several ranks only the
// caller's works: what the ranks tell each other is not in the figures.
StepCost profile_step_cost(Decoder& decoder, const Weights& weights);

}  // namespace agentinfer
