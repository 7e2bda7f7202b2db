// The part of PrefixIndex that only looks.

#include <algorithm>
#include <numeric>

#include "kv/prefix_index.h"
#include "tensor/check.h"

namespace agentinfer {
namespace {

// Full blocks that two lists of chain hashes have in common. Equal hashes mean equal prefixes, so it can be
// bisected.
size_t common_blocks(std::span<const Hash128> a, std::span<const Hash128> b) {
  size_t low = 0, high = std::min(a.size(), b.size());
  while (low < high) {
    const size_t middle = (low + high + 1) / 2;
    if (a[middle - 1] == b[middle - 1]) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

}  // namespace

std::string_view miss_cause_name(MissCause cause) {
  switch (cause) {
    case MissCause::kNone:
      return "none";
    case MissCause::kNeverSeen:
      return "never-seen";
    case MissCause::kEvicted:
      return "evicted";
    case MissCause::kSalt:
      return "salt";
    case MissCause::kPartial:
      return "partial";
  }
  return "unknown";
}

// ---------------------------------------------------------------------------------------------------- probe

void PrefixIndex::match_path(std::span<const int32_t> tokens, ChainCursor& cursor) const {
  std::vector<ChainCursor::Step>& path = cursor.path_;
  const size_t size = static_cast<size_t>(pool_.block_size()), full = tokens.size() / size;
  if (path.size() > full) path.resize(full);
  const auto alive = [this](const ChainCursor::Step& step) {
    return step.node != kNoNode && tree_.alive(step.node, step.stamp);
  };
  if (!path.empty() && !alive(path.back())) {  // leaves go first, so what is alive is a prefix
    path.resize(static_cast<size_t>(std::partition_point(path.begin(), path.end(), alive) - path.begin()));
  }
  int32_t node = path.empty() ? kNoNode : path.back().node;
  while (path.size() < full) {
    node = tree_.find(cursor.salt_, node, tokens.subspan(path.size() * size, size));
    if (node == kNoNode) break;
    path.push_back({node, tree_[node].stamp});
  }
  cursor.published_ = std::min(cursor.published_, path.size());
}

void PrefixIndex::match_partial(std::span<const int32_t> tokens, ChainCursor& cursor) const {
  const size_t size = static_cast<size_t>(pool_.block_size()), done = cursor.path_.size() * size;
  const std::span<const int32_t> rest = tokens.subspan(done, std::min(size, tokens.size() - done));
  if (rest.empty()) return;
  const int32_t parent = cursor.path_.empty() ? kNoNode : cursor.path_.back().node;
  const BlockTree::Neighbours near = tree_.neighbours(cursor.salt_, parent, rest);
  for (const BlockTree::Neighbour& sibling : {near.before, near.after}) {
    if (sibling.common <= cursor.match_.partial_tokens || tree_[sibling.node].state != NodeState::kDevice)
      continue;
    cursor.match_.partial_block = tree_[sibling.node].block;
    cursor.match_.partial_tokens = sibling.common;
  }
}

void PrefixIndex::probe(std::span<const int32_t> tokens, ChainCursor& cursor) const {
  if (cursor.generation_ == generation_ && cursor.probed_tokens_ == tokens.size()) return;
  cursor.generation_ = 0;  // in case the path cannot grow
  match_path(tokens, cursor);
  // Along a chain nodes are pinned, then evictable, then on the host (see the invariants), so two bisections
  // count them.
  const auto on_device = [this](const ChainCursor::Step& step) { return tree_[step.node].on_device(); };
  const auto pinned = [this](const ChainCursor::Step& step) {
    return pool_.refs(tree_[step.node].block) > 0;
  };
  const auto device_end = std::partition_point(cursor.path_.begin(), cursor.path_.end(), on_device);
  const auto pinned_end = std::partition_point(cursor.path_.begin(), device_end, pinned);
  PrefixMatch& match = cursor.match_;
  match = {};
  match.pinned = static_cast<int>(pinned_end - cursor.path_.begin());
  match.evictable = static_cast<int>(device_end - pinned_end);
  match.host = static_cast<int>(cursor.path_.end() - device_end);
  match.tokens = static_cast<int64_t>(match.device()) * pool_.block_size();
  if (arriving_ > 0) {
    match.in_flight = static_cast<int>(std::count_if(
        cursor.path_.begin(), device_end,
        [this](const ChainCursor::Step& step) { return tree_[step.node].state == NodeState::kFromHost; }));
  }
  match_partial(tokens, cursor);
  cursor.probed_tokens_ = tokens.size();
  cursor.generation_ = generation_;
}

PrefixMatch PrefixIndex::lookup(uint64_t salt, std::span<const int32_t> tokens,
                                std::vector<int32_t>* blocks) const {
  ChainCursor cursor(salt);
  cursor.path_.reserve(tokens.size() / static_cast<size_t>(pool_.block_size()));
  probe(tokens, cursor);
  if (blocks) {
    blocks->clear();
    for (int i = 0; i < cursor.match_.device(); ++i)
      blocks->push_back(tree_[cursor.path_[static_cast<size_t>(i)].node].block);
  }
  return cursor.match_;
}

// ---------------------------------------------------------------------------------------------------- unions

// Lists sorted by their chains are the leaves of a trie in order; what a list adds to the union is what it
// does not have in common with the one before.
UnionDemand PrefixIndex::demand(std::span<const Listed> lists) const {
  const size_t size = static_cast<size_t>(pool_.block_size());
  for (const Listed& list : lists) {
    probe(list.tokens, *list.cursor);
    std::vector<Hash128>& hashes = list.cursor->hashes_;
    const size_t full = list.tokens.size() / size;
    hashes.reserve(full);
    while (hashes.size() < full) {
      const Hash128 parent = hashes.empty() ? tree_.hasher().root(list.cursor->salt_) : hashes.back();
      hashes.push_back(tree_.hasher().extend(parent, list.tokens.subspan(hashes.size() * size, size)));
    }
  }
  const auto chain = [&](size_t i) {
    return std::span<const Hash128>(lists[i].cursor->hashes_).first(lists[i].tokens.size() / size);
  };
  std::vector<size_t> order(lists.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    const std::span<const Hash128> left = chain(a), right = chain(b);
    const size_t common = common_blocks(left, right);
    if (common == left.size() || common == right.size()) return left.size() < right.size();
    return left[common] < right[common];
  });
  UnionDemand result;
  for (size_t i = 0; i < order.size(); ++i) {
    const PrefixMatch& match = lists[order[i]].cursor->match_;
    const std::span<const Hash128> own = chain(order[i]);
    const int64_t seen = i > 0 ? static_cast<int64_t>(common_blocks(chain(order[i - 1]), own)) : 0;
    const auto add = [seen](int64_t begin, int64_t end) {
      return std::max<int64_t>(0, end - std::max(begin, seen));
    };
    result.pinned += add(0, match.pinned);
    result.evictable += add(match.pinned, match.device());
    result.host += add(match.device(), match.blocks());
    result.fresh += add(match.blocks(), static_cast<int64_t>(own.size()));
    result.fresh += lists[order[i]].tokens.size() % size != 0;
  }
  return result;
}

// ----------------------------------------------------------------------------------------------------
// explain

// Whether the next block, or a partial tail that reaches further than `common` tokens into it, is remembered
// as evicted.
bool PrefixIndex::was_evicted(uint64_t salt, int32_t parent, std::span<const int32_t> rest,
                              int common) const {
  const Hash128 before = parent == kNoNode ? tree_.hasher().root(salt) : tree_[parent].hash;
  for (size_t length = rest.size(); length > static_cast<size_t>(common); --length) {
    if (tombstones_.contains(tree_.hasher().extend(before, rest.first(length)))) return true;
  }
  return false;
}

MissReport PrefixIndex::explain(uint64_t salt, std::span<const int32_t> tokens,
                                std::span<const uint64_t> own_salts) const {
  const size_t size = static_cast<size_t>(pool_.block_size());
  const auto reach = [&](uint64_t of, int32_t& parent,
                         BlockTree::Neighbour& nearest) {  // tokens an indexed chain has
    ChainCursor cursor(of);
    match_path(tokens, cursor);
    parent = cursor.path_.empty() ? kNoNode : cursor.path_.back().node;
    const size_t done = cursor.path_.size() * size;
    const BlockTree::Neighbours near =
        tree_.neighbours(of, parent, tokens.subspan(done, std::min(size, tokens.size() - done)));
    const bool first = near.before.node != kNoNode &&
                       (near.after.node == kNoNode || near.before.common >= near.after.common);
    nearest = first ? near.before : near.after;
    return static_cast<int64_t>(done) + nearest.common;
  };
  MissReport report;
  int32_t parent = kNoNode;
  BlockTree::Neighbour nearest;
  report.index = reach(salt, parent, nearest);
  const size_t index = static_cast<size_t>(report.index), at = static_cast<size_t>(nearest.common);
  if (index == tokens.size()) return report;
  report.token = tokens[index];
  const bool ended =
      nearest.node != kNoNode && nearest.common == tree_[nearest.node].length;  // a partial tail
  if (nearest.node != kNoNode && !ended) report.indexed = tree_.tokens(nearest.node)[at];
  const std::span<const int32_t> rest =
      tokens.subspan(index - at, std::min(size, tokens.size() - (index - at)));
  if (was_evicted(salt, parent, rest, nearest.common)) {
    report.cause = MissCause::kEvicted;
    return report;
  }
  report.cause = ended ? MissCause::kPartial : MissCause::kNeverSeen;
  int64_t best = report.index;
  for (uint64_t other : own_salts) {
    const int64_t further = other == salt ? 0 : reach(other, parent, nearest);
    if (further <= best) continue;
    best = further;
    report.cause = MissCause::kSalt;
    report.salt = other;
  }
  return report;
}

}  // namespace agentinfer
