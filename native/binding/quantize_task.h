#pragma once
// quantize({source, target, threads}, onProgress): {done: Promise<{...}>, abort()} in lib/native.ts.

#include <napi.h>

namespace agentinfer {

Napi::Value quantize(const Napi::CallbackInfo& info);

}  // namespace agentinfer
