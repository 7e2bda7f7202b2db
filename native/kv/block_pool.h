#pragma once
// The KV blocks of one device, by number. The pool knows who holds a block, not what is in it.
//
// A block is in exactly one state:
//   free     nobody refers to it, its content is worthless
//   used     refs > 0 holders (sequences, reservations); it may be indexed at the same time
//   cached   refs == 0, but the prefix index (kv/prefix_index.h) still finds its content: reusable, evictable
//
// Every operation is O(1) and allocates nothing. One thread (the engine's).

#include <cstddef>
#include <cstdint>
#include <vector>

namespace agentinfer {

inline constexpr int32_t kNoBlock = -1;
inline constexpr int32_t kNoNode = -1;

enum class BlockState : uint8_t { kFree, kUsed, kCached };

class BlockPool {
 public:
  // `blocks` >= 1 blocks of `block_size` >= 1 tokens, all free. Throws kInvalidArgument.
  BlockPool(int blocks, int block_size);

  // A free block, now with one reference, or kNoBlock. The lowest numbers go first; then the last one freed.
  int32_t allocate();
  // Adds a reference to a used or cached block.
  void ref(int32_t block);
  // Takes a reference from a used block and returns its new state: used, or cached if indexed, else free.
  // Sequences do not call this but PrefixIndex::release, which also queues a cached block for eviction.
  BlockState unref(int32_t block);

  // The index's mark on a block: the node that describes its content. A block must be used to be marked;
  // unmarking a cached block frees it.
  void set_node(int32_t block, int32_t node);
  void clear_node(int32_t block);
  int32_t node(int32_t block) const { return at(block).node; }

  int refs(int32_t block) const { return at(block).refs; }
  BlockState state(int32_t block) const;

  int block_size() const { return block_size_; }
  int total() const { return static_cast<int>(blocks_.size()); }
  int free_count() const { return free_; }
  int used_count() const { return total() - free_ - cached_; }
  int cached_count() const { return cached_; }

  // Throws kInternal unless free + used + cached = total, every block is in one state, and the free list
  // holds each free block once. O(blocks).
  void check() const;

 private:
  struct Block {
    int32_t refs = 0;
    int32_t node = kNoNode;
    int32_t next_free = kNoBlock;  // valid while free
    bool free = true;
  };
  const Block& at(int32_t block) const;
  Block& at(int32_t block);
  void push_free(int32_t block);

  std::vector<Block> blocks_;
  int block_size_;
  int32_t free_head_ = kNoBlock;
  int free_ = 0;
  int cached_ = 0;
};

}  // namespace agentinfer
