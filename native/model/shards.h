#pragma once
// How a network is cut for tensor parallelism: which part of each extent a rank holds. Pure functions.

#include <cstdint>

#include "model/config.h"

namespace agentinfer {

struct Range {  // [begin, end)
  int64_t begin = 0, end = 0;
};

// Throws kInvalidArgument, naming key and value, unless query heads, feed-forward width and vocabulary divide
// by `ranks`, and the KV heads divide by it or, where there are fewer of them than ranks, divide it (then
// each lives on ranks / heads ranks).
void check_shards(const ModelConfig& config, int ranks);

// REQUIRES check_shards. Equal contiguous parts, in rank order.
Range part_of_rank(int64_t extent, int rank, int ranks);

// KV heads a rank holds: at least one.
int64_t kv_heads_of_rank(const ModelConfig& config, int ranks);
// Rows of k_proj and v_proj a rank holds: the heads its query heads attend to.
Range kv_rows_of_rank(const ModelConfig& config, int rank, int ranks);

}  // namespace agentinfer
