#pragma once
// What a prefix index should hold, said in the plainest way: a map from prefix to how it is used. No tree, no
// hashes, no queues.

#include <map>
#include <optional>
#include <set>

#include "kv/kv_world.h"

namespace kv_world {

using namespace agentinfer;

class Model {
 public:
  Model(int blocks, int block_size) : total_(blocks), size_(static_cast<size_t>(block_size)) {}
  using Key = std::pair<uint64_t, Tokens>;
  struct Entry {
    int refs = 0;
    uint64_t last_use = 0;
  };
  struct Holder {  // what a sequence holds
    std::vector<Key> shared;
    int own = 0;
    bool published = false;  // since it started
  };

  std::map<Key, Entry> entries;
  std::set<Key> evicted;
  std::map<OwnerId, Key> tips;
  std::map<OwnerId, Retention> retentions;
  int own_blocks = 0;
  uint64_t tick = 0;

  int cached() const {
    int count = 0;
    for (const auto& [key, entry] : entries) count += entry.refs == 0;
    return count;
  }
  int free() const { return total_ - own_blocks - static_cast<int>(entries.size()); }

  Tokens parent(const Tokens& tokens) const {
    const size_t length = (tokens.size() - 1) / size_ * size_;
    return Tokens(tokens.begin(), tokens.begin() + static_cast<ptrdiff_t>(length));
  }
  bool leaf(const Key& key) const {
    for (const auto& [other, entry] : entries)
      if (other.first == key.first && other.second.size() > key.second.size() &&
          parent(other.second) == key.second)
        return false;
    return true;
  }

  bool make_room(int count, double now) {
    if (free() + cached() < count) return false;
    while (free() < count) evict(now);
    return true;
  }

  void evict(double now) {
    const Key* victim = nullptr;
    std::tuple<int, bool, uint64_t> best;
    for (const auto& [key, entry] : entries) {
      if (entry.refs > 0 || !leaf(key)) continue;
      Retention strongest;
      for (const auto& [owner, tip] : tips)
        if (tip == key && retentions.count(owner)) strongest = std::max(strongest, retentions[owner]);
      const std::tuple rank(int{strongest.retention_class}, strongest.expiry > now, entry.last_use);
      if (!victim || rank < best) {
        victim = &key;
        best = rank;
      }
    }
    CHECK(victim != nullptr);
    if (!victim) return;
    const Key gone = *victim;
    evicted.insert(gone);
    move_tips(gone, {gone.first, parent(gone.second)});
    entries.erase(gone);
  }

  void move_tips(const Key& from, const Key& to) {
    for (auto tip = tips.begin(); tip != tips.end();) {
      if (tip->second == from) tip->second = to;
      tip = tip->second.second.empty() ? tips.erase(tip) : std::next(tip);
    }
  }

  void publish(Holder& holder, uint64_t salt, OwnerId owner, const Tokens& tokens, size_t computed) {
    const size_t before = holder.shared.size();
    while ((holder.shared.size() + 1) * size_ <= computed) {
      const size_t length = (holder.shared.size() + 1) * size_;
      const Key key = {salt, Tokens(tokens.begin(), tokens.begin() + static_cast<ptrdiff_t>(length))};
      --own_blocks;
      --holder.own;
      insert(key);
      ++entries[key].refs;
      holder.shared.push_back(key);
    }
    if (holder.shared.size() > before || (before > 0 && !holder.published))
      set_tip(owner, holder.shared.back());
    holder.published = true;
  }

  void insert(const Key& key) {
    if (entries.count(key)) return;
    entries[key].last_use = tick;
    for (auto other = entries.begin();
         other != entries.end();) {  // a partial tail that is a prefix of it is redundant
      const Tokens& tail = other->first.second;
      const bool redundant = other->first.first == key.first && tail.size() < key.second.size() &&
                             tail.size() % size_ != 0 && parent(tail) == parent(key.second) &&
                             std::equal(tail.begin(), tail.end(), key.second.begin());
      if (redundant) move_tips(other->first, key);
      other = redundant ? entries.erase(other) : std::next(other);
    }
  }

  void set_tip(OwnerId owner, const Key& key) {
    if (owner != kNoOwner) tips[owner] = key;
  }

