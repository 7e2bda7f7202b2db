#pragma once
// What comes up, as JavaScript objects of typed arrays; field names as in lib/native.ts.

#include <napi.h>

#include <string>
#include <vector>

#include "engine/loaded_engine.h"
#include "engine/step.h"
#include "model/config.h"
#include "model/memory_plan.h"

namespace agentinfer {

// Facts about an opened engine, gathered on its thread.
struct EngineInfo {
  ModelConfig config;
  std::string device, device_note, isa;
  int ranks = 1;
  int threads = 0;
  int blocks = 0, host_blocks = 0, block_size = 0;
  int64_t max_context = 0;
  int max_batch_tokens = 0, max_sequences = 0;
  size_t weight_bytes = 0, kv_bytes = 0, workspace_bytes = 0;
};
EngineInfo engine_info(LoadedEngine& engine);

Napi::Object to_js(Napi::Env env, const EngineInfo& info);
Napi::Object to_js(Napi::Env env, const ModelConfig& config);
Napi::Object to_js(Napi::Env env, const StepResult& result);
Napi::Object to_js(Napi::Env env, const MemoryPlan& plan);
// Field orders and strides of the step contract, for the test that compares both halves.
Napi::Object contract(Napi::Env env);

}  // namespace agentinfer
