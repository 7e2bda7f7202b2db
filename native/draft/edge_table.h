#pragma once
// The transitions of a suffix automaton that do not fit in the states: an open-addressing table keyed by
// (state, token), cut into segments of 512 slots (extendible hashing). A full segment splits in two, so
// the work of one insertion is bounded by one segment, whatever the table's size: no pause to rehash it all.
//
// The entries of one state form a list by token, not by slot, so they survive every move:
// EdgeTable::Edge::next_token names the state's next entry.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "draft/pages.h"

namespace agentinfer {

class EdgeTable {
 public:
  struct Edge {               // 16 bytes
    uint32_t state = kEmpty;  // in a table, with kSpilled
    int32_t token = 0;
    uint32_t target = 0;
    int32_t next_token = -1;
  };

  EdgeTable();

  // nullptr: no such edge. The pointer is valid until the next insert.
  const Edge* find(uint32_t state, int32_t token) const;
  Edge* find(uint32_t state, int32_t token) {
    return const_cast<Edge*>(std::as_const(*this).find(state, token));
  }
  // Starts loading what find() would look at.
  void prefetch(uint32_t state, int32_t token) const {
    const uint64_t h = hash(state, token);
    agentinfer::prefetch(&directory_[place(h)]->slots[home_of(h)]);
  }
  void insert(const Edge& edge);  // REQUIRES: not contained, state < kEmpty

  size_t size() const { return size_; }
  size_t bytes() const;
  void check() const;  // kInternal unless every edge is found where it lies

 private:
  static constexpr uint32_t kEmpty = INT32_MAX;
  static constexpr uint32_t kSpilled = uint32_t{1} << 31;  // see home_of
  static constexpr uint32_t kLine = 4;                     // slots in a cache line
  static constexpr uint32_t kSlots = 512;
  static constexpr uint32_t kFull = 376;  // a segment with so many entries splits: load 0.37 to 0.73
  struct alignas(64) Segment {
    Edge slots[kSlots];
    uint32_t used = 0;
    uint32_t depth = 0;  // hash bits that all its entries share
  };

  // The top bits choose the segment, bits 20 to 28 the slot: independent up to 2^35 segments.
  static uint64_t hash(uint32_t state, int32_t token) {
    uint64_t h = (uint64_t{state} << 32) | static_cast<uint32_t>(token);
    h = (h ^ (h >> 32)) * 0x9e3779b97f4a7c15u;
    h = (h ^ (h >> 29)) * 0xbf58476d1ce4e5b9u;
    return h ^ (h >> 32);
  }
  // Probes go to home ^ 0, 1, 2, ...: through the cache line of the home first, then through the line beside
  // it, then through the pair of lines beside those. An edge that found no room in its home's line sets
  // kSpilled in that line's first slot, so that looking for what is not here mostly ends in one line.
  static uint32_t home_of(uint64_t hash) { return static_cast<uint32_t>(hash >> 20) & (kSlots - 1); }
  size_t place(uint64_t hash) const { return depth_ == 0 ? 0 : static_cast<size_t>(hash >> (64 - depth_)); }
  static void put(Segment& segment, uint64_t hash, const Edge& edge);
  void split(size_t at);

  std::vector<std::unique_ptr<Segment>> segments_;
  std::vector<Segment*> directory_;  // 2^depth_ entries; those of one segment are adjacent
  uint32_t depth_ = 0;
  size_t size_ = 0;
};

}  // namespace agentinfer