  void finish(Holder& holder, uint64_t salt, OwnerId owner, const Tokens& tokens, size_t computed) {
    publish(holder, salt, owner, tokens, computed);
    if (computed % size_ != 0) {
      ++tick;
      const Key tail = {salt, Tokens(tokens.begin(), tokens.begin() + static_cast<ptrdiff_t>(computed))};
      // The first in order that continues the tail within the block covers it.
      auto covering = entries.lower_bound(tail);
      while (covering != entries.end() && covering->first.second.size() > computed + size_ - computed % size_)
        ++covering;
      const bool covered = covering != entries.end() && covering->first.first == salt &&
                           covering->first.second.size() >= computed &&
                           std::equal(tail.second.begin(), tail.second.end(), covering->first.second.begin());
      if (covered) {
        covering->second.last_use = tick;
        set_tip(owner, covering->first);
      } else {
        insert(tail);
        --own_blocks;
        --holder.own;
        ++entries[tail].refs;
        holder.shared.push_back(tail);
        set_tip(owner, tail);
      }
    }
    release(holder);
  }

  void release(Holder& holder) {
    ++tick;
    for (const Key& key : holder.shared)
      if (--entries[key].refs == 0) entries[key].last_use = tick;
    own_blocks -= holder.own;
    holder = {};
  }

  void distrust(Holder& holder) {
    const auto first = std::find_if(holder.shared.begin(), holder.shared.end(),
                                    [&](const Key& key) { return entries[key].refs == 1; });
    const std::optional<Key> gone = first == holder.shared.end() ? std::nullopt : std::optional(*first);
    release(holder);
    if (!gone) return;
    const auto [salt, tokens] = *gone;
    std::vector<Key> below;
    for (const auto& [key, entry] : entries)
      if (key.first == salt && key.second.size() >= tokens.size() &&
          std::equal(tokens.begin(), tokens.end(), key.second.begin()))
        below.push_back(key);
    for (auto key = below.rbegin(); key != below.rend(); ++key) {  // what follows a key comes behind it
      CHECK_EQ(entries[*key].refs, 0);
      evicted.insert(*key);
      move_tips(*key, {salt, parent(key->second)});
      entries.erase(*key);
    }
  }

  PrefixMatch lookup(uint64_t salt, const Tokens& tokens) const {
    PrefixMatch match;
    size_t length = size_;
    for (; length <= tokens.size(); length += size_) {
      const auto entry =
          entries.find({salt, Tokens(tokens.begin(), tokens.begin() + static_cast<ptrdiff_t>(length))});
      if (entry == entries.end()) break;
      ++(entry->second.refs > 0 ? match.pinned : match.evictable);
    }
    match.tokens = static_cast<int64_t>(length - size_);
    match.partial_tokens = static_cast<int>(reach(salt, tokens, length - size_) - (length - size_));
    return match;
  }

  // The longest common prefix of the tokens with any entry one level below the first `depth` tokens; at least
  // depth.
  size_t reach(uint64_t salt, const Tokens& tokens, size_t depth) const {
    size_t best = depth;
    for (const auto& [key, entry] : entries) {
      if (key.first != salt || parent(key.second).size() != depth) continue;
      size_t common = 0;
      while (common < std::min(key.second.size(), tokens.size()) && key.second[common] == tokens[common])
        ++common;
      best = std::max(best, common);
    }
    return best;
  }

  MissCause cause(uint64_t salt, const Tokens& tokens, size_t index) const {
    if (index == tokens.size()) return MissCause::kNone;
    const size_t depth = static_cast<size_t>(lookup(salt, tokens).tokens);
    for (const Key& key : evicted) {
      const Tokens& gone = key.second;
      if (key.first == salt && gone.size() > index && parent(gone).size() == depth &&
          gone.size() <= tokens.size() && std::equal(gone.begin(), gone.end(), tokens.begin()))
        return MissCause::kEvicted;
    }
    for (const auto& [key, entry] : entries) {
      if (key.first == salt && key.second.size() == index && index % size_ != 0 &&
          std::equal(key.second.begin(), key.second.end(), tokens.begin()))
        return MissCause::kPartial;
    }
    return MissCause::kNeverSeen;
  }

 private:
  int total_;
  size_t size_;
};

}  // namespace kv_world
