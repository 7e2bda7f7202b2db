#pragma once
// The merges of a BPE vocabulary: (left symbol, right symbol) -> (merged symbol, rank). Lower rank merges
// first. Open addressing over 16-byte entries; immutable after build; no strings are touched while encoding.

#include <bit>
#include <cstdint>
#include <vector>

#include "tensor/check.h"

namespace agentinfer {

class MergeTable {
 public:
  struct Entry {
    uint32_t left = kEmpty, right = kEmpty;
    uint32_t result = 0;  // the merged symbol; kMarker is set when it is a special marker
    uint32_t rank = 0;
  };
  static constexpr uint32_t kEmpty = 0xFFFFFFFF;
  static constexpr uint32_t kMarker = 0x80000000;  // in Entry::result: forbidden in plain text

  // Room for `count` entries at a load of at most one half.
  explicit MergeTable(size_t count = 0) {
    const size_t slots = std::bit_ceil(count < 4 ? size_t{8} : count * 2);
    entries_.resize(slots);
    shift_ = 64 - std::countr_zero(slots);
  }

  // The first entry of a pair stays; returns false for a repetition. REQUIRES: at most `count` distinct
  // pairs; left != kEmpty.
  bool insert(const Entry& entry) {
    Entry& slot = entries_[locate(entry.left, entry.right)];
    if (slot.left != kEmpty) return false;
    ensure(++used_ <= entries_.size() / 2, "MergeTable: more pairs than announced");
    slot = entry;
    return true;
  }

  // nullptr when the pair does not merge.
  const Entry* find(uint32_t left, uint32_t right) const {
    const Entry& slot = entries_[locate(left, right)];
    return slot.left == kEmpty ? nullptr : &slot;
  }

 private:
  size_t locate(uint32_t left, uint32_t right) const {
    const uint64_t key = static_cast<uint64_t>(left) << 32 | right;
    size_t at = ((key ^ key >> 29) * 0x9E3779B97F4A7C15ull) >> shift_;
    while (entries_[at].left != kEmpty && (entries_[at].left != left || entries_[at].right != right))
      at = (at + 1) & (entries_.size() - 1);
    return at;
  }

  std::vector<Entry> entries_;
  int shift_;
  size_t used_ = 0;
};

}  // namespace agentinfer
