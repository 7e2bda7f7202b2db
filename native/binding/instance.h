#pragma once
// What one Node environment (the main thread, or a worker_thread) holds: its class constructors. No state is
// shared between environments.

#include <napi.h>

namespace agentinfer {

struct Instance {
  Napi::FunctionReference engine, tokenizer, detokenizer;
  static Instance& of(Napi::Env env) { return *env.GetInstanceData<Instance>(); }
};

}  // namespace agentinfer
