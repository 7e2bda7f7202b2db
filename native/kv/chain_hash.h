#pragma once
// 128-bit keyed hash chains over blocks of tokens: hash(block i) covers the salt and all tokens up to the end
// of block i. Equal hashes stand for equal prefixes where only counts depend on it (unions of demand,
// tombstones); KV is never shared on the strength of a hash, the index compares tokens. Keyed with a secret
// per index, so that nobody who only chooses tokens can aim at a collision; among honest inputs one is
// expected after about 2^64 blocks.

#include <array>
#include <cstdint>
#include <span>

namespace agentinfer {

struct Hash128 {
  uint64_t high = 0, low = 0;
  friend bool operator==(const Hash128&, const Hash128&) = default;
  friend auto operator<=>(const Hash128&, const Hash128&) = default;
};

class ChainHasher {
 public:
  using Secret = std::array<uint64_t, 4>;
  static Secret random_secret();  // from the operating system
  explicit ChainHasher(const Secret& secret);

  // The hash before the first block.
  Hash128 root(uint64_t salt) const;
  // The hash after `tokens`, which follow whatever `parent` covers. The number of tokens is part of the hash.
  Hash128 extend(const Hash128& parent, std::span<const int32_t> tokens) const;

 private:
  Secret secret_;
};

}  // namespace agentinfer
