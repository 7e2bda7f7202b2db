#include "text/merger.h"

#include <algorithm>

namespace agentinfer {
namespace {

constexpr uint32_t kNoRank = 0xFFFFFFFF;
constexpr size_t kTickEvery = 1 << 15;  // merges

const MergeTable::Entry* lookup(const MergeTable& table, bool plain, uint32_t left, uint32_t right) {
  const MergeTable::Entry* entry = table.find(left, right);
  return entry && plain && (entry->result & MergeTable::kMarker) ? nullptr : entry;
}

}  // namespace

void Merger::merge(const MergeTable& table, bool plain, std::vector<uint32_t>& symbols, const Tick& tick) {
  if (symbols.size() <= kShort)
    merge_short(table, plain, symbols);
  else
    merge_long(table, plain, symbols, tick, nullptr);
}

void Merger::merge_observed(const MergeTable& table, bool plain, std::vector<uint32_t>& symbols,
                            const Tick& tick, const PairSeen& seen) {
  merge_long(table, plain, symbols, tick, &seen);
}

void Merger::merge_short(const MergeTable& table, bool plain, std::vector<uint32_t>& symbols) {
  uint32_t* symbol = symbols.data();
  size_t count = symbols.size();
  uint32_t rank[kShort], result[kShort];  // of the pair (i, i + 1)
  const auto rate = [&](size_t i) {
    const MergeTable::Entry* entry = lookup(table, plain, symbol[i], symbol[i + 1]);
    rank[i] = entry ? entry->rank : kNoRank;
    result[i] = entry ? entry->result & ~MergeTable::kMarker : 0;
  };
  for (size_t i = 0; i + 1 < count; ++i) rate(i);
  while (count > 1) {
    uint32_t lowest = kNoRank;  // in two passes: compilers vectorise both
    for (size_t i = 0; i + 1 < count; ++i) lowest = std::min(lowest, rank[i]);
    if (lowest == kNoRank) break;
    size_t best = 0;
    while (rank[best] != lowest) ++best;
    symbol[best] = result[best];
    std::copy(symbol + best + 2, symbol + count, symbol + best + 1);
    --count;
    if (best + 1 < count) {
      std::copy(rank + best + 2, rank + count, rank + best + 1);
      std::copy(result + best + 2, result + count, result + best + 1);
      rate(best);
    }
    if (best > 0) rate(best - 1);
  }
  symbols.resize(count);
}

void Merger::push(const MergeTable& table, bool plain, const std::vector<uint32_t>& symbols, uint32_t left,
                  uint32_t right, const PairSeen* seen) {
  const MergeTable::Entry* entry = lookup(table, plain, symbols[left], symbols[right]);
  if (!entry) return;
  if (seen) (*seen)(*entry);
  heap_.push_back({static_cast<uint64_t>(entry->rank) << 32 | left, right, symbols[right],
                   entry->result & ~MergeTable::kMarker});
}

void Merger::merge_long(const MergeTable& table, bool plain, std::vector<uint32_t>& symbols, const Tick& tick,
                        const PairSeen* seen) {
  const auto later = [](const Candidate& a, const Candidate& b) { return a.key > b.key; };
  const size_t count = symbols.size();
  ensure(count < kNone, "a text of ", count, " symbols");
  heap_.clear();
  prev_.resize(count);
  next_.resize(count);
  for (uint32_t i = 0; i < count; ++i) {
    prev_[i] = i - 1;  // kNone before the first
    next_[i] = i + 1 < count ? i + 1 : kNone;
    if (i > 0) push(table, plain, symbols, i - 1, i, seen);
    if (i % kTickEvery == 0) tick();
  }
  std::make_heap(heap_.begin(), heap_.end(), later);
  for (size_t pops = 1; !heap_.empty(); ++pops) {
    if (pops % kTickEvery == 0) tick();
    const Candidate top = heap_.front();
    std::pop_heap(heap_.begin(), heap_.end(), later);
    heap_.pop_back();
    const auto left = static_cast<uint32_t>(top.key), right = top.right;
    // A symbol changes only by absorbing its right neighbour or by being absorbed, so both being alive and
    // the right one being the same symbol means that the left one has not changed either.
    if (symbols[left] == kDead || symbols[right] != top.right_symbol) continue;
    symbols[left] = top.result;
    symbols[right] = kDead;
    next_[left] = next_[right];
    if (next_[left] != kNone) prev_[next_[left]] = left;
    const auto add = [&](uint32_t a, uint32_t b) {
      const size_t before = heap_.size();
      push(table, plain, symbols, a, b, seen);
      if (heap_.size() > before) std::push_heap(heap_.begin(), heap_.end(), later);
    };
    if (prev_[left] != kNone) add(prev_[left], left);
    if (next_[left] != kNone) add(left, next_[left]);
  }
  std::erase(symbols, kDead);
}

void Merger::trim() {
  if (heap_.capacity() * sizeof(Candidate) <= 1 << 20) return;
  heap_ = {};
  prev_ = {};
  next_ = {};
}

}  // namespace agentinfer
