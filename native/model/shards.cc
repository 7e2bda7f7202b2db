#include "model/shards.h"

#include "tensor/check.h"

namespace agentinfer {
namespace {

void require_divisible(const char* key, int64_t value, int ranks) {
  if (value % ranks != 0)
    fail(ErrorCode::kInvalidArgument, "tensor parallel over ", ranks, " ranks needs ", key,
         " to divide by it, got ", value);
}

}  // namespace

void check_shards(const ModelConfig& config, int ranks) {
  ensure(ranks > 0, "a group of ", ranks, " ranks");
  require_divisible("num_attention_heads", config.num_attention_heads, ranks);
  require_divisible("intermediate_size", config.intermediate_size, ranks);
  require_divisible("vocab_size", config.vocab_size, ranks);
  const int64_t heads = config.num_key_value_heads;
  if (heads % ranks != 0 && ranks % heads != 0)
    fail(ErrorCode::kInvalidArgument, "tensor parallel over ", ranks,
         " ranks needs num_key_value_heads to divide by it, or to divide it, got ", heads);
}

Range part_of_rank(int64_t extent, int rank, int ranks) {
  const int64_t part = extent / ranks;
  return {part * rank, part * (rank + 1)};
}

int64_t kv_heads_of_rank(const ModelConfig& config, int ranks) {
  return config.num_key_value_heads < ranks ? 1 : config.num_key_value_heads / ranks;
}

Range kv_rows_of_rank(const ModelConfig& config, int rank, int ranks) {
  const int64_t first = config.num_key_value_heads * rank / ranks;
  return {first * config.head_dim, (first + kv_heads_of_rank(config, ranks)) * config.head_dim};
}

}  // namespace agentinfer
