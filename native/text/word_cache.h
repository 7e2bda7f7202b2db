#pragma once
// Remembers the ids of short stretches of text that are encoded on their own. Direct-mapped and of fixed
// size: a new word takes the place of an old one. Not thread safe; each scratch has its own.

#include <bit>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

namespace agentinfer {

static_assert(std::endian::native == std::endian::little, "WordKey reads bytes as little-endian words");

// At most 24 bytes of text, zero-padded, with its length and the way it is to be encoded.
struct WordKey {
  static constexpr size_t kMaxBytes = 24;

  // REQUIRES: word.size() <= kMaxBytes. Bytes up to `readable_end` may be read (and are masked off).
  WordKey(std::string_view word, const char* readable_end, bool plain)
      : tag(static_cast<uint32_t>(word.size()) << 1 | static_cast<uint32_t>(plain)) {
    if (readable_end - word.data() >= static_cast<ptrdiff_t>(kMaxBytes)) {
      std::memcpy(words, word.data(), kMaxBytes);
      for (size_t i = 0; i < 3; ++i) {
        const ptrdiff_t rest = static_cast<ptrdiff_t>(word.size()) - static_cast<ptrdiff_t>(8 * i);
        words[i] &= rest >= 8 ? ~uint64_t{0} : rest <= 0 ? 0 : (uint64_t{1} << (8 * rest)) - 1;
      }
    } else {
      std::memcpy(words, word.data(), word.size());
    }
  }

  uint64_t hash() const {
    uint64_t h = (words[0] ^ tag) * 0x9E3779B97F4A7C15ull;
    h = (h ^ h >> 32 ^ words[1]) * 0xC2B2AE3D27D4EB4Full;
    h = (h ^ h >> 29 ^ words[2]) * 0x165667B19E3779F9ull;
    return h ^ h >> 32;
  }

  uint64_t words[3] = {0, 0, 0};
  uint32_t tag;
};

class WordCache {
 public:
  static constexpr size_t kMaxIds = 8;

  WordCache() : entries_(kEntries) {}

  struct Slot {
    uint64_t words[3] = {0, 0, 0};
    uint32_t tag = 0xFFFFFFFF;  // no key has this
    uint32_t count = 0;
    int32_t ids[kMaxIds] = {};

    bool holds(const WordKey& key) const {
      return tag == key.tag && words[0] == key.words[0] && words[1] == key.words[1] &&
             words[2] == key.words[2];
    }
    std::span<const int32_t> found() const { return {ids, count}; }
  };

  Slot& slot(const WordKey& key) { return entries_[key.hash() & (kEntries - 1)]; }

  static void store(Slot& slot, const WordKey& key, std::span<const int32_t> ids) {
    if (ids.size() > kMaxIds) return;
    std::memcpy(slot.words, key.words, sizeof(slot.words));
    slot.tag = key.tag;
    slot.count = static_cast<uint32_t>(ids.size());
    if (!ids.empty()) std::memcpy(slot.ids, ids.data(), ids.size_bytes());
  }

 private:
  static constexpr size_t kEntries = 1 << 14;  // 1 MiB
  std::vector<Slot> entries_;
};

}  // namespace agentinfer
