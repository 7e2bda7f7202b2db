#include "binding/engine_object.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "binding/convert.h"
#include "binding/engine_thread.h"

namespace agentinfer {
namespace {

DType kv_dtype(const std::string& name) {
  if (name == "f16") return DType::kF16;
  if (name == "f32") return DType::kF32;
  fail(ErrorCode::kInvalidArgument, "kvDtype: expected 'f16' or 'f32', got '", name, "'");
}

SelfCheck self_check(const std::string& name) {
  if (name == "off") return SelfCheck::kOff;
  if (name == "warn") return SelfCheck::kWarn;
  if (name == "error") return SelfCheck::kError;
  fail(ErrorCode::kInvalidArgument, "selfCheck: expected 'warn', 'error' or 'off', got '", name, "'");
}

WeightFormat weight_format(const std::string& name) {
  if (name == "bf16") return WeightFormat::kBF16;
  if (name == "int8") return WeightFormat::kW8A8;
  fail(ErrorCode::kInvalidArgument, "weights: expected 'bf16' or 'int8', got '", name, "'");
}

int milliseconds(const Napi::Object& object, const char* key, double fallback_seconds) {
  constexpr double kMostSeconds = 1e6;
  const double seconds = number_field(object, key, fallback_seconds);
  if (!(seconds > 0 && seconds <= kMostSeconds))
    fail(ErrorCode::kInvalidArgument, key, ": expected seconds above 0 and at most ", kMostSeconds, ", got ",
         seconds);
  return std::max(1, static_cast<int>(seconds * 1000));
}

// The bytes are for sessions' texts and for stored sessions, half each.
SpeculatorOptions speculator_options(const Napi::Object& object) {
  SpeculatorOptions options;
  options.engine_name = string_field(object, "engineName", "");
  options.directory = string_field(object, "directory", "");
  options.memory.siblings = int32_field(object, "siblings", options.memory.siblings);
  options.memory.retrieved = int32_field(object, "retrieved", options.memory.retrieved);
  const auto bytes = size_field(object, "memoryBytes", 0);
  options.memory.session_bytes = options.memory.store.byte_budget = bytes / 2;
  options.memory.session = options.memory.role = bytes > 0;
  if (bytes == 0) options.memory.retrieved = 0;
  return options;
}

}  // namespace

EngineOptions engine_options(const Napi::Object& object) {
  EngineOptions options;
  options.folder = string_field(object, "folder", "");
  options.device = string_field(object, "device", "cpu");
  options.graphs = bool_field(object, "graphs", true);
  options.nz = bool_field(object, "nz", false);
  options.self_check = self_check(string_field(object, "selfCheck", "off"));
  options.device_timeout_ms = milliseconds(object, "deviceTimeout", 120);
  options.threads = int32_field(object, "threads", 0);
  options.isa = string_field(object, "isa", "");
  options.tensor_parallel = int32_field(object, "tensorParallel", options.tensor_parallel);
  options.weights = weight_format(string_field(object, "weights", "bf16"));
  options.kv_dtype = kv_dtype(string_field(object, "kvDtype", "f16"));
  options.max_context = integer_field(object, "maxContext", 0);
  options.kv_tokens = integer_field(object, "kvTokens", 0);
  options.host_kv_bytes = size_field(object, "hostKvBytes", 0);
  options.block_size = int32_field(object, "blockSize", 0);
  options.max_batch_tokens = int32_field(object, "maxBatchTokens", options.max_batch_tokens);
  options.max_sequences = int32_field(object, "maxSequences", options.max_sequences);
  options.speculate = object.Get("speculation").IsObject();
  if (options.speculate)
    options.speculation = speculator_options(object.Get("speculation").As<Napi::Object>());
  return options;
}

namespace {

SpeculationSpec speculation_spec(const Napi::Object& object) {
  SpeculationSpec spec;
  spec.enabled = true;
  spec.session = bool_field(object, "session", true);
  spec.origin.tenant = string_field(object, "tenant", "");
  spec.origin.session = string_field(object, "conversation", "");
  spec.origin.run = string_field(object, "run", "");
  spec.origin.role = string_field(object, "role", "");
  spec.origin.query = string_field(object, "query", "");
  for (const double value : float64_array_field(object, "vector"))
    spec.origin.vector.push_back(static_cast<float>(value));
  return spec;
}

SamplingParams sampling_params(const Napi::Object& object) {
  SamplingParams params;
  params.temperature = static_cast<float>(number_field(object, "temperature", params.temperature));
  params.top_k = int32_field(object, "topK", params.top_k);
  params.top_p = static_cast<float>(number_field(object, "topP", params.top_p));
  params.min_p = static_cast<float>(number_field(object, "minP", params.min_p));
  params.repetition_penalty =
      static_cast<float>(number_field(object, "repetitionPenalty", params.repetition_penalty));
  params.presence_penalty =
      static_cast<float>(number_field(object, "presencePenalty", params.presence_penalty));
  params.frequency_penalty =
      static_cast<float>(number_field(object, "frequencyPenalty", params.frequency_penalty));
  params.allowed_ids = int32_array_field(object, "allowedIds");
  params.forced = int32_array_field(object, "forced");
  params.stop_ids = int32_array_field(object, "stopIds");
  params.min_tokens = integer_field(object, "minTokens", 0);
  params.seed = static_cast<uint64_t>(integer_field(object, "seed", 0));
  params.logprobs = bool_field(object, "logprobs", false);
  params.top_logprobs = int32_field(object, "topLogprobs", 0);
  params.logprob_ids = int32_array_field(object, "logprobIds");
  const std::vector<int32_t> bias_ids = int32_array_field(object, "biasIds");
  const std::vector<double> bias = float64_array_field(object, "bias");
  if (bias.size() != bias_ids.size())
    fail(ErrorCode::kInvalidArgument, "bias: expected as many values as biasIds (", bias_ids.size(),
         "), got ", bias.size());
  for (size_t i = 0; i < bias.size(); ++i)
    params.logit_bias.push_back({bias_ids[i], static_cast<float>(bias[i])});
  return params;
}

template <size_t stride>
std::vector<int32_t> records(const Napi::Object& object, const char* key) {
  std::vector<int32_t> values = int32_array_field(object, key);
  if (values.size() % stride != 0)
    fail(ErrorCode::kInvalidArgument, key, ": expected records of ", stride, " values, got ", values.size(),
         " values");
  return values;
}

std::vector<double> retain_records(const Napi::Object& object) {
  std::vector<double> values = float64_array_field(object, "retain");
  const auto integer_in = [](double value, double low, double high) {
    return value >= low && value <= high && std::trunc(value) == value;
  };
  if (values.size() % kPlanRetain.size() != 0)
    fail(ErrorCode::kInvalidArgument, "retain: expected records of ", kPlanRetain.size(), " values, got ",
         values.size(), " values");
  for (size_t i = 0; i < values.size(); i += kPlanRetain.size())
    if (!integer_in(values[i], 0, 9007199254740991.0) || !integer_in(values[i + 1], 0, 255) ||
        std::isnan(values[i + 2]))
      fail(ErrorCode::kInvalidArgument,
           "retain: expected a session of at least 0, a class from 0 to 255 and a time, got ", values[i],
           ", ", values[i + 1], " and ", values[i + 2]);
  return values;
}

}  // namespace

Napi::Function EngineObject::define(Napi::Env env) {
  return DefineClass(env, "NativeEngine",
                     {
                         InstanceMethod<&EngineObject::add>("add"),
                         InstanceMethod<&EngineObject::remove>("remove"),
                         InstanceMethod<&EngineObject::forget>("forget"),
                         InstanceMethod<&EngineObject::step>("step"),
                         InstanceMethod<&EngineObject::interrupt>("interrupt"),
                         InstanceMethod<&EngineObject::check>("check"),
                         InstanceMethod<&EngineObject::close>("close"),
                         InstanceMethod<&EngineObject::ref>("ref"),
                         InstanceMethod<&EngineObject::unref>("unref"),
                     });
}

EngineObject::EngineObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<EngineObject>(info) {
  guarded(info.Env(), [&] {
    if (!info[0].IsObject() || !info[1].IsFunction())
      fail(ErrorCode::kInvalidArgument, "NativeEngine(options, callback)");
    thread_ = EngineThread::start(info.Env(), info[1].As<Napi::Function>(),
                                  engine_options(info[0].As<Napi::Object>()));
  });
}

// Collected without close(): the thread ends by itself and lets go of the link.
EngineObject::~EngineObject() {
  if (thread_ != nullptr) thread_->close();
}

Napi::Value EngineObject::add(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const Napi::Object object = info[0].As<Napi::Object>();
    SequenceSpec spec;
    spec.id = int32_field(object, "id", 0);
    spec.session = integer_field(object, "session", -1);
    spec.salt = static_cast<uint64_t>(integer_field(object, "salt", 0));
    spec.tokens = int32_array_field(object, "tokens");
    spec.max_tokens = integer_field(object, "maxTokens", 0);
    spec.sampling = sampling_params(object.Get("sampling").As<Napi::Object>());
    if (object.Get("speculation").IsObject())
      spec.speculation = speculation_spec(object.Get("speculation").As<Napi::Object>());
    thread_->add(std::move(spec));
    return info.Env().Undefined();
  });
}

