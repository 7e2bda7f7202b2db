// The structures inside the prefix index, each against a slow one that is obviously right.

#include <algorithm>
#include <bit>
#include <deque>
#include <limits>
#include <map>
#include <set>

#include "check.h"
#include "kv/block_tree.h"
#include "kv/eviction_queue.h"
#include "kv/host_tier.h"
#include "kv/tombstones.h"

using namespace agentinfer;

namespace {

constexpr ChainHasher::Secret kSecret = {1, 2, 3, 4};

std::vector<int32_t> random_tokens(std::mt19937& random, int length, int alphabet) {
  std::vector<int32_t> tokens(static_cast<size_t>(length));
  for (int32_t& token : tokens) token = static_cast<int32_t>(random() % static_cast<uint32_t>(alphabet));
  return tokens;
}

int naive_common(const std::vector<int32_t>& a, const std::vector<int32_t>& b) {
  int common = 0;
  while (common < static_cast<int>(std::min(a.size(), b.size())) &&
         a[static_cast<size_t>(common)] == b[static_cast<size_t>(common)])
    ++common;
  return common;
}

}  // namespace

TEST("block tree: find and the longest common prefix among siblings equal a scan of all siblings") {
  for (uint32_t seed = 0; seed < 150; ++seed) {
    std::mt19937 random(seed);
    const int size = 1 + static_cast<int>(random() % 5), alphabet = 2 + static_cast<int>(random() % 3);
    BlockTree tree(40, size, kSecret);
    std::map<std::pair<uint64_t, std::vector<int32_t>>, int32_t> held;
    for (int step = 0; step < 250; ++step) {
      const uint64_t salt = random() % 2;
      const std::vector<int32_t> tokens =
          random_tokens(random, 1 + static_cast<int>(random() % static_cast<uint32_t>(size)), alphabet);
      const auto known = held.find({salt, tokens});
      CHECK_EQ(tree.find(salt, kNoNode, tokens), known == held.end() ? kNoNode : known->second);
      int best = 0;
      for (const auto& [key, node] : held)
        if (key.first == salt) best = std::max(best, naive_common(key.second, tokens));
      const BlockTree::Neighbours near = tree.neighbours(salt, kNoNode, tokens);
      CHECK_EQ(std::max(near.before.common, near.after.common), best);
      if (known != held.end()) {
        CHECK_EQ(near.before.node, known->second);
        if (random() % 2) {
          const uint32_t stamp = tree[known->second].stamp;
          tree.erase(known->second);
          CHECK(!tree.alive(known->second, stamp));
          held.erase(known);
        }
      } else if (tree.live() < tree.capacity()) {
        const int32_t node = tree.insert(salt, kNoNode, tokens);
        CHECK(std::ranges::equal(tree.tokens(node), tokens));
        held[{salt, tokens}] = node;
      } else {
        CHECK_THROWS(tree.insert(salt, kNoNode, tokens), ErrorCode::kInternal, "all 40 nodes");
      }
      CHECK_EQ(tree.live(), static_cast<int>(held.size()));
    }
    for (const auto& [key, node] : held) tree.erase(node);
    CHECK(tree.salts().empty());
  }
}

TEST("block tree: children belong to their parent and salt, and a parent cannot be erased before them") {
  BlockTree tree(8, 2, kSecret);
  const std::vector<int32_t> a = {1, 2}, b = {3, 4};
  const int32_t parent = tree.insert(5, kNoNode, a), child = tree.insert(5, parent, b);
  CHECK_EQ(tree.find(5, parent, b), child);
  CHECK_EQ(tree.find(5, kNoNode, b), kNoNode);
  CHECK_EQ(tree.find(6, kNoNode, a), kNoNode);
  CHECK(tree[child].hash == tree.hasher().extend(tree.hasher().extend(tree.hasher().root(5), a), b));
  CHECK_THROWS(tree.erase(parent), ErrorCode::kInternal, "has children");
}

TEST("block tree: many siblings in sorted order stay shallow") {
  const int count = 20000;
  BlockTree tree(count, 4, kSecret);
  for (int32_t i = 0; i < count; ++i) tree.insert(0, kNoNode, std::vector<int32_t>{9, 9, 9, i});
  int deepest = 0;
  std::vector<std::pair<int32_t, int>> pending = {{tree.salts().at(0), 1}};
  while (!pending.empty()) {
    const auto [node, depth] = pending.back();
    pending.pop_back();
    if (node == kNoNode) continue;
    deepest = std::max(deepest, depth);
    pending.push_back({tree[node].left, depth + 1});
    pending.push_back({tree[node].right, depth + 1});
  }
  CHECK(deepest < 60);  // a random treap of 20,000 has an expected depth of about 33
}

TEST("chain hash: any change of salt, token, order, length or secret changes both halves") {
  const ChainHasher hasher(kSecret);
  std::set<uint64_t> high, low;
  size_t inputs = 0;
  const auto add = [&](const Hash128& hash) {
    high.insert(hash.high);
    low.insert(hash.low);
    ++inputs;
  };
  for (uint64_t salt = 0; salt < 64; ++salt) add(hasher.root(salt));
  std::mt19937 random(1);
  for (int length = 1; length <= 40; ++length) {
    const std::vector<int32_t> base = random_tokens(random, length, 1000);
    add(hasher.extend(hasher.root(0), base));
    add(hasher.extend(hasher.root(1), base));
    for (size_t i = 0; i < base.size(); ++i) {
      for (int bit = 0; bit < 31; ++bit) {
        std::vector<int32_t> changed = base;
        changed[i] ^= 1 << bit;
        add(hasher.extend(hasher.root(0), changed));
      }
      if (i == 0 || base[i] == base[i - 1]) continue;
      std::vector<int32_t> swapped = base;
      std::swap(swapped[i], swapped[i - 1]);
      add(hasher.extend(hasher.root(0), swapped));
    }
  }
  for (int length = 1; length <= 64; ++length)  // runs of one token differ by length
    add(hasher.extend(hasher.root(0), std::vector<int32_t>(static_cast<size_t>(length), 0)));
  CHECK_EQ(high.size(), inputs);
  CHECK_EQ(low.size(), inputs);
  const std::vector<int32_t> tokens = {1, 2, 3};
  CHECK(hasher.extend(hasher.root(0), tokens) != ChainHasher({1, 2, 3, 5}).extend(hasher.root(0), tokens));
  CHECK(hasher.extend(hasher.root(0), tokens) == ChainHasher(kSecret).extend(hasher.root(0), tokens));
}

