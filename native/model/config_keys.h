#pragma once
// Which keys of config.json are understood or known to be harmless; everything else is refused by name,
// because a key that we do not know may belong to a network that we would run wrongly.

#include "model/config.h"
#include "model/config_values.h"

namespace agentinfer {

// Throws kModelUnsupported naming every key (with its value) that is neither known for `architecture` nor
// null, and every key known to be harmless only at one value (is_causal: true) that has another.
void refuse_unknown_keys(const ConfigValues& config, Architecture architecture);

}  // namespace agentinfer
