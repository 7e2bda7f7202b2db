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
  static size_t work_bytes(const AttentionShape& shape, int workers);
  size_t work_bytes() const { return memory_.bytes() + shared_memory_.bytes(); }

  // Cuts the step into tiles. The spans of `inputs` stay valid until the next call.
  void begin_step(const StepInputs& inputs, int block_size);
  void run(const FloatKernels& kernels, ThreadPool& pool, CpuKvCache& cache, int layer,
           const CpuActivation& qkv, CpuActivation& out);

 private:
  struct Tile {
    int sequence, kv_head, begin, end;  // rows [begin, end) of the step
    int splits;                         // of its last row
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
  State state_of(Part part);

  void whole_tile(const Call& call, const Tile& tile, int worker);
  void split(const Call& call, const Tile& tile, int split, int worker, const State& state);
  void chunk(const Call& call, const Tile& tile, int begin, int worker, const State& state);
  void clear(const Tile& tile, const State& state) const;
  void fold(const Call& call, const Tile& tile, int split, const State& part, const State& total) const;
  void fold_wave(const Call& call, int index, int first);
  void finish(const Call& call, const Tile& tile, const State& total) const;

  AttentionShape shape_;
  int group_;      // query heads of a kv head
  int tile_rows_;  // rows x group at most in one tile
  int width_;      // head_dim padded
  int workers_;
  size_t state_floats_, work_floats_;
  Memory memory_;                        // for each worker: queries, scores and two states
  Memory shared_memory_;                 // states of tiles and parts (state_of)
  int chunk_size_ = 0, split_size_ = 0;  // KV positions
  StepInputs inputs_;
  std::vector<Tile> tiles_;
  std::vector<Part> parts_;  // empty: every tile does its own splits
  std::vector<int> waves_;   // where each ends in parts_: so much is done at a time, and then folded
  int at_once_ = 0;          // splits of a tile in a wave
};

}  // namespace agentinfer
