#include "engine/loaded_engine.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "backend/ascend/ascend_backend.h"
#include "engine/first_layers.h"
#include "engine/self_check.h"
#include "engine/step_profile.h"
#include "model/shards.h"
#include "model/tensor_names.h"
#include "parallel/thread_group.h"
#include "tensor/check.h"
#include "tensor/mapped_file.h"

namespace agentinfer {
namespace {

constexpr int64_t kDefaultContext = 8192;
constexpr int64_t kDefaultContexts = 4;  // full contexts the default KV pool has room for
constexpr int kMaxLogitRows = 128;       // the head runs in parts of so many rows
constexpr size_t kMaxHostBlocks = size_t{1} << 26;

int64_t blocks_for(int64_t tokens, int block_size) {
  return (tokens + block_size - 1) / block_size;
}

void require_range(const char* name, int64_t value, int64_t low, int64_t high) {
  if (value < low || value > high)
    fail(ErrorCode::kInvalidArgument, name, " must be in [", low, ", ", high, "], got ", value);
}

void check_options(const EngineOptions& options) {
  require_range("blockSize", options.block_size, 16, 256);
  if (options.block_size % 16 != 0)
    fail(ErrorCode::kInvalidArgument, "blockSize must be a multiple of 16, got ", options.block_size);
  require_range("maxBatchTokens", options.max_batch_tokens, 16, 16384);
  require_range("maxSequences", options.max_sequences, 1, 1024);
  require_range("maxContext", options.max_context, 0, int64_t{1} << 24);
  require_range("tensorParallel", options.tensor_parallel, 1, 64);
  require_range("kvTokens", options.kv_tokens, 0, int64_t{1} << 30);
}

MemoryRequest memory_request(const ModelConfig& config, const EngineOptions& options, const StepShape& shape,
                             int64_t kv_tokens) {
  MemoryRequest request;
  request.ranks = options.tensor_parallel;
  request.int8 = options.weights == WeightFormat::kW8A8 || config.quantized_w8a8;
  request.cpu_threads =
      options.own_memory ? 0 : thread_count(threads_of_rank(options.threads, options.tensor_parallel, 0));
  request.kv_dtype = options.kv_dtype;
  request.kv_tokens = kv_tokens;
  request.host_kv_bytes = options.host_kv_bytes / static_cast<size_t>(options.tensor_parallel);
  request.max_rows = shape.max_rows;
  request.max_logit_rows = shape.max_logit_rows;
  return request;
}

// Of the plan, what must be available where the rank runs.
size_t bytes_needed(const MemoryPlan& plan, const EngineOptions& options) {
  return options.own_memory ? plan.total - plan.on_host : plan.total;
}

// The default pool takes at most half of what is left behind the weights and the workspace.
int64_t default_kv_tokens(const ModelConfig& config, const EngineOptions& options, const StepShape& shape,
                          size_t available) {
  const int64_t wished = kDefaultContexts * shape.max_context;
  if (available == 0) return wished;
  const size_t fixed = bytes_needed(plan_memory(config, memory_request(config, options, shape, 0)), options);
  const size_t left = available > fixed ? (available - fixed) / 2 : 0;
  const auto affordable =
      static_cast<int64_t>(left / kv_bytes_per_token(config, options.tensor_parallel, options.kv_dtype));
  return std::clamp(affordable, std::min<int64_t>(wished, shape.max_context), wished);
}

// Stored token ids mean nothing to another tokenizer. FNV-1a over whole words of its files.
uint64_t tokenizer_fingerprint(const std::filesystem::path& folder, int64_t vocabulary) {
  uint64_t hash = 14695981039346656037u ^ static_cast<uint64_t>(vocabulary);
  const auto mix = [&](uint64_t word) { hash = (hash ^ word) * 1099511628211u; };
  for (const char* name : {"tokenizer.model", "tokenizer.json", "tokenizer_config.json"}) {
    if (!std::filesystem::exists(folder / name)) continue;
    const MappedFile file(folder / name);
    const auto bytes = file.bytes();
    mix(bytes.size());
    for (size_t at = 0; at < bytes.size(); at += sizeof(uint64_t)) {
      uint64_t word = 0;
      std::memcpy(&word, bytes.data() + at, std::min(sizeof word, bytes.size() - at));
      mix(word);
    }
  }
  return hash;
}

void require_memory(const MemoryPlan& plan, const EngineOptions& options, size_t available) {
  const size_t needed = bytes_needed(plan, options);
  if (available != 0 && needed > available)
    fail(ErrorCode::kOutOfMemory,
         options.tensor_parallel == 1 ? "the model needs " : "each rank of the model needs ",
         needed / 1000000, " MB, ", available / 1000000,
         " MB are available; lower kvTokens, maxContext or maxBatchTokens, or use weights: 'int8'\n",
         memory_plan_text(plan));
}

}  // namespace

EngineSizes resolve_sizes(const ModelConfig& config, const EngineOptions& options, size_t available) {
  check_options(options);
  check_shards(config, options.tensor_parallel);
  EngineSizes sizes;
  // A context above max_position_embeddings is the caller's choice: RoPE is not altered.
  sizes.max_context = options.max_context != 0 ? options.max_context
                                               : std::min(config.max_position_embeddings, kDefaultContext);
  sizes.shape = {.max_rows = options.max_batch_tokens,
                 .max_sequences = options.max_sequences,
                 .max_logit_rows = std::min(options.max_batch_tokens, kMaxLogitRows),
                 .max_context = static_cast<int>(sizes.max_context)};
  const int64_t tokens =
      options.kv_tokens != 0 ? options.kv_tokens : default_kv_tokens(config, options, sizes.shape, available);
  if (tokens < sizes.max_context)
    fail(ErrorCode::kInvalidArgument, "kvTokens (", tokens,
         ") must hold at least one full context (maxContext ", sizes.max_context, ")");
  // One block more than the tokens need: the copy of a partly filled block and its source exist side by side.
  sizes.blocks = static_cast<int>(blocks_for(tokens, options.block_size) + 1);
  const auto ranks = static_cast<size_t>(options.tensor_parallel);
  const KvLayout layout{.layers = static_cast<int>(config.num_hidden_layers),
                        .kv_heads = static_cast<int>(kv_heads_of_rank(config, options.tensor_parallel)),
                        .head_dim = static_cast<int>(config.head_dim),
                        .block_size = options.block_size,
                        .dtype = options.kv_dtype};
  const size_t host_blocks = options.host_kv_bytes / ranks / kv_bytes_per_block(layout);
  if (host_blocks > kMaxHostBlocks)
    fail(ErrorCode::kInvalidArgument, "hostKvBytes must be at most ",
         kMaxHostBlocks * ranks * kv_bytes_per_block(layout), ", got ", options.host_kv_bytes);
  sizes.host_blocks = static_cast<int>(host_blocks);
  return sizes;
}

MemoryPlan plan_memory(const ModelConfig& config, const EngineOptions& options, size_t available) {
  const EngineSizes sizes = resolve_sizes(config, options, available);
  return plan_memory(
      config, memory_request(config, options, sizes.shape, int64_t{sizes.blocks} * options.block_size));
}

LoadedEngine::LoadedEngine(const EngineOptions& wanted)
    : config_(read_model_config(wanted.folder)), device_(choose_device(wanted.device)) {
  const EngineOptions options = options_for(device_, wanted);
  const Checkpoint checkpoint(options.folder);
  check_tensors(config_, checkpoint);
  const size_t available = available_memory(device_, options.tensor_parallel);
  const EngineSizes sizes = resolve_sizes(config_, options, available);
  require_memory(plan_memory(config_, options, available), options, available);

  check_device(options);
  std::optional<FirstLayers> first_layers;
  if (checks_devices(options)) first_layers.emplace(config_, checkpoint, options.weights);
  devices_ = make_devices(device_, options);
  decoder_ = std::make_unique<RankedDecoder>(
      config_, checkpoint, *devices_,
      LoadOptions{.format = options.weights, .on_progress = options.on_progress, .aborted = options.aborted},
      DecoderOptions{.shape = sizes.shape,
                     .kv_dtype = options.kv_dtype,
                     .block_size = options.block_size,
                     .blocks = sizes.blocks,
                     .host_blocks = sizes.host_blocks},
      first_layers
          ? [&](int rank, Weights& weights, Backend& backend,
                Group& group) { first_layers->check(rank, weights, backend, group, options.block_size); }
          : WeightsLook());
  if (first_layers) report(first_layers->result(), options.self_check);
  chip_ = devices_->info();
  engine_ =
      std::make_unique<Engine>(*decoder_, static_cast<int>(config_.vocab_size), make_speculation(options));
}

// Before the memory is taken, on the first of the devices.
void LoadedEngine::check_device(const EngineOptions& options) {
  if (!checks_devices(options)) return;
  const auto backend = make_ascend_backend({.device = device_.npus.front(),
                                            .timeout_ms = options.device_timeout_ms,
                                            .graphs = options.graphs,
                                            .nz = options.nz});
  const WeightFormat format = config_.quantized_w8a8 ? WeightFormat::kW8A8 : options.weights;
  report(self_check(config_, format, *backend, options.block_size), options.self_check);
}

bool LoadedEngine::checks_devices(const EngineOptions& options) const {
  return !device_.npus.empty() && options.self_check != SelfCheck::kOff;
}

void LoadedEngine::report(const SelfCheckResult& result, SelfCheck wanted) {
  if (result.problem.empty()) return;
  if (wanted == SelfCheck::kError) fail(ErrorCode::kDevice, "self-check: ", result.problem);
  device_.note += (device_.note.empty() ? "self-check: " : "; ") + result.problem;
}

std::unique_ptr<Speculation> LoadedEngine::make_speculation(const EngineOptions& options) {
  if (!options.speculate) return nullptr;
  SpeculatorOptions speculation = options.speculation;
  speculation.memory.store.fingerprint = tokenizer_fingerprint(options.folder, config_.vocab_size);
  return std::make_unique<Speculator>(std::move(speculation),
                                      profile_step_cost(decoder_->leader(), decoder_->leader_weights()),
                                      options.max_sequences);
}

}  // namespace agentinfer
