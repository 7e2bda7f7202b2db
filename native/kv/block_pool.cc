#include "kv/block_pool.h"

#include "tensor/check.h"

namespace agentinfer {

BlockPool::BlockPool(int blocks, int block_size) : block_size_(block_size) {
  if (blocks < 1) fail(ErrorCode::kInvalidArgument, "block pool: expected at least 1 block, got ", blocks);
  if (block_size < 1)
    fail(ErrorCode::kInvalidArgument, "block pool: expected a block size of at least 1, got ", block_size);
  blocks_.resize(static_cast<size_t>(blocks));
  for (int block = blocks - 1; block >= 0; --block) push_free(block);
}

const BlockPool::Block& BlockPool::at(int32_t block) const {
  if (block < 0 || block >= total())
    fail(ErrorCode::kInvalidArgument, "block pool: expected a block in [0, ", total(), "), got ", block);
  return blocks_[static_cast<size_t>(block)];
}

BlockPool::Block& BlockPool::at(int32_t block) {
  return const_cast<Block&>(static_cast<const BlockPool&>(*this).at(block));
}

void BlockPool::push_free(int32_t block) {
  Block& entry = blocks_[static_cast<size_t>(block)];
  entry.free = true;
  entry.next_free = free_head_;
  free_head_ = block;
  ++free_;
}

int32_t BlockPool::allocate() {
  const int32_t block = free_head_;
  if (block == kNoBlock) return kNoBlock;
  Block& entry = blocks_[static_cast<size_t>(block)];
  free_head_ = entry.next_free;
  --free_;
  entry.free = false;
  entry.next_free = kNoBlock;
  entry.refs = 1;
  return block;
}

void BlockPool::ref(int32_t block) {
  Block& entry = at(block);
  if (entry.free)
    fail(ErrorCode::kInvalidArgument, "block pool: block ", block, " is free, it cannot be shared");
  if (entry.refs == 0) --cached_;
  ++entry.refs;
}

BlockState BlockPool::unref(int32_t block) {
  Block& entry = at(block);
  if (entry.refs == 0)
    fail(ErrorCode::kInvalidArgument, "block pool: block ", block,
         " is given back more often than it was taken");
  if (--entry.refs > 0) return BlockState::kUsed;
  if (entry.node != kNoNode) {
    ++cached_;
    return BlockState::kCached;
  }
  push_free(block);
  return BlockState::kFree;
}

void BlockPool::set_node(int32_t block, int32_t node) {
  Block& entry = at(block);
  if (entry.refs == 0 || entry.node != kNoNode || node < 0)
    fail(ErrorCode::kInvalidArgument, "block pool: expected a used, unindexed block for node ", node,
         ", got block ", block, " with ", entry.refs, " references and node ", entry.node);
  entry.node = node;
}

void BlockPool::clear_node(int32_t block) {
  Block& entry = at(block);
  if (entry.node == kNoNode)
    fail(ErrorCode::kInvalidArgument, "block pool: block ", block, " is not indexed");
  entry.node = kNoNode;
  if (entry.refs > 0) return;
  --cached_;
  push_free(block);
}

BlockState BlockPool::state(int32_t block) const {
  const Block& entry = at(block);
  if (entry.free) return BlockState::kFree;
  return entry.refs > 0 ? BlockState::kUsed : BlockState::kCached;
}

void BlockPool::check() const {
  int free = 0, used = 0, cached = 0;
  for (size_t i = 0; i < blocks_.size(); ++i) {
    const Block& entry = blocks_[i];
    ensure(entry.refs >= 0, "block ", i, " has ", entry.refs, " references");
    ensure(!entry.free || (entry.refs == 0 && entry.node == kNoNode), "block ", i, " is free and in use");
    ensure(entry.free || entry.refs > 0 || entry.node != kNoNode, "block ", i,
           " is leaked: no holder, not cached, not free");
    ++(entry.free ? free : entry.refs > 0 ? used : cached);
  }
  ensure(free == free_ && used == used_count() && cached == cached_, "pool counts ", free_, " free, ",
         used_count(), " used, ", cached_, " cached; found ", free, ", ", used, ", ", cached);
  int listed = 0;
  for (int32_t block = free_head_; block != kNoBlock; block = at(block).next_free) {
    ensure(at(block).free && ++listed <= free, "the free list holds block ", block, " wrongly");
  }
  ensure(listed == free, "the free list holds ", listed, " of ", free, " free blocks");
}

}  // namespace agentinfer
