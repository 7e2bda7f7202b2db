#pragma once
// The hashes of the last blocks evicted, so that a miss can be told from content never seen. A ring with a
// hash table over it; everything is O(1), all memory is taken by the constructor.

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kv/chain_hash.h"

namespace agentinfer {

class Tombstones {
 public:
  explicit Tombstones(int capacity);  // >= 0
  void add(const Hash128& hash);      // forgets the oldest if full; no effect if present
  bool contains(const Hash128& hash) const;
  int size() const { return static_cast<int>(count_); }

 private:
  size_t home(const Hash128& hash) const { return static_cast<size_t>(hash.high) & mask_; }
  size_t find(const Hash128& hash) const;  // its slot, or the empty slot where it would go
  void remove(size_t slot);

  std::vector<Hash128> ring_;
  std::vector<int32_t> table_;  // index into ring_ or -1; linear probing, at most half full
  size_t mask_ = 0, next_ = 0, count_ = 0;
};

}  // namespace agentinfer
