#pragma once
// What one token list (a waiting request, a running sequence) remembers of its way through the prefix index,
// so that probing it again costs next to nothing: the matched nodes, and the hashes of its full blocks.
//
// A cursor belongs to one token list, which may only grow; hand it the same list each time. It refers to
// nodes that may go away: the index notices (each node has a stamp), so an old cursor is never wrong, only
// shorter after the next probe. Cost of PrefixIndex::probe: O(1) if the index has not changed since the last
// probe of as many tokens; else O(log blocks) + O(blocks newly matched).

#include <cstdint>
#include <span>
#include <vector>

#include "kv/block_pool.h"
#include "kv/chain_hash.h"

namespace agentinfer {

// The counts of one probe. Matched full blocks, in order along the sequence: pinned, then evictable, then
// host.
struct PrefixMatch {
  int pinned = 0;  // on the device, referenced by running sequences: free of charge
  int evictable =
      0;         // on the device, referenced by nobody: sharing them takes them out of the evictable pool
  int host = 0;  // in the host tier (or on the way there): each needs a device block and a copy
  int in_flight = 0;  // of pinned + evictable: their copy from the host has not been reported complete
  int32_t partial_block =
      kNoBlock;            // its first `partial_tokens` tokens continue the match; to be reused by copy
  int partial_tokens = 0;  // in [0, block_size)
  int64_t tokens =
      0;  // (pinned + evictable) * block_size: usable at once, without `partial_tokens` and `host`

  int device() const { return pinned + evictable; }
  int blocks() const { return pinned + evictable + host; }
  friend bool operator==(const PrefixMatch&, const PrefixMatch&) = default;
};

class ChainCursor {
 public:
  explicit ChainCursor(uint64_t salt) : salt_(salt) {}
  uint64_t salt() const { return salt_; }
  // As of the last probe.
  const PrefixMatch& match() const { return match_; }

 private:
  friend class PrefixIndex;
  struct Step {
    int32_t node = kNoNode;
    uint32_t stamp = 0;
  };
  uint64_t salt_;
  std::vector<Step> path_;       // matched nodes of full blocks; a prefix of it is alive (leaves go first)
  std::vector<Hash128> hashes_;  // hashes_[i] covers blocks 0..i; filled when a union asks for it
  PrefixMatch match_;
  uint64_t generation_ = 0;  // of the index at the last probe; 0: never
  size_t probed_tokens_ = 0;
  size_t published_ = 0;  // leading nodes whose blocks the sequence's table holds
};

// Several token lists at once, every distinct block counted once (the paper's H and D as unions; arXiv
// 2512.18337, AgentSched).
struct UnionDemand {
  int64_t pinned = 0;     // distinct device hits held by running sequences
  int64_t evictable = 0;  // distinct device hits with no reference: H
  int64_t host = 0;       // distinct host hits
  int64_t fresh = 0;  // distinct blocks not indexed at all: D. An unfinished last block counts for each list
  friend bool operator==(const UnionDemand&, const UnionDemand&) = default;
};

}  // namespace agentinfer
