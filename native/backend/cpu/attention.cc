#include "backend/cpu/attention.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "tensor/check.h"

namespace agentinfer {
namespace {

constexpr int kTileRows = 28;            // query rows times heads that share a pass over K and V
constexpr int kMaxChunkBlocks = kMaxAttentionChunk / 16;
constexpr int kMaxGroup = 256;           // query heads that share a kv head

}  // namespace

struct CpuAttention::Work {
  float *q, *out, *scores, *max, *sum;
};

CpuAttention::CpuAttention(const AttentionShape& shape, const StepShape& step, int workers)
    : shape_(shape),
      group_(shape.heads / shape.kv_heads),
      tile_rows_(std::max(kTileRows, group_)),
      width_((shape.head_dim + 31) / 32 * 32),
      work_floats_(static_cast<size_t>(tile_rows_) * (2 * static_cast<size_t>(width_) + kMaxAttentionChunk + 2) + 64) {
  if (group_ > kMaxGroup)
    fail(ErrorCode::kModelUnsupported, group_, " query heads for a kv head, at most ", kMaxGroup, " are supported");
  memory_ = Memory(work_floats_ * sizeof(float) * static_cast<size_t>(workers), "attention work memory");
  // At most one tile more than full ones for each sequence and kv head.
  const int rows = tile_rows_ / group_;
  tiles_.reserve(static_cast<size_t>(step.max_rows / rows + step.max_sequences + 1) * static_cast<size_t>(shape.kv_heads));
}

CpuAttention::Work CpuAttention::work(int worker) {
  float* base = memory_.as<float>() + work_floats_ * static_cast<size_t>(worker);
  const auto rows = static_cast<size_t>(tile_rows_), width = static_cast<size_t>(width_);
  return {.q = base,
          .out = base + rows * width,
          .scores = base + 2 * rows * width,
          .max = base + 2 * rows * width + rows * kMaxAttentionChunk,
          .sum = base + 2 * rows * width + rows * (kMaxAttentionChunk + 1)};
}

void CpuAttention::begin_step(const StepInputs& inputs) {
  inputs_ = inputs;
  tiles_.clear();
  const int rows = tile_rows_ / group_;
  for (int s = 0; s < static_cast<int>(inputs.sequences.size()); ++s) {
    const StepSequence& sequence = inputs.sequences[static_cast<size_t>(s)];
    for (int begin = sequence.query_begin; begin < sequence.query_end; begin += rows)
      for (int head = 0; head < shape_.kv_heads; ++head)
        tiles_.push_back({s, head, begin, std::min(sequence.query_end, begin + rows)});
  }
}

void CpuAttention::run(const FloatKernels& kernels, ThreadPool& pool, CpuKvCache& cache, int layer, const CpuActivation& qkv,
                       CpuActivation& out) {
  pool.parallel_for(static_cast<int>(tiles_.size()), [&](int task, int worker) {
    tile(kernels, cache, layer, tiles_[static_cast<size_t>(task)], qkv, out, worker);
  });
}

void CpuAttention::tile(const FloatKernels& kernels, CpuKvCache& cache, int layer, const Tile& tile, const CpuActivation& qkv,
                        CpuActivation& out, int worker) {
  const Work memory = work(worker);
  const StepSequence& sequence = inputs_.sequences[static_cast<size_t>(tile.sequence)];
  const int rows = (tile.end - tile.begin) * group_;
  const auto head_offset = [&](int row) { return static_cast<int64_t>(tile.kv_head * group_ + row % group_) * shape_.head_dim; };
  for (int row = 0; row < rows; ++row)
    std::memcpy(memory.q + row * width_, qkv.row(tile.begin + row / group_) + head_offset(row),
                static_cast<size_t>(shape_.head_dim) * sizeof(float));
  std::fill_n(memory.max, rows, -std::numeric_limits<float>::infinity());
  std::fill_n(memory.sum, rows, 0.0f);
  std::fill_n(memory.out, rows * width_, 0.0f);

  const int block_size = cache.layout.block_size;
  const size_t head_bytes = cache.piece() / static_cast<size_t>(shape_.kv_heads) * static_cast<size_t>(tile.kv_head);
  const int last = inputs_.positions[static_cast<size_t>(tile.end - 1)];
  // A chunk is a whole number of blocks, whatever their size.
  const int chunk_size = kMaxAttentionChunk / block_size * block_size;
  for (int begin = 0; begin <= last; begin += chunk_size) {
    const void* k_blocks[kMaxChunkBlocks];
    const void* v_blocks[kMaxChunkBlocks];
    int32_t limits[kMaxGroup];
    for (int i = 0; i * block_size < std::min(chunk_size, last + 1 - begin); ++i) {
      const int32_t block = sequence.block_table[static_cast<size_t>(begin / block_size + i)];
      k_blocks[i] = cache.k(layer, block) + head_bytes;
      v_blocks[i] = cache.v(layer, block) + head_bytes;
    }
    for (int row = 0; row < rows; ++row) {
      const int seen = inputs_.positions[static_cast<size_t>(tile.begin + row / group_)] + 1 - begin;
      limits[row] = std::clamp(seen, 0, chunk_size);
    }
    kernels.attention_chunk({.type = cache.type,
                             .q = memory.q,
                             .q_stride = width_,
                             .rows = rows,
                             .limit = limits,
                             .k_blocks = k_blocks,
                             .v_blocks = v_blocks,
                             .block_size = block_size,
                             .head_dim = shape_.head_dim,
                             .scale = shape_.scale,
                             .scores = memory.scores,
                             .max = memory.max,
                             .sum = memory.sum,
                             .out = memory.out,
                             .out_stride = width_});
  }
  for (int row = 0; row < rows; ++row)
    kernels.attention_finish(memory.sum[row], memory.out + row * width_, shape_.head_dim,
                             out.row(tile.begin + row / group_) + head_offset(row));
}

}  // namespace agentinfer
