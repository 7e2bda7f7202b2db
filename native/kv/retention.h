#pragma once
// The order in which cached blocks are given up. TypeScript decides it (lib/policy/retain), the index carries
// it out.

#include <compare>
#include <cstdint>
#include <limits>

namespace agentinfer {

// A session, or whoever else retains KV. Any number but kNoOwner.
using OwnerId = int64_t;
inline constexpr OwnerId kNoOwner = std::numeric_limits<int64_t>::min();

inline constexpr double kNeverExpires = std::numeric_limits<double>::infinity();

// What an owner asks for. Stronger: higher class, then later expiry. The default is the weakest.
struct Retention {
  uint8_t retention_class = 0;
  double expiry = 0;  // seconds on the clock of the caller, who passes `now` wherever it matters
  friend auto operator<=>(const Retention&, const Retention&) = default;
};

// A block's place in the order of eviction: lowest class first; within a class expired (expiry <= now) before
// unexpired; then oldest last use. Equal in all: the lower node number, so that the order is the same in
// every run.
struct RetentionKey {
  Retention retention;
  uint64_t last_use = 0;  // the index's own count of acquire and release operations
};

}  // namespace agentinfer
