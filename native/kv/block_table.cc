#include "kv/block_table.h"

#include "tensor/check.h"

namespace agentinfer {

BlockTable::BlockTable(int block_size) : block_size_(block_size) {
  if (block_size < 1)
    fail(ErrorCode::kInvalidArgument, "block table: expected a block size of at least 1, got ", block_size);
}

int BlockTable::blocks_needed(int64_t tokens) const {
  const int64_t blocks = (tokens + block_size_ - 1) / block_size_;
  const int64_t missing = blocks - static_cast<int64_t>(blocks_.size());
  return missing > 0 ? static_cast<int>(missing) : 0;
}

int32_t BlockTable::slot(int64_t position) const {
  ensure(position >= 0 && position < capacity(), "block table: position ", position, " is outside its ",
         capacity(), " slots");
  return blocks_[static_cast<size_t>(position / block_size_)] * block_size_ +
         static_cast<int32_t>(position % block_size_);
}

void BlockTable::set_computed(int64_t tokens) {
  ensure(tokens >= 0 && tokens <= capacity(), "block table: ", tokens, " computed tokens in ", capacity(),
         " slots");
  computed_ = tokens;
}

void BlockTable::append(std::span<const int32_t> blocks) {
  blocks_.insert(blocks_.end(), blocks.begin(), blocks.end());
}

void BlockTable::clear() {
  blocks_.clear();
  computed_ = 0;
}

}  // namespace agentinfer
