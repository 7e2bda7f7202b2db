#include "kv/tombstones.h"

#include <algorithm>
#include <bit>

namespace agentinfer {

Tombstones::Tombstones(int capacity) {
  ring_.resize(static_cast<size_t>(std::max(capacity, 0)));
  const size_t slots = std::bit_ceil(2 * ring_.size() + 2);
  table_.resize(slots, -1);
  mask_ = slots - 1;
}

size_t Tombstones::find(const Hash128& hash) const {
  size_t slot = home(hash);
  while (table_[slot] >= 0 && ring_[static_cast<size_t>(table_[slot])] != hash) slot = (slot + 1) & mask_;
  return slot;
}

bool Tombstones::contains(const Hash128& hash) const {
  return table_[find(hash)] >= 0;
}

void Tombstones::add(const Hash128& hash) {
  if (ring_.empty() || contains(hash)) return;
  if (count_ == ring_.size()) {
    remove(find(ring_[next_]));
    --count_;
  }
  ring_[next_] = hash;
  table_[find(hash)] = static_cast<int32_t>(next_);
  next_ = (next_ + 1) % ring_.size();
  ++count_;
}

// Closes the gap: an entry behind it moves up unless that would put it before its home.
void Tombstones::remove(size_t slot) {
  for (size_t at = (slot + 1) & mask_; table_[at] >= 0; at = (at + 1) & mask_) {
    const size_t from_home = (at - home(ring_[static_cast<size_t>(table_[at])])) & mask_;
    if (from_home < ((at - slot) & mask_)) continue;
    table_[slot] = table_[at];
    slot = at;
  }
  table_[slot] = -1;
}

}  // namespace agentinfer
