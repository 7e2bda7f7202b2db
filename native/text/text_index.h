#pragma once
// Texts to ids: an open-addressing hash table that is fast to build from the hundreds of thousands of texts
// of a vocabulary. Keys are borrowed: what they refer to must outlive the index.

#include <bit>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

namespace agentinfer {

class TextIndex {
 public:
  static constexpr int32_t kAbsent = -1;

  TextIndex() { rehash(16); }
  void reserve(size_t count) {
    entries_.reserve(count);
    if (count * 2 > slots_.size()) rehash(std::bit_ceil(count * 2));
  }

  // REQUIRES: id >= 0. The first of equal texts stays; false for the others.
  bool insert(std::string_view text, int32_t id) {
    Entry& entry = obtain(text);
    if (entry.id != kAbsent) return false;
    entry.id = id;
    return true;
  }
  void assign(std::string_view text, int32_t id) { obtain(text).id = id; }
  void erase(std::string_view text) {
    if (find(text) != kAbsent) obtain(text).id = kAbsent;
  }
  int32_t find(std::string_view text) const {
    const Slot& slot = slots_[locate(text, hash(text))];
    return slot.entry == kFree ? kAbsent : entries_[slot.entry].id;
  }

 private:
  static constexpr uint32_t kFree = 0xFFFFFFFF;
  struct Slot {
    uint32_t hash = 0;
    uint32_t entry = kFree;
  };
  struct Entry {
    std::string_view text;
    int32_t id;
  };

  static uint32_t hash(std::string_view text) {
    uint64_t h = text.size() * 0x9E3779B97F4A7C15ull;
    while (!text.empty()) {
      uint64_t word = 0;
      const size_t size = text.size() < 8 ? text.size() : 8;
      std::memcpy(&word, text.data(), size);
      h = (h ^ word) * 0xC2B2AE3D27D4EB4Full;
      h ^= h >> 32;
      text.remove_prefix(size);
    }
    return static_cast<uint32_t>(h * 0x165667B19E3779F9ull >> 32);
  }

  size_t locate(std::string_view text, uint32_t hashed) const {
    size_t at = hashed & (slots_.size() - 1);
    while (slots_[at].entry != kFree &&
           (slots_[at].hash != hashed || entries_[slots_[at].entry].text != text))
      at = (at + 1) & (slots_.size() - 1);
    return at;
  }

  Entry& obtain(std::string_view text) {
    if ((entries_.size() + 1) * 2 > slots_.size()) rehash(slots_.size() * 2);
    const uint32_t hashed = hash(text);
    Slot& slot = slots_[locate(text, hashed)];
    if (slot.entry == kFree) {
      slot = {hashed, static_cast<uint32_t>(entries_.size())};
      entries_.push_back({text, kAbsent});
    }
    return entries_[slot.entry];
  }

  void rehash(size_t count) {
    std::vector<Slot> old(count);
    old.swap(slots_);
    for (const Slot& slot : old) {
      if (slot.entry == kFree) continue;
      size_t at = slot.hash & (count - 1);
      while (slots_[at].entry != kFree) at = (at + 1) & (count - 1);
      slots_[at] = slot;
    }
  }

  std::vector<Slot> slots_;     // a power of two of them, at most half full
  std::vector<Entry> entries_;  // in order of insertion
};

}  // namespace agentinfer
