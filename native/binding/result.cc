#include "binding/result.h"

#include <algorithm>
#include <cstddef>
#include <type_traits>

#include "binding/convert.h"
#include "kv/prefix_index.h"

namespace agentinfer {
namespace {

template <typename Names>
Napi::Array names(Napi::Env env, const Names& list) {
  Napi::Array array = Napi::Array::New(env, list.size());
  for (uint32_t i = 0; i < list.size(); ++i) array[i] = Napi::String::New(env, list[i]);
  return array;
}

// Those of an enum's values [0, count), in order.
template <typename Kind>
std::vector<std::string> kind_names(int count, std::string_view (*name)(Kind)) {
  std::vector<std::string> list;
  for (int kind = 0; kind < count; ++kind) list.emplace_back(name(static_cast<Kind>(kind)));
  return list;
}

Napi::Value ints(Napi::Env env, const std::vector<int32_t>& values) {
  return to_int32_array(env, values.data(), values.size());
}

// The arrays of one result lie in one buffer: taking memory for each costs more than filling it.
class Pack {
 public:
  // `bytes`: of all arrays to come.
  Pack(Napi::Env env, size_t bytes) : env_(env), buffer_(Napi::ArrayBuffer::New(env, bytes)) {}

  // REQUIRES: arrays of larger elements come first.
  template <typename Array, typename Values>
  Array copy(const Values& values) {
    const size_t bytes = values.size() * sizeof(values[0]);
    std::copy_n(values.data(), values.size(),
                reinterpret_cast<std::remove_cvref_t<decltype(values[0])>*>(
                    static_cast<std::byte*>(buffer_.Data()) + used_));
    Array array = Array::New(env_, values.size(), buffer_, used_);
    used_ += bytes;
    return array;
  }

