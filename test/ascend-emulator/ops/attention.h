#pragma once
// One description of a fused attention call, filled from each version's parameter list.

#include <string>
#include <vector>

#include "ops/op.h"

namespace emu {

struct AttentionCall {
  // Positions among the inputs that the kernel reads.
  enum Input { kQuery = 0, kKey = 1, kValue = 2, kMask = 4, kBlockTable = 14 };

  const aclTensor* query = nullptr;
  const aclTensorList *key = nullptr, *value = nullptr;
  const aclTensor *mask = nullptr, *block_table = nullptr;
  const aclIntArray *lengths = nullptr, *kv_lengths = nullptr;
  std::vector<const aclTensor*> unused;  // optional inputs that must be null here
  int64_t heads = 0, kv_heads = 0;
  double scale = 1;
  int64_t pre_tokens = 0, next_tokens = 0, sparse_mode = 0, inner_precise = 0, block_size = 0;
  std::vector<int64_t> unused_modes;  // attributes that must be 0
  const char* layout = nullptr;
  bool want_lse = false;
  const aclTensor *out = nullptr, *lse = nullptr;
};

// Checks the rules of A2 (tiling code 561002) and leaves the kernel and the workspace size. The inputs and
// outputs must have been declared to the builder already. With `worst_case` the workspace is the one for the
// longest sequences.
void build_attention(Builder& b, const AttentionCall& call, bool worst_case);

// An optional input of a feature that no dense decoder uses on this product: it must be null.
void unused_input(Builder& b, AttentionCall& call, const aclTensor* tensor, const char* name);

}  // namespace emu
