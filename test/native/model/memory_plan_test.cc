#include "model/memory_plan.h"

#include <utility>

#include "check.h"
#include "runner.h"

namespace agentinfer {
namespace {

ModelConfig pangu(int64_t layers, int64_t hidden, int64_t heads, int64_t kv_heads, int64_t ffn, bool tied) {
  ModelConfig config;
  config.num_hidden_layers = layers;
  config.hidden_size = hidden;
  config.num_attention_heads = heads;
  config.num_key_value_heads = kv_heads;
  config.head_dim = 128;
  config.intermediate_size = ffn;
  config.vocab_size = 153376;
  config.qkv_bias = config.o_bias = true;
  config.tie_word_embeddings = tied;
  return config;
}

const ModelConfig k7B = pangu(34, 4096, 32, 8, 12800, false), k1B = pangu(26, 1536, 12, 6, 6144, true);

// The weights' share: everything but KV and workspace.
double weights(const ModelConfig& config, const MemoryRequest& request) {
  double bytes = 0;
  for (const MemoryPlan::Item& item : plan_memory(config, request).items)
    if (item.name == "layer weights" || item.name == "head" || item.name == "embedding")
      bytes += static_cast<double>(item.bytes);
  return bytes;
}

TEST("openPangu's published sizes: 16.06 GB and 2.31 GB in bf16, 136 and 78 KiB of KV a token") {
  CHECK_NEAR(weights(k7B, {}) / 16061784576.0, 1.0, 0.002);
  CHECK_NEAR(weights(k1B, {}) / (2 * 1155912192.0), 1.0, 0.003);
  CHECK_EQ(kv_bytes_per_token(k7B, 1, DType::kF16), 139264u);
  CHECK_EQ(kv_bytes_per_token(k1B, 1, DType::kBF16), 79872u);
  CHECK_EQ(kv_bytes_per_token(k7B, 8, DType::kF16), 139264u / 8);
}

TEST("int8 halves the layers, not the embedding and the head; ranks share everything") {
  const double table = 2.0 * 153376 * 4096;
  const double layers = weights(k7B, {}) - 2 * table;
  CHECK_NEAR((weights(k7B, {.int8 = true}) - 2 * table) / layers, 0.5, 0.01);
  CHECK_NEAR(weights(k7B, {.ranks = 4}) / (layers / 4 + table / 2), 1.0, 0.01);
  CHECK_NEAR(weights(k1B, {.ranks = 2}) / (weights(k1B, {}) / 2), 1.0, 0.01);
}

TEST("the total is the sum of the items, and each request field enlarges it by what it says") {
  const MemoryRequest base{.kv_tokens = 4096, .max_rows = 512, .max_logit_rows = 8};
  const auto total = [](const MemoryRequest& request) { return plan_memory(k7B, request).total; };
  const MemoryPlan plan = plan_memory(k7B, base);
  size_t sum = 0;
  for (const MemoryPlan::Item& item : plan.items) {
    sum += item.bytes;
    CHECK(memory_plan_text(plan).find(item.name) != std::string::npos);
  }
  CHECK_EQ(sum, plan.total);
  MemoryRequest more = base;
  more.kv_tokens += 1000;
  CHECK_EQ(total(more) - total(base), 139264u * 1000);
  more = base;
  more.host_kv_bytes = 12345;
  CHECK_EQ(total(more) - total(base), 12345u);
  more = base;
  more.max_rows *= 2;
  CHECK(total(more) > total(base) + 512 * 4096 * 4);
  more = base;
  more.cpu_threads = 0;
  CHECK(total(more) < total(base));  // 16 bits
  more = base;
  more.cpu_threads += 1;
  CHECK(total(more) > total(base) + (1 << 20));
  more.cpu_threads = 64;
  CHECK(total(more) < total(base) + 64 * (4 << 20));
  more = base;
  more.max_logit_rows += 1;
  CHECK(total(more) - total(base) >= 153376 * 4);
  CHECK_EQ(plan.on_host, 0u);
  CHECK_EQ(plan_memory(k7B, {.host_kv_bytes = 12345}).on_host, 12345u);
}

TEST("a rank of several holds its part of the logits beside all of them") {
  const auto logit_row = [](int ranks) {
    return plan_memory(k7B, {.ranks = ranks, .cpu_threads = 0, .max_logit_rows = 1}).total -
           plan_memory(k7B, {.ranks = ranks, .cpu_threads = 0}).total;
  };
  CHECK_EQ(logit_row(1), 4u * (2 * 4096 + 153376));
  CHECK_EQ(logit_row(4), logit_row(1) + 4u * 153376 / 4);
}

TEST("what ranks on the CPU hold is to the byte what was planned, in every architecture and format") {
  constexpr int kThreads = 2;
  for (const char* name : {"llama", "llama-tied", "qwen2", "qwen3", "pangu-sharded", "pangu-sandwich"})
    for (const int ranks : {1, 2})
      for (const WeightFormat format : {WeightFormat::kBF16, WeightFormat::kW8A8}) {
        const golden::Runner runner(name, {.threads = kThreads * ranks, .ranks = ranks, .format = format});
        const DecoderOptions& sizes = runner.decoder().options();
        const MemoryPlan plan = plan_memory(read_model_config(golden::folder(name)),
                                            {.ranks = ranks,
                                             .int8 = format == WeightFormat::kW8A8,
                                             .cpu_threads = kThreads,
                                             .kv_dtype = sizes.kv_dtype,
                                             .kv_tokens = int64_t{sizes.blocks} * sizes.block_size,
                                             .max_rows = sizes.shape.max_rows,
                                             .max_logit_rows = sizes.shape.max_logit_rows});
        size_t weights = 0, kv = 0, workspace = 0;
        for (const MemoryPlan::Item& item : plan.items)
          (item.name == "KV cache" ? kv : item.name == "workspace" ? workspace : weights) += item.bytes;
        const auto all = static_cast<size_t>(ranks);
        CHECK_EQ(weights * all, runner.decoder().weight_bytes());
        CHECK_EQ(kv * all, runner.decoder().kv_bytes());
        CHECK_EQ(workspace * all, runner.decoder().workspace_bytes());
      }
}

TEST("the largest configuration that parses does not overflow the plan") {
  ModelConfig config = pangu(1024, 65536, 1024, 1024, 1 << 20, false);
  config.head_dim = 1024;
  config.vocab_size = 1 << 22;
  const MemoryPlan plan =
      plan_memory(config, {.kv_tokens = 1 << 20, .max_rows = 8192, .max_logit_rows = 8192});
  CHECK(static_cast<double>(plan.total) > 1024.0 * 2 * (4.0 * 65536 * 1048576 + 3.0 * 65536 * 1048576));
}

const ModelConfig k38B = pangu(60, 7168, 56, 8, 22400, false);  // assumed

TEST("a card is filled with KV to the last block, whatever the shape, the cards and the format") {
  for (const ModelConfig& model : {k7B, k1B, k38B})
    for (const int ranks : {1, 2, 4})
      for (const bool int8 : {false, true}) {
        if (model.num_key_value_heads % ranks != 0) continue;
        ModelConfig config = model;
        config.max_position_embeddings = 32768;
        const CardPlan card = plan_card(config, {.ranks = ranks, .int8 = int8});
        const size_t block = kv_bytes_per_token(config, ranks, DType::kBF16) * 128;
        size_t sum = 0, kv = 0;
        for (const MemoryPlan::Item& item : card.plan.items) {
          sum += item.bytes;
          if (item.name == "KV cache") kv = item.bytes;
        }
        CHECK_EQ(sum, card.plan.total);
        CHECK_EQ(card.context, 32768);
        CHECK_EQ(kv, static_cast<size_t>(card.kv_tokens / 128) * block);
        CHECK_EQ(card.contexts, card.kv_tokens / 32768);
        const size_t all = CardRequest{}.card_bytes;
        if (card.missing == 0) {
          CHECK(card.contexts >= 1);
          CHECK(card.plan.total <= all && card.plan.total + block > all);
        } else {
          CHECK_EQ(card.contexts, 0);
          CHECK_EQ(card.missing, card.plan.total - kv + size_t{32768} / 128 * block - all);
        }
      }
}

TEST("7B fits on one card with more than 250k tokens of KV; an assumed 38B in bf16 needs two, in int8 one") {
  const auto tokens = [](ModelConfig config, int ranks, bool int8) {
    config.max_position_embeddings = 32768;
    return plan_card(config, {.ranks = ranks, .int8 = int8}).kv_tokens;
  };
  CHECK(tokens(k7B, 1, false) > 250'000);
  CHECK(tokens(k7B, 1, true) > tokens(k7B, 1, false) + 45'000);
  CHECK_EQ(tokens(k38B, 1, false), 0);
  CHECK(tokens(k38B, 2, false) > 100'000);
  CHECK(tokens(k38B, 4, false) > 500'000);
  CHECK(tokens(k38B, 8, false) > 1'000'000);
  CHECK(tokens(k38B, 1, true) > 50'000);
  CHECK(tokens(k38B, 2, true) > tokens(k38B, 2, false));
}

TEST("what does not divide or lies out of range is refused") {
  CHECK_THROWS(plan_card(k7B, {.ranks = 3}), ErrorCode::kInvalidArgument, "num_attention_heads");
  CHECK_THROWS(plan_card(k7B, {.ranks = 0}), ErrorCode::kInvalidArgument, "tensorParallel");
  CHECK_THROWS(plan_card(k7B, {.context = -1}), ErrorCode::kInvalidArgument, "context");
}

}  // namespace
}  // namespace agentinfer

CHECK_MAIN