 private:
  Napi::Env env_;
  Napi::ArrayBuffer buffer_;
  size_t used_ = 0;
};

double number(size_t value) {
  return static_cast<double>(value);
}

}  // namespace

EngineInfo engine_info(LoadedEngine& engine) {
  const RankedDecoder& decoder = engine.decoder();
  const DecoderOptions& options = decoder.options();
  return {.config = engine.config(),
          .device = engine.device().name,
          .device_note = engine.device().note,
          .isa = engine.chip().name,
          .ranks = decoder.size(),
          .threads = engine.chip().threads,
          .blocks = options.blocks,
          .host_blocks = options.host_blocks,
          .block_size = options.block_size,
          .max_context = engine.engine().max_context(),
          .max_batch_tokens = options.shape.max_rows,
          .max_sequences = options.shape.max_sequences,
          .weight_bytes = decoder.weight_bytes(),
          .kv_bytes = decoder.kv_bytes(),
          .workspace_bytes = decoder.workspace_bytes()};
}

Napi::Object to_js(Napi::Env env, const EngineInfo& info) {
  Napi::Object object = Napi::Object::New(env);
  object["config"] = to_js(env, info.config);
  object["device"] = info.device;
  object["deviceNote"] = info.device_note;
  object["isa"] = info.isa;
  object["tensorParallel"] = info.ranks;
  object["threads"] = info.threads;
  object["blocks"] = info.blocks;
  object["hostBlocks"] = info.host_blocks;
  object["blockSize"] = info.block_size;
  object["maxContext"] = static_cast<double>(info.max_context);
  object["maxBatchTokens"] = info.max_batch_tokens;
  object["maxSequences"] = info.max_sequences;
  object["weightBytes"] = number(info.weight_bytes);
  object["kvBytes"] = number(info.kv_bytes);
  object["workspaceBytes"] = number(info.workspace_bytes);
  return object;
}

Napi::Object to_js(Napi::Env env, const ModelConfig& config) {
  Napi::Object object = Napi::Object::New(env);
  object["architecture"] = config.architecture_name;
  object["hiddenSize"] = static_cast<double>(config.hidden_size);
  object["layers"] = static_cast<double>(config.num_hidden_layers);
  object["heads"] = static_cast<double>(config.num_attention_heads);
  object["kvHeads"] = static_cast<double>(config.num_key_value_heads);
  object["headDim"] = static_cast<double>(config.head_dim);
  object["intermediateSize"] = static_cast<double>(config.intermediate_size);
  object["vocabSize"] = static_cast<double>(config.vocab_size);
  object["maxPositionEmbeddings"] = static_cast<double>(config.max_position_embeddings);
  object["ropeTheta"] = config.rope_theta;
  object["rmsNormEps"] = config.rms_norm_eps;
  object["qkvBias"] = config.qkv_bias;
  object["oBias"] = config.o_bias;
  object["mlpBias"] = config.mlp_bias;
  object["qkNorm"] = config.qk_norm;
  object["sandwichNorm"] = config.sandwich_norm;
  object["tieWordEmbeddings"] = config.tie_word_embeddings;
  object["dtype"] = std::string(dtype_name(config.torch_dtype));
  object["w8a8"] = config.quantized_w8a8;
  object["bosTokenId"] = config.bos_token_id;
  object["padTokenId"] = config.pad_token_id;
  object["eosTokenIds"] = ints(env, config.eos_token_ids);
  return object;
}

Napi::Object to_js(Napi::Env env, const StepResult& result) {
  Napi::Object object = Napi::Object::New(env);
  const auto bytes = [](const auto&... values) { return ((values.size() * sizeof(values[0])) + ...); };
  Pack pack(env, bytes(result.phases, result.draft_memory, result.outcomes, result.tokens, result.probes,
                       result.misses, result.pool, result.demand, result.drafts, result.logprobs,
                       result.top_counts, result.top_ids, result.top_logprobs));
  object["phases"] = pack.copy<Napi::Float64Array>(result.phases);
  object["draftMemory"] = pack.copy<Napi::Float64Array>(result.draft_memory);
  object["outcomes"] = pack.copy<Napi::Int32Array>(result.outcomes);
  object["tokens"] = pack.copy<Napi::Int32Array>(result.tokens);
  object["probes"] = pack.copy<Napi::Int32Array>(result.probes);
  object["misses"] = pack.copy<Napi::Int32Array>(result.misses);
  object["pool"] = pack.copy<Napi::Int32Array>(result.pool);
  object["demand"] = pack.copy<Napi::Int32Array>(result.demand);
  object["drafts"] = pack.copy<Napi::Int32Array>(result.drafts);
  if (!result.notices.empty()) object["notices"] = names(env, result.notices);
  if (!result.logprobs.empty()) {
    object["logprobs"] = pack.copy<Napi::Float32Array>(result.logprobs);
    object["topCounts"] = pack.copy<Napi::Int32Array>(result.top_counts);
    object["topIds"] = pack.copy<Napi::Int32Array>(result.top_ids);
    object["topLogprobs"] = pack.copy<Napi::Float32Array>(result.top_logprobs);
  }
  if (!result.errors.empty()) {
    Napi::Array errors = Napi::Array::New(env, result.errors.size());
    for (uint32_t i = 0; i < result.errors.size(); ++i)
      errors[i] = to_js_error(env, result.errors[i].code, result.errors[i].message).Value();
    object["errors"] = errors;
  }
  if (!result.unhealthy.empty()) object["unhealthy"] = result.unhealthy;
  object["repeat"] = result.repeat;
  object["gap"] = result.gap;
  object["held"] = result.held;
  object["more"] = result.more;
  return object;
}

Napi::Object to_js(Napi::Env env, const MemoryPlan& plan) {
  Napi::Object object = Napi::Object::New(env);
  Napi::Array items = Napi::Array::New(env, plan.items.size());
  for (uint32_t i = 0; i < plan.items.size(); ++i) {
    Napi::Object item = Napi::Object::New(env);
    item["name"] = plan.items[i].name;
    item["bytes"] = number(plan.items[i].bytes);
    item["detail"] = plan.items[i].detail;
    items[i] = item;
  }
  object["items"] = items;
  object["total"] = number(plan.total);
  return object;
}

Napi::Object contract(Napi::Env env) {
  Napi::Object object = Napi::Object::New(env);
  object["planRow"] = names(env, kPlanRow);
  object["planPreempt"] = names(env, kPlanPreempt);
  object["planRetain"] = names(env, kPlanRetain);
  object["planPrefetch"] = names(env, kPlanPrefetch);
  object["planDraft"] = names(env, kPlanDraft);
  object["outcome"] = names(env, kOutcome);
  object["probe"] = names(env, kProbe);
  object["miss"] = names(env, kMiss);
  object["pool"] = names(env, kPool);
  object["demand"] = names(env, kDemand);
  object["draft"] = names(env, kDraft);
  object["draftMemory"] = names(env, kDraftMemory);
  object["phases"] = names(env, kPhases);
  std::vector<std::string> sources = kind_names(kSourceKinds, source_kind_name);
  sources.emplace_back("supplied");
  object["draftSources"] = names(env, sources);
  object["outcomeKinds"] = names(env, kOutcomeKinds);
  object["finishReasons"] = names(env, kFinishReasons);
  object["missCauses"] = names(env, kind_names(kMissCauses, miss_cause_name));
  return object;
}

}  // namespace agentinfer
