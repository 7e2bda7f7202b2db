#pragma once
// The blocks of one sequence, in order, and how many of its tokens have their KV computed.
//   0 <= computed <= capacity = blocks * block_size
// Entry i holds positions [i * block_size, (i + 1) * block_size). Each entry is one reference on its block;
// the table does not give references back by itself (it does not know the index): PrefixIndex::release_table
// does. Rejected drafts need nothing here: `computed` simply does not advance, and the slots behind it are
// written again.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace agentinfer {

// "Copy all KV of block `from` to block `to`" (Backend::copy_block).
struct BlockCopy {
  int32_t from = -1, to = -1;
};

class BlockTable {
 public:
  explicit BlockTable(int block_size);

  std::span<const int32_t> blocks() const { return blocks_; }
  int block_size() const { return block_size_; }
  int64_t computed() const { return computed_; }
  int64_t capacity() const { return static_cast<int64_t>(blocks_.size()) * block_size_; }
  // Blocks that must be added so that `tokens` tokens fit. 0 if they fit already.
  int blocks_needed(int64_t tokens) const;
  // block * block_size + offset of a position below capacity: where its K and V go (StepInputs::slots).
  int32_t slot(int64_t position) const;

  // computed() = tokens, which must be within the capacity (kInternal).
  void set_computed(int64_t tokens);
  // For Reservation and PrefixIndex. `append` takes over one reference per block.
  void reserve(size_t blocks) { blocks_.reserve(blocks); }
  void append(std::span<const int32_t> blocks);
  void replace(size_t index, int32_t block) { blocks_.at(index) = block; }
  void clear();

 private:
  std::vector<int32_t> blocks_;
  int block_size_;
  int64_t computed_ = 0;
};

}  // namespace agentinfer