TEST("chain hash: a flipped input bit flips about half of the output bits") {
  const ChainHasher hasher(kSecret);
  std::mt19937 random(7);
  double flipped = 0;
  int trials = 0;
  for (int round = 0; round < 200; ++round) {
    std::vector<int32_t> tokens = random_tokens(random, 1 + round % 33, 150000);
    const Hash128 before = hasher.extend(hasher.root(3), tokens);
    tokens[random() % tokens.size()] ^= 1 << (random() % 31);
    const Hash128 after = hasher.extend(hasher.root(3), tokens);
    flipped += std::popcount(before.high ^ after.high) + std::popcount(before.low ^ after.low);
    ++trials;
  }
  CHECK_NEAR(flipped / trials, 64.0, 2.0);  // standard deviation of the mean: 5.66 / sqrt(200) = 0.4
}

TEST("eviction queue: takes items in the order of a sort by (class, expired first, last use, number)") {
  for (uint32_t seed = 0; seed < 200; ++seed) {
    std::mt19937 random(seed);
    const int capacity = 1 + static_cast<int>(random() % 20);
    EvictionQueue queue(capacity);
    std::map<int32_t, RetentionKey> naive;
    double now = 0;
    for (int step = 0; step < 300; ++step) {
      const int32_t item = static_cast<int32_t>(random() % static_cast<uint32_t>(capacity));
      switch (random() % 4) {
        case 0:
        case 1: {
          const double expiries[] = {0, now - 1, now, now + 3, now + 10, kNeverExpires};
          const RetentionKey key = {{static_cast<uint8_t>(random() % 3), expiries[random() % 6]},
                                    random() % 8};
          queue.set(item, key);
          naive[item] = key;
          break;
        }
        case 2:
          queue.remove(item);
          naive.erase(item);
          break;
        default: {
          now += static_cast<double>(random() % 4);
          int32_t best = -1;
          const auto rank = [&](int32_t i) {
            const RetentionKey& key = naive[i];
            return std::tuple(key.retention.retention_class, key.retention.expiry > now, key.last_use, i);
          };
          for (const auto& [candidate, key] : naive)
            if (best < 0 || rank(candidate) < rank(best)) best = candidate;
          CHECK_EQ(queue.top(now), best);
          if (best < 0) break;
          for (const auto& [other, key] : naive)
            CHECK(other == best || queue.before(best, naive[best], other, key, now));
          queue.remove(best);
          naive.erase(best);
        }
      }
      queue.check();
      CHECK_EQ(queue.size(), static_cast<int>(naive.size()));
      CHECK_EQ(queue.contains(item), naive.count(item) == 1);
    }
  }
}

TEST("tombstones: remember exactly the last ones added") {
  for (int capacity : {0, 1, 2, 7, 64}) {
    Tombstones stones(capacity);
    std::deque<Hash128> ring;
    std::mt19937 random(static_cast<uint32_t>(capacity));
    for (int step = 0; step < 2000; ++step) {
      // Few distinct values of `high`: long probe sequences, wrap-around, gaps to close.
      const Hash128 hash = {random() % 5 + (random() % 2 ? ~uint64_t{3} : 0), random() % 40};
      const auto known = [&](const Hash128& h) {
        return std::find(ring.begin(), ring.end(), h) != ring.end();
      };
      CHECK_EQ(stones.contains(hash), known(hash));
      if (random() % 2) continue;
      stones.add(hash);
      if (capacity == 0 || known(hash)) continue;
      if (static_cast<int>(ring.size()) == capacity) ring.pop_front();
      ring.push_back(hash);
      CHECK_EQ(stones.size(), static_cast<int>(ring.size()));
      for (const Hash128& kept : ring) CHECK(stones.contains(kept));
    }
  }
}

TEST("host tier: a host block is free, held or in flight, and only what is in flight can finish") {
  HostTier tier(2);
  const int32_t a = tier.allocate(), b = tier.allocate();
  CHECK_EQ(tier.allocate(), -1);
  const HostMove move = tier.start(9, a, true, 4);
  tier.check();
  CHECK_EQ(tier.in_flight(), 1);
  CHECK_THROWS(tier.release(a), ErrorCode::kInternal, "not held");
  CHECK_THROWS(tier.finish(move.id + 1), ErrorCode::kInvalidArgument, "no copy");
  tier.detach(move.id, true);
  const HostTier::Record done = tier.finish(move.id);
  CHECK(done.node == kNoNode && done.holds_block && done.move.block == 9);
  CHECK_THROWS(tier.finish(move.id), ErrorCode::kInvalidArgument, "in flight");
  tier.release(a);
  tier.release(b);
  tier.check();
  CHECK_EQ(tier.free_count(), 2);
  CHECK_THROWS(HostTier(-1), ErrorCode::kInvalidArgument, "got -1");
}

CHECK_MAIN
