#pragma once
// The rotary embedding's part of config.json, in both spellings: rope_theta with rope_scaling, and
// rope_parameters.

#include "model/config.h"
#include "model/config_values.h"

namespace agentinfer {

// Sets config.rope_theta and config.rope_scaling. REQUIRES: config.architecture is set. Throws kModelInvalid
// (contradictions, ranges) and kModelUnsupported (a scaling type other than "default" and "llama3").
void read_rope(const ConfigValues& values, ModelConfig& config);

}  // namespace agentinfer
