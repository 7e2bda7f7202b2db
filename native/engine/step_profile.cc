#include "engine/step_profile.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <numeric>
#include <vector>

namespace agentinfer {
namespace {

constexpr int kRows[] = {1, 2, 4, 8, 16};
constexpr int64_t kContext = 512;  // tokens of KV under attention
constexpr int kAttentionRows = 8;
constexpr size_t kFreshBytes = 64 << 20;  // of weights in one measurement: more than caches hold
constexpr size_t kRepeatBytes = 128 << 20;
constexpr int kFewest = 2, kMost = 16;  // repetitions; the fastest counts

// A step of one sequence: `rows` rows that end at `context` tokens, in the first blocks.
class Rehearsal {
 public:
  Rehearsal(int rows, int64_t context, int block_size) {
    for (int row = 0; row < rows; ++row) {
      tokens_.push_back(0);
      positions_.push_back(static_cast<int32_t>(context - rows + row));
      slots_.push_back(static_cast<int32_t>(context - rows + row));
    }
    blocks_.resize(static_cast<size_t>((context + block_size - 1) / block_size));
    std::iota(blocks_.begin(), blocks_.end(), 0);
    sequence_ = {
        .query_begin = 0, .query_end = rows, .kv_len = static_cast<int>(context), .block_table = blocks_};
  }
  StepInputs inputs() const {
    return {.tokens = tokens_,
            .positions = positions_,
            .slots = slots_,
            .sequences = std::span(&sequence_, 1),
            .logit_rows = {}};
  }

 private:
  std::vector<int32_t> tokens_, positions_, slots_, blocks_;
  StepSequence sequence_;
};

double fastest(int repetitions, const auto& work) {
  double best = std::numeric_limits<double>::infinity();
  for (int i = 0; i < repetitions; ++i) {
    const auto start = std::chrono::steady_clock::now();
    work();
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return std::max(best, 1e-9);
}

size_t layer_bytes(const LayerWeights& layer) {
  return layer.qkv->bytes + layer.o->bytes + layer.gate_up->bytes + layer.down->bytes;
}

ContextCost profile_context(Decoder& decoder, int layers) {
  const DecoderOptions& options = decoder.options();
  const int64_t context =
      std::min<int64_t>({kContext, options.shape.max_context, int64_t{options.blocks} * options.block_size});
  const int rows = std::min({kAttentionRows, options.shape.max_rows, static_cast<int>(context)});
  const auto attention = [&](int of_rows) {
    const Rehearsal step(of_rows, context, options.block_size);
    return fastest(3, [&] { decoder.rehearse_attention(step.inputs(), layers); });
  };
  const double one = attention(1) / static_cast<double>(context);
  if (rows == 1) return {.per_sequence = one, .per_row = 0};
  const double per_row = std::max(0.0, (attention(rows) / static_cast<double>(context) - one) / (rows - 1));
  return {.per_sequence = std::max(0.0, one - per_row), .per_row = per_row};
}

}  // namespace

StepCost profile_step_cost(Decoder& decoder, const Weights& weights) {
  const DecoderOptions& options = decoder.options();
  const size_t each = std::max<size_t>(1, layer_bytes(weights.layers.front()));
  const int all = static_cast<int>(weights.layers.size());
  const int layers = static_cast<int>(std::clamp<size_t>(kFreshBytes / each, 1, static_cast<size_t>(all)));
  const size_t run = each * static_cast<size_t>(layers);
  const double scale =
      static_cast<double>(each * static_cast<size_t>(all) + weights.head->bytes) / static_cast<double>(run);
  const int repetitions = static_cast<int>(std::clamp<size_t>(kRepeatBytes / run, kFewest, kMost));

  std::vector<CostPoint> points;
  for (const int rows : kRows) {
    if (rows > std::min({options.shape.max_rows, options.block_size, options.shape.max_context})) break;
    const Rehearsal step(rows, rows, options.block_size);
    points.push_back({rows, scale * fastest(repetitions, [&] { decoder.rehearse(step.inputs(), layers); })});
  }
  return StepCost(std::move(points), profile_context(decoder, all));
}

}  // namespace agentinfer
