#pragma once
// What a checked attention call comes down to; strides in elements.

#include <string>
#include <vector>

#include "ops/attention.h"

namespace emu {

struct AttentionPlan {
  std::string layout;
  bool paged = false, masked = false, want_lse = false;
  int64_t heads = 0, kv_heads = 0, head_dim = 0, batch = 0;
  int64_t padded = 0;  // query rows per sequence in the padded layouts
  int64_t token_stride = 0, head_stride = 0, batch_stride = 0;
  int64_t kv_token_stride = 0, kv_head_stride = 0, kv_batch_stride = 0;
  int64_t block_size = 0, blocks = 0, table_width = 0;
  int64_t sparse_mode = 0, pre_tokens = 0, next_tokens = 0;
  float scale = 1;
  std::vector<int64_t> q_lengths, kv_lengths;  // per sequence
};

AttentionPlan plan_attention(const AttentionCall& call);

}  // namespace emu
