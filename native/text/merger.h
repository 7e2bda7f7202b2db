#pragma once
// Byte pair merging: repeatedly merge the adjacent pair of lowest rank, the leftmost on ties, until no pair
// merges. This is the order of both reference libraries (SentencePiece bpe_model.cc, tokenizers bpe/word.rs).
// One Merger per thread.

#include <cstdint>
#include <functional>
#include <vector>

#include "text/merge_table.h"

namespace agentinfer {

class Merger {
 public:
  // Called for every pair that merges when it becomes adjacent, before it is known whether it will be merged.
  using PairSeen = std::function<void(const MergeTable::Entry&)>;
  // Called now and then during long work; may throw.
  using Tick = std::function<void()>;

  // Merges `symbols` in place and shortens it. `plain`: merges whose result is a marker do not exist.
  // O(n^2) up to kShort symbols, O(n log n) beyond.
  void merge(const MergeTable& table, bool plain, std::vector<uint32_t>& symbols, const Tick& tick);
  // The same by the O(n log n) way, telling `seen` of each pair.
  void merge_observed(const MergeTable& table, bool plain, std::vector<uint32_t>& symbols, const Tick& tick,
                      const PairSeen& seen);

  // Gives back memory that an unusually long text left behind.
  void trim();

 private:
  static constexpr size_t kShort = 40;
  static constexpr uint32_t kDead = 0xFFFFFFFF;
  static constexpr uint32_t kNone = 0xFFFFFFFF;

  // A candidate: symbols at `left` and its right neighbour, valid while both are unchanged.
  struct Candidate {
    uint64_t key;  // rank << 32 | left: the smallest merges first
    uint32_t right;
    uint32_t right_symbol;
    uint32_t result;
  };

  void merge_short(const MergeTable& table, bool plain, std::vector<uint32_t>& symbols);
  void push(const MergeTable& table, bool plain, const std::vector<uint32_t>& symbols, uint32_t left,
            uint32_t right, const PairSeen* seen);
  void merge_long(const MergeTable& table, bool plain, std::vector<uint32_t>& symbols, const Tick& tick,
                  const PairSeen* seen);

  std::vector<Candidate> heap_;
  std::vector<uint32_t> prev_, next_;
};

}  // namespace agentinfer
