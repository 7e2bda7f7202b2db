#include "backend/cpu/attention.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "tensor/check.h"

namespace agentinfer {
namespace {

constexpr int kTileRows = 56;  // query rows times heads that share a pass over K and V
constexpr int kMaxChunkBlocks = kMaxAttentionChunk / kKeyGroup;
constexpr int kMaxGroup = 256;         // query heads that share a kv head
constexpr int kSplitPositions = 1024;  // about: a split is a whole number of chunks
constexpr int kTilesPerWorker = 4;     // fewer than this, and splits are handed out separately,
constexpr int kPartsPerWorker = 16;    // so many at a time

int tile_rows(const AttentionShape& shape) {
  return std::max(kTileRows, shape.heads / shape.kv_heads);
}

int padded_width(const AttentionShape& shape) {
  return (shape.head_dim + 31) / 32 * 32;
}

size_t floats_of_state(const AttentionShape& shape) {
  return static_cast<size_t>(tile_rows(shape)) * static_cast<size_t>(padded_width(shape) + 2);
}

// Of a worker: queries, scores and two states.
size_t floats_of_worker(const AttentionShape& shape) {
  const auto rows = static_cast<size_t>(tile_rows(shape));
  const size_t floats =
      rows * static_cast<size_t>(padded_width(shape) + kMaxAttentionChunk) + 2 * floats_of_state(shape);
  return (floats + 63) / 64 * 64;
}

// Of all workers: a tile's total, and the splits that are handed out at a time.
int shared_states(int workers) {
  return workers == 1 ? 0 : (kTilesPerWorker + kPartsPerWorker) * workers;
}

}  // namespace

size_t CpuAttention::work_bytes(const AttentionShape& shape, int workers) {
  return sizeof(float) * (floats_of_worker(shape) * static_cast<size_t>(workers) +
                          floats_of_state(shape) * static_cast<size_t>(shared_states(workers)));
}

CpuAttention::CpuAttention(const AttentionShape& shape, const StepShape& step, int workers)
    : shape_(shape),
      group_(shape.heads / shape.kv_heads),
      tile_rows_(tile_rows(shape)),
      width_(padded_width(shape)),
      workers_(workers),
      state_floats_(floats_of_state(shape)),
      work_floats_(floats_of_worker(shape)) {
  if (group_ > kMaxGroup)
    fail(ErrorCode::kModelUnsupported, group_, " query heads for a kv head, at most ", kMaxGroup,
         " are supported");
  memory_ = Memory(work_floats_ * sizeof(float) * static_cast<size_t>(workers), "attention work memory");
  shared_memory_ = Memory(state_floats_ * sizeof(float) * static_cast<size_t>(shared_states(workers)),
                          "attention work memory");
  // A chunk holds at least half of kMaxAttentionChunk, so a split at least half of kSplitPositions.
  const auto splits = static_cast<size_t>(step.max_context / (kSplitPositions / 2) + 1);
  if (workers > 1) parts_.reserve(static_cast<size_t>(kTilesPerWorker * workers) * splits);
  waves_.reserve(splits);
  // At most one tile more than full ones for each sequence and kv head.
  const int rows = tile_rows_ / group_;
  tiles_.reserve(static_cast<size_t>(step.max_rows / rows + step.max_sequences + 1) *
                 static_cast<size_t>(shape.kv_heads));
}

int CpuAttention::position(const Tile& tile, int row) const {
  return inputs_.positions[static_cast<size_t>(tile.begin + row / group_)];
}

CpuAttention::State CpuAttention::state_at(float* memory) const {
  return {memory, memory + tile_rows_, memory + 2 * tile_rows_};
}

void CpuAttention::begin_step(const StepInputs& inputs, int block_size) {
  inputs_ = inputs;
  chunk_size_ = kMaxAttentionChunk / block_size * block_size;
  split_size_ = std::max(1, kSplitPositions / chunk_size_) * chunk_size_;
  tiles_.clear();
  parts_.clear();
  waves_.clear();
  const int rows = tile_rows_ / group_;
  int splits = 0, most = 0;
  for (int s = 0; s < static_cast<int>(inputs.sequences.size()); ++s) {
    const StepSequence& sequence = inputs.sequences[static_cast<size_t>(s)];
    for (int begin = sequence.query_begin; begin < sequence.query_end; begin += rows) {
      const int end = std::min(sequence.query_end, begin + rows);
      const int needed = inputs.positions[static_cast<size_t>(end - 1)] / split_size_ + 1;
      for (int head = 0; head < shape_.kv_heads; ++head) tiles_.push_back({s, head, begin, end, needed});
      splits += needed * shape_.kv_heads;
      most = std::max(most, needed);
    }
  }
  const int tiles = static_cast<int>(tiles_.size());
  if (workers_ == 1 || tiles >= kTilesPerWorker * workers_ || splits == tiles) return;
  at_once_ = kPartsPerWorker * workers_ / tiles;
  for (int first = 0; first < most; first += at_once_) {
    for (int tile = 0; tile < tiles; ++tile) {
      const int end = std::min(first + at_once_, tiles_[static_cast<size_t>(tile)].splits);
      for (int i = first; i < end; ++i) parts_.push_back({tile, i});
    }
    waves_.push_back(static_cast<int>(parts_.size()));
  }
}

void CpuAttention::run(const FloatKernels& kernels, ThreadPool& pool, CpuKvCache& cache, int layer,
                       const CpuActivation& qkv, CpuActivation& out) {
  const Call call{kernels, cache, layer, qkv, out};
  const int tiles = static_cast<int>(tiles_.size());
  if (parts_.empty()) {
    // Of a long prompt the last tiles see the most and take the longest: they come first. Where a sequence is
    // one tile for each head (decoding), a thread attends to the rows that it has just written.
    const bool prompt = tiles > static_cast<int>(inputs_.sequences.size()) * shape_.kv_heads;
    pool.parallel_for(tiles, [&](int task, int worker) {
      whole_tile(call, tiles_[static_cast<size_t>(prompt ? tiles - 1 - task : task)], worker);
    });
    return;
  }
  for (int wave = 0, begin = 0; wave < static_cast<int>(waves_.size()); ++wave) {
    const int end = waves_[static_cast<size_t>(wave)];
    pool.parallel_for(end - begin, [&](int index, int worker) {
      const Part& mine = parts_[static_cast<size_t>(begin + index)];
      split(call, tiles_[static_cast<size_t>(mine.tile)], mine.split, worker, state_of(mine));
    });
    pool.parallel_for(tiles, [&](int tile, int) { fold_wave(call, tile, wave * at_once_); });
    begin = end;
  }
}

// Adds the splits [first, first + at_once_) of a tile to its total, in the order of whole_tile.
void CpuAttention::fold_wave(const Call& call, int index, int first) {
  const Tile& tile = tiles_[static_cast<size_t>(index)];
  const State total = state_of({index, 0});
  const int end = std::min(first + at_once_, tile.splits);
  for (int i = std::max(first, 1); i < end; ++i) fold(call, tile, i, state_of({index, i}), total);
  if (first < tile.splits && end == tile.splits) finish(call, tile, total);
}

// Of a part while its wave lasts; the first split's is the tile's total.
CpuAttention::State CpuAttention::state_of(Part part) {
  const int slot =
      part.split == 0 ? part.tile : kTilesPerWorker * workers_ + part.tile * at_once_ + part.split % at_once_;
  return state_at(shared_memory_.as<float>() + state_floats_ * static_cast<size_t>(slot));
}

// Every row sees the first split; the others are folded into it.
void CpuAttention::whole_tile(const Call& call, const Tile& tile, int worker) {
  const State total = state_at(work(worker)), current = state_at(work(worker) + state_floats_);
  split(call, tile, 0, worker, total);
  for (int i = 1; i < tile.splits; ++i) {
    split(call, tile, i, worker, current);
    fold(call, tile, i, current, total);
  }
  finish(call, tile, total);
}

void CpuAttention::clear(const Tile& tile, const State& state) const {
  const int rows = rows_of(tile);
  std::fill_n(state.max, rows, -std::numeric_limits<float>::infinity());
  std::fill_n(state.sum, rows, 0.0f);
  std::fill_n(state.out, rows * width_, 0.0f);
}

// The running softmax of one split's positions, for the tile's rows that see any of them.
void CpuAttention::split(const Call& call, const Tile& tile, int split, int worker, const State& state) {
  clear(tile, state);
  float* q = work(worker) + 2 * state_floats_;
  for (int row = 0; row < rows_of(tile); ++row)
    std::memcpy(
        q + row * width_,
        call.qkv.row(tile.begin + row / group_) + (tile.kv_head * group_ + row % group_) * shape_.head_dim,
        static_cast<size_t>(shape_.head_dim) * sizeof(float));
  const int last = std::min(position(tile, rows_of(tile) - 1), (split + 1) * split_size_ - 1);
  for (int begin = split * split_size_; begin <= last; begin += chunk_size_)
    chunk(call, tile, begin, worker, state);
}

void CpuAttention::chunk(const Call& call, const Tile& tile, int begin, int worker, const State& state) {
  CpuKvCache& cache = call.cache;
  const int block_size = cache.layout.block_size, rows = rows_of(tile);
  const size_t head_bytes =
      cache.piece() / static_cast<size_t>(shape_.kv_heads) * static_cast<size_t>(tile.kv_head);
  const auto& table = inputs_.sequences[static_cast<size_t>(tile.sequence)].block_table;
  const void* k_blocks[kMaxChunkBlocks];
  const void* v_blocks[kMaxChunkBlocks];
  const int visible = std::min(chunk_size_, position(tile, rows - 1) + 1 - begin);
  for (int i = 0; i * block_size < visible; ++i) {
    const int32_t block = table[static_cast<size_t>(begin / block_size + i)];
    k_blocks[i] = cache.k(call.layer, block) + head_bytes;
    v_blocks[i] = cache.v(call.layer, block) + head_bytes;
  }
  int32_t limits[kMaxGroup];
  int first = 0;  // rows before it end before this chunk
  for (int row = 0; row < rows; ++row) {
    limits[row] = std::clamp(position(tile, row) + 1 - begin, 0, chunk_size_);
    if (limits[row] == 0) first = row + 1;
  }
  float* q = work(worker) + 2 * state_floats_;
  call.kernels.attention_chunk({.type = cache.type,
                                .q = q + first * width_,
                                .q_stride = width_,
                                .rows = rows - first,
                                .limit = limits + first,
                                .k_blocks = k_blocks,
                                .v_blocks = v_blocks,
                                .block_size = block_size,
                                .head_dim = shape_.head_dim,
                                .scale = shape_.scale,
                                .scores = q + tile_rows_ * width_,
                                .max = state.max + first,
                                .sum = state.sum + first,
                                .out = state.out + first * width_,
                                .out_stride = width_});
}

void CpuAttention::fold(const Call& call, const Tile& tile, int split, const State& part,
                        const State& total) const {
  for (int row = 0; row < rows_of(tile); ++row)
    if (position(tile, row) >= split * split_size_)
      call.kernels.attention_fold(total.max + row, total.sum + row, total.out + row * width_, part.max[row],
                                  part.sum[row], part.out + row * width_, width_);
}

void CpuAttention::finish(const Call& call, const Tile& tile, const State& total) const {
  for (int row = 0; row < rows_of(tile); ++row)
    call.kernels.attention_finish(
        total.sum[row], total.out + row * width_, shape_.head_dim,
        call.out.row(tile.begin + row / group_) + (tile.kv_head * group_ + row % group_) * shape_.head_dim);
}

}  // namespace agentinfer
