#pragma once
// Attention of a step over paged KV, cut into tiles: some query rows of one sequence x one kv head with its
// query heads.
//
// A row's arithmetic is fixed by its position alone: KV is taken in chunks, and chunks in splits, at fixed
// absolute positions; each split has a running softmax of its own, and splits are folded in order. When a
// step has fewer tiles than the pool could use (one long sequence on many cores), the splits of a tile are
// handed out separately: the same sums, elsewhere.

#include <vector>

#include "backend/backend.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/memory.h"
#include "backend/cpu/objects.h"
#include "backend/cpu/thread_pool.h"

namespace agentinfer {

class CpuAttention {
 public:
  // Takes all work memory. Throws kModelUnsupported, kOutOfMemory.
  CpuAttention(const AttentionShape& shape, const StepShape& step, int workers);
  // Its bytes.
  static size_t work_bytes(const AttentionShape& shape, const StepShape& step, int workers);
  size_t work_bytes() const { return memory_.bytes() + parts_memory_.bytes(); }

  // Cuts the step into tiles. The spans of `inputs` stay valid until the next call.
  void begin_step(const StepInputs& inputs, int block_size);
  void run(const FloatKernels& kernels, ThreadPool& pool, CpuKvCache& cache, int layer,
           const CpuActivation& qkv, CpuActivation& out);

 private:
  struct Tile {
    int sequence, kv_head, begin, end;  // rows [begin, end) of the step
    int splits;                         // of its last row
    int first_part;                     // where its splits' results lie, when they are handed out separately
  };
  struct Part {
    int tile, split;
  };
  struct State {  // running softmax of a tile's rows
    float *max, *sum, *out;
  };
  // What all tiles of one call share.
  struct Call {
    const FloatKernels& kernels;
    CpuKvCache& cache;
    int layer;
    const CpuActivation& qkv;
    CpuActivation& out;
  };

  int rows_of(const Tile& tile) const { return (tile.end - tile.begin) * group_; }
  int position(const Tile& tile, int row) const;
  State state_at(float* memory) const;
  float* work(int worker) { return memory_.as<float>() + work_floats_ * static_cast<size_t>(worker); }
  float* part(int index) { return parts_memory_.as<float>() + state_floats_ * static_cast<size_t>(index); }

  void whole_tile(const Call& call, const Tile& tile, int worker);
  void split(const Call& call, const Tile& tile, int split, int worker, const State& state);
  void chunk(const Call& call, const Tile& tile, int begin, int worker, const State& state);
  void clear(const Tile& tile, const State& state) const;
  void fold(const Call& call, const Tile& tile, int split, const State& part, const State& total) const;
  void finish(const Call& call, const Tile& tile, const State& total) const;

  AttentionShape shape_;
  int group_;      // query heads of a kv head
  int tile_rows_;  // rows x group at most in one tile
  int width_;      // head_dim padded
  int workers_;
  int max_parts_;
  size_t state_floats_, work_floats_;
  Memory memory_;                        // for each worker: queries, scores and two states
  Memory parts_memory_;                  // a state for each part
  int chunk_size_ = 0, split_size_ = 0;  // KV positions
  StepInputs inputs_;
  std::vector<Tile> tiles_;
  std::vector<Part> parts_;  // empty: every tile does its own splits
};

}  // namespace agentinfer
