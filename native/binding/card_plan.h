#pragma once
// planCard(config: string, options): the memory of one card of a group, from the text of a config.json.

#include <napi.h>

namespace agentinfer {

Napi::Value card_plan(const Napi::CallbackInfo& info);

}  // namespace agentinfer
