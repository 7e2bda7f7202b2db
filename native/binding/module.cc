// The addon: what lib/native.ts declares.

#include <napi.h>

#include <string>
#include <vector>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/limits.h"
#include "binding/card_plan.h"
#include "binding/convert.h"
#include "binding/engine_object.h"
#include "binding/instance.h"
#include "binding/npu_report.h"
#include "binding/quantize_task.h"
#include "binding/result.h"
#include "binding/task.h"
#include "binding/tokenizer_object.h"
#include "engine/loaded_engine.h"
#include "model/tensor_names.h"

namespace agentinfer {
namespace {

struct Inspection {
  ModelConfig config;
  MemoryPlan plan;
  struct Tensor {
    std::string name, dtype, shape;
    size_t bytes = 0;
  };
  std::vector<Tensor> tensors;
};

Inspection inspect_folder(const EngineOptions& options, bool plan_only) {
  Inspection found;
  found.config = read_model_config(options.folder);
  const DeviceChoice device = planned_device(options.device);
  found.plan = plan_memory(found.config, options_for(device, options),
                           device.npus.empty() ? available_memory(device, options.tensor_parallel) : 0);
  if (plan_only) return found;
  const Checkpoint checkpoint(options.folder);
  check_tensors(found.config, checkpoint);
  for (const std::string& name : checkpoint.names()) {
    const TensorView& tensor = *checkpoint.find(name);
    found.tensors.push_back(
        {name, std::string(dtype_name(tensor.dtype)), shape_string(tensor.shape), tensor.data.size()});
  }
  return found;
}

// inspect(options): Promise<{config, plan, tensors}>; with options.planOnly from config.json alone, without
// tensors
Napi::Value inspect(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const EngineOptions options = engine_options(info[0].As<Napi::Object>());
    const bool plan_only = bool_field(info[0].As<Napi::Object>(), "planOnly", false);
    return run_task<Inspection>(
        info.Env(), [options, plan_only] { return inspect_folder(options, plan_only); },
        [](Napi::Env env, Inspection& found) -> Napi::Value {
          Napi::Object object = Napi::Object::New(env);
          object["config"] = to_js(env, found.config);
          object["plan"] = to_js(env, found.plan);
          Napi::Array tensors = Napi::Array::New(env, found.tensors.size());
          for (uint32_t i = 0; i < found.tensors.size(); ++i) {
            Napi::Object tensor = Napi::Object::New(env);
            tensor["name"] = found.tensors[i].name;
            tensor["dtype"] = found.tensors[i].dtype;
            tensor["shape"] = found.tensors[i].shape;
            tensor["bytes"] = static_cast<double>(found.tensors[i].bytes);
            tensors[i] = tensor;
          }
          object["tensors"] = tensors;
          return object;
        });
  });
}

// cpu(): { isas, threads }
Napi::Value cpu(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Napi::Object object = Napi::Object::New(info.Env());
    const std::vector<std::string> isas = available_isas();
    Napi::Array list = Napi::Array::New(info.Env(), isas.size());
    for (uint32_t i = 0; i < isas.size(); ++i) list[i] = Napi::String::New(info.Env(), isas[i]);
    object["isas"] = list;
    object["threads"] = default_threads();
    return object;
  });
}

// limits({threads, isa, samples}): Promise<{readBytesPerSecond, flopsPerSecond, int8OpsPerSecond}>
Napi::Value limits(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const Napi::Object options = info[0].As<Napi::Object>();
    const int threads = int32_field(options, "threads", 0);
    const int samples = int32_field(options, "samples", 5);
    return run_task<MachineLimits>(
        info.Env(),
        [threads, samples, isa = string_field(options, "isa", "")] {
          return measure_limits(threads, isa, samples);
        },
        [](Napi::Env env, MachineLimits& measured) -> Napi::Value {
          Napi::Object object = Napi::Object::New(env);
          object["readBytesPerSecond"] = measured.read_bytes_per_s;
          object["flopsPerSecond"] = measured.fma_flops_per_s;
          object["int8OpsPerSecond"] = measured.int8_ops_per_s;
          return object;
        });
  });
}

Napi::Object initialise(Napi::Env env, Napi::Object exports) {
  auto* instance = new Instance;  // owned by the environment
  env.SetInstanceData(instance);
  const Napi::Function engine = EngineObject::define(env), tokenizer = TokenizerObject::define(env),
                       detokenizer = DetokenizerObject::define(env);
  instance->engine = Napi::Persistent(engine);
  instance->tokenizer = Napi::Persistent(tokenizer);
  instance->detokenizer = Napi::Persistent(detokenizer);
  exports["NativeEngine"] = engine;
  exports["openTokenizer"] = Napi::Function::New(env, TokenizerObject::open);
  exports["inspect"] = Napi::Function::New(env, inspect);
  exports["planCard"] = Napi::Function::New(env, card_plan);
  exports["quantize"] = Napi::Function::New(env, quantize);
  exports["cpu"] = Napi::Function::New(env, cpu);
  exports["npu"] = Napi::Function::New(env, npu_report);
  exports["limits"] = Napi::Function::New(env, limits);
  exports["contract"] = contract(env);
  return exports;
}

}  // namespace
}  // namespace agentinfer

static Napi::Object initialise_module(Napi::Env env, Napi::Object exports) {
  return agentinfer::initialise(env, exports);
}
NODE_API_MODULE(agentinfer, initialise_module)