Napi::Value EngineObject::remove(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    thread_->remove(info[0].As<Napi::Number>().Int32Value());
    return info.Env().Undefined();
  });
}

Napi::Value EngineObject::forget(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    thread_->forget(info[0].As<Napi::Number>().Int64Value());
    return info.Env().Undefined();
  });
}

Napi::Value EngineObject::step(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const Napi::Object object = info[0].As<Napi::Object>();
    auto plan = std::make_unique<StepPlan>();
    plan->now = number_field(object, "now", 0);
    plan->rows = records<kPlanRow.size()>(object, "rows");
    plan->preempt = records<kPlanPreempt.size()>(object, "preempt");
    plan->retain = retain_records(object);
    plan->prefetch = records<kPlanPrefetch.size()>(object, "prefetch");
    plan->drafts = records<kPlanDraft.size()>(object, "drafts");
    plan->draft_tokens = int32_array_field(object, "draftTokens");
    plan->probe = int32_array_field(object, "probe");
    plan->demand = bool_field(object, "demand", false);
    plan->ahead = int32_field(object, "ahead", 0);
    plan->hold = number_field(object, "hold", 0);
    thread_->step(std::move(plan));
    return info.Env().Undefined();
  });
}

Napi::Value EngineObject::interrupt(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    thread_->interrupt();
    return info.Env().Undefined();
  });
}

Napi::Value EngineObject::check(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    thread_->check();
    return info.Env().Undefined();
  });
}

Napi::Value EngineObject::close(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    thread_->close();
    return info.Env().Undefined();
  });
}

Napi::Value EngineObject::ref(const Napi::CallbackInfo& info) {
  thread_->ref(info.Env());
  return info.Env().Undefined();
}

Napi::Value EngineObject::unref(const Napi::CallbackInfo& info) {
  thread_->unref(info.Env());
  return info.Env().Undefined();
}

}  // namespace agentinfer
