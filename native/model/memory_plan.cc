#include "model/memory_plan.h"

#include <cstdio>
#include <utility>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/kernels.h"
#include "model/shards.h"
#include "tensor/check.h"

namespace agentinfer {
namespace {

size_t matrix_bytes(int64_t outputs, int64_t inputs, bool int8) {
  const auto padded = static_cast<size_t>((outputs + kPanelColumns - 1) / kPanelColumns * kPanelColumns);
  const auto depth = static_cast<size_t>(inputs);
  if (!int8) return padded * depth * 2 + padded * 4;       // and an f32 bias (zero where there is none)
  return padded * ((depth + 3) / 4 * 4) + padded * 4 * 3;  // and scale, column sum, bias
}

size_t layer_bytes(const ModelConfig& config, const MemoryRequest& request) {
  const int64_t q = config.num_attention_heads * config.head_dim / request.ranks;
  const int64_t kv = kv_heads_of_rank(config, request.ranks) * config.head_dim;
  const int64_t ffn = config.intermediate_size / request.ranks, hidden = config.hidden_size;
  const int64_t norms = hidden * (config.sandwich_norm ? 4 : 2) + (config.qk_norm ? 2 * config.head_dim : 0);
  return matrix_bytes(q + 2 * kv, hidden, request.int8) + matrix_bytes(hidden, q, request.int8) +
         2 * matrix_bytes(ffn, hidden, request.int8) + matrix_bytes(hidden, ffn, request.int8) +
         static_cast<size_t>(norms) * 4;
}

// The decoder's activations on an NPU, in 16 bits. What its operators take besides is not known before.
size_t npu_workspace_bytes(const ModelConfig& config, const MemoryRequest& request) {
  const int64_t q = config.num_attention_heads * config.head_dim / request.ranks;
  const int64_t kv = kv_heads_of_rank(config, request.ranks) * config.head_dim;
  const int64_t ffn = config.intermediate_size / request.ranks, hidden = config.hidden_size;
  const int64_t row = 3 * hidden + (config.sandwich_norm ? hidden : 0) + 2 * q + 2 * kv + 3 * ffn;
  const int64_t part = request.ranks > 1 ? config.vocab_size / request.ranks : 0;  // before it is gathered
  const int64_t logit_row = 2 * hidden + part + config.vocab_size;
  // Logits become f32: the sampler reads them.
  return static_cast<size_t>(request.max_rows * row) * 2 +
         static_cast<size_t>(request.max_logit_rows * logit_row) * 4;
}

// The decoder's activations on the CPU, and what its backend works in.
size_t cpu_workspace_bytes(const ModelConfig& config, const MemoryRequest& request) {
  const AttentionShape shape{.heads = static_cast<int>(config.num_attention_heads) / request.ranks,
                             .kv_heads = static_cast<int>(kv_heads_of_rank(config, request.ranks)),
                             .head_dim = static_cast<int>(config.head_dim),
                             .scale = 1};
  const int64_t q = shape.heads * config.head_dim, kv = shape.kv_heads * config.head_dim;
  const int64_t ffn = config.intermediate_size / request.ranks, hidden = config.hidden_size;
  const auto rows = [&](int64_t cols, Feeds feeds) {
    return cpu_activation_bytes(request.max_rows, cols, feeds);
  };
  const auto logit_rows = [&](int64_t cols) {
    return cpu_activation_bytes(request.max_logit_rows, cols, Feeds::kOther);
  };
  const size_t streams = rows(hidden, Feeds::kOther) * (config.sandwich_norm ? 3 : 2);
  const size_t layer = rows(hidden, Feeds::kLinear) + rows(q + 2 * kv, Feeds::kOther) +
                       rows(q, Feeds::kLinear) + rows(2 * ffn, Feeds::kGate) + rows(ffn, Feeds::kLinear);
  const size_t part = request.ranks > 1 ? logit_rows(config.vocab_size / request.ranks) : 0;
  return streams + layer + 2 * logit_rows(hidden) + part + logit_rows(config.vocab_size) +
         cpu_work_bytes(request.max_rows, shape, request.cpu_threads);
}

std::string size_text(size_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f MB", static_cast<double>(bytes) / 1e6);
  return text;
}

}  // namespace

size_t kv_bytes_per_token(const ModelConfig& config, int ranks, DType kv_dtype) {
  return size_t{2} * static_cast<size_t>(config.num_hidden_layers) *
         static_cast<size_t>(kv_heads_of_rank(config, ranks)) * static_cast<size_t>(config.head_dim) *
         dtype_size(kv_dtype);
}

namespace {

void add(MemoryPlan& plan, std::string name, size_t bytes, std::string detail) {
  plan.items.push_back({std::move(name), bytes, std::move(detail)});
  plan.total += bytes;
}

void add_weights(MemoryPlan& plan, const ModelConfig& config, const MemoryRequest& request) {
  const auto layers = static_cast<size_t>(config.num_hidden_layers);
  add(plan, "layer weights", layers * layer_bytes(config, request),
      std::to_string(layers) + " layers, " + (request.int8 ? "int8" : "bf16 (weights: 'int8' halves it)"));
  add(plan, "head",
      matrix_bytes(config.vocab_size / request.ranks, config.hidden_size, false) +
          static_cast<size_t>(config.hidden_size) * 4,
      "bf16, vocabulary x hidden, and the last norm");
  if (!config.tie_word_embeddings)
    add(plan, "embedding", static_cast<size_t>(config.vocab_size / request.ranks * config.hidden_size) * 2,
        "bf16, vocabulary x hidden");
}

void add_kv(MemoryPlan& plan, const ModelConfig& config, const MemoryRequest& request) {
  const size_t per_token = kv_bytes_per_token(config, request.ranks, request.kv_dtype);
  add(plan, "KV cache", static_cast<size_t>(request.kv_tokens) * per_token,
      std::to_string(request.kv_tokens) + " tokens of " + std::to_string(per_token) + " bytes (kvTokens)");
}

void add_workspace(MemoryPlan& plan, const ModelConfig& config, const MemoryRequest& request) {
  const bool on_cpu = request.cpu_threads > 0;
  add(plan, "workspace", on_cpu ? cpu_workspace_bytes(config, request) : npu_workspace_bytes(config, request),
      std::to_string(request.max_rows) + " rows a step (maxBatchTokens), " +
          std::to_string(request.max_logit_rows) + " of them with logits" +
          (on_cpu ? ", and what each thread works in (threads: " + std::to_string(request.cpu_threads) + ")"
                  : ""));
}

// Of a 64 GB card, as reported by users of Atlas 800T A2; see CardRequest::card_bytes.
constexpr size_t kSystemBytes = 3'300'000'000;
constexpr size_t kCannBytes = 1'000'000'000;                  // assumed
constexpr size_t kOperatorBytes = 256'000'000;                // assumed
constexpr size_t kCommunicatorBytes = size_t{2} * 200 << 20;  // HCCL_BUFFSIZE's default, twice

void require_in(const char* name, int64_t value, int64_t low, int64_t high) {
  if (value < low || value > high)
    fail(ErrorCode::kInvalidArgument, name, " must be in [", low, ", ", high, "], got ", value);
}

}  // namespace

MemoryPlan plan_memory(const ModelConfig& config, const MemoryRequest& request) {
  MemoryPlan plan;
  add_weights(plan, config, request);
  add_kv(plan, config, request);
  if (request.host_kv_bytes > 0) add(plan, "host KV", request.host_kv_bytes, "hostKvBytes");
  plan.on_host = request.host_kv_bytes;
  add_workspace(plan, config, request);
  return plan;
}

CardPlan plan_card(const ModelConfig& config, const CardRequest& request) {
  require_in("tensorParallel", request.ranks, 1, 64);
  require_in("context", request.context, 0, int64_t{1} << 24);
  check_shards(config, request.ranks);
  CardPlan card;
  card.context = request.context != 0 ? request.context : config.max_position_embeddings;
  MemoryRequest memory{.ranks = request.ranks,
                       .int8 = request.int8 || config.quantized_w8a8,
                       .cpu_threads = 0,
                       .kv_dtype = DType::kBF16,
                       .max_rows = request.max_rows,
                       .max_logit_rows = request.max_logit_rows};
  MemoryPlan& plan = card.plan;
  add(plan, "system", kSystemBytes, "firmware and driver (assumed)");
  add(plan, "CANN", kCannBytes, "runtime and kernels (assumed)");
  if (request.ranks > 1)
    add(plan, "HCCL", kCommunicatorBytes, "one communicator: twice HCCL_BUFFSIZE, 200 MB each (assumed)");
  add_weights(plan, config, memory);
  add_workspace(plan, config, memory);
  add(plan, "operators", kOperatorBytes, "work memory of the largest (assumed)");

  const size_t per_block =
      kv_bytes_per_token(config, request.ranks, memory.kv_dtype) * static_cast<size_t>(request.block_size);
  const auto needed = static_cast<size_t>((card.context + request.block_size - 1) / request.block_size);
  const size_t left = request.card_bytes > plan.total ? request.card_bytes - plan.total : 0;
  const size_t short_of = plan.total + needed * per_block;
  if (short_of > request.card_bytes) card.missing = short_of - request.card_bytes;
  memory.kv_tokens = static_cast<int64_t>(left / per_block) * request.block_size;
  add_kv(plan, config, memory);
  card.kv_tokens = memory.kv_tokens;
  card.contexts = static_cast<int64_t>(left / per_block / needed);
  return card;
}

std::string memory_plan_text(const MemoryPlan& plan) {
  std::string text;
  for (const MemoryPlan::Item& item : plan.items)
    text += item.name + ": " + size_text(item.bytes) + ", " + item.detail + "\n";
  return text + "total: " + size_text(plan.total);
}

}  // namespace agentinfer
