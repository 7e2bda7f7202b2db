#pragma once
// Paged attention of one layer for all rows of a step.

#include "backend/backend.h"
#include "backend/cpu/dispatch.h"
#include "backend/cpu/objects.h"
#include "backend/cpu/thread_pool.h"

namespace agentinfer {

class CpuAttention {
 public:
  CpuAttention(const AttentionShape& shape, const StepShape& step, int workers);

  // Splits the step into tiles of query rows; once a step, for all layers.
  void begin_step(const StepInputs& inputs);
  // out[r] = softmax(q k^T * scale) v. The order of operations for a row is fixed by its position alone: chunks of KV at absolute
  // multiples of kMaxAttentionChunk, in order.
  void run(const FloatKernels& kernels, ThreadPool& pool, CpuKvCache& cache, int layer, const CpuActivation& qkv,
           CpuActivation& out);

 private:
  // Query rows [begin, end) of a sequence, times the query heads that share kv head `kv_head`.
  struct Tile {
    int sequence = 0, kv_head = 0, begin = 0, end = 0;
  };
  struct Work;  // one worker's memory
  Work work(int worker);
  void tile(const FloatKernels& kernels, CpuKvCache& cache, int layer, const Tile& tile, const CpuActivation& qkv,
            CpuActivation& out, int worker);

  AttentionShape shape_;
  int group_;            // query heads for each kv head
  int tile_rows_;        // query rows in a tile, times group_
  int64_t width_;        // head_dim padded
  Memory memory_;
  size_t work_floats_;
  StepInputs inputs_;
  std::vector<Tile> tiles_;
};

}  // namespace agentinfer
