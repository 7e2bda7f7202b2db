#pragma once
// npu(): what CANN and the NPUs of this host look like, for `doctor`.

#include <napi.h>

namespace agentinfer {

// npu(): Promise<NpuReport>, lib/native.ts. Opens CANN on a thread of the pool, if it is there; never rejects
// for what it finds.
Napi::Value npu_report(const Napi::CallbackInfo& info);

}  // namespace agentinfer
