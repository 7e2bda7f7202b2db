// The part of PrefixIndex that proves its invariants, and prints it.

#include <algorithm>
#include <sstream>

#include "kv/prefix_index.h"
#include "tensor/check.h"

namespace agentinfer {

void PrefixIndex::list_siblings(int32_t root, std::vector<int32_t>& out) const {
  if (root == kNoNode) return;
  list_siblings(tree_[root].left, out);
  out.push_back(root);
  list_siblings(tree_[root].right, out);
}

void PrefixIndex::check_siblings(std::span<const int32_t> siblings) const {
  for (size_t i = 1; i < siblings.size(); ++i) {
    const std::span<const int32_t> left = tree_.tokens(siblings[i - 1]), right = tree_.tokens(siblings[i]);
    ensure(std::lexicographical_compare(left.begin(), left.end(), right.begin(), right.end()),
           "prefix index: nodes ", siblings[i - 1], " and ", siblings[i], " are out of order");
    ensure(static_cast<size_t>(common_prefix(left, right)) < left.size(), "prefix index: partial tail ",
           siblings[i - 1], " is a prefix of ", siblings[i]);
  }
}

void PrefixIndex::check_node(int32_t node) const {
  const Node& entry = tree_[node];
  const Node* const parent = entry.parent == kNoNode ? nullptr : &tree_[entry.parent];
  const NodeState state = entry.state;
  const bool copying = state == NodeState::kToHost || state == NodeState::kFromHost;
  const auto need = [node](bool holds, const char* what) {
    ensure(holds, "prefix index: node ", node, ": ", what);
  };

  need((entry.block == kNoBlock) == (state == NodeState::kHost), "a block exactly unless on the host");
  need(entry.block == kNoBlock || pool_.node(entry.block) == node, "its block belongs to it");
  need((entry.host_block < 0) == (state == NodeState::kDevice), "a host block exactly unless on the device");
  need(entry.host_block < 0 || !host_.is_free(entry.host_block), "its host block is taken");
  need((entry.move >= 0) == copying, "a copy exactly while moving");
  need(!copying || host_.record(entry.move).node == node, "its copy belongs to it");
  need(!entry.on_device() || !parent || parent->on_device(), "its parent is on the device");
  const int refs = entry.block == kNoBlock ? 0 : pool_.refs(entry.block);
  need(refs == 0 || !parent || pool_.refs(parent->block) > 0, "its parent is referenced too");
  need(refs == 0 || state != NodeState::kToHost, "nobody refers to what leaves");
  need(!tree_.partial(node) || (entry.children == kNoNode && state == NodeState::kDevice),
       "a partial tail is a device leaf");
  const Hash128 before = parent ? parent->hash : tree_.hasher().root(entry.salt);
  need(entry.hash == tree_.hasher().extend(before, tree_.tokens(node)), "its hash is that of its chain");
  need(!parent || parent->salt == entry.salt, "one salt in a chain");

  const bool evictable = state == NodeState::kDevice && refs == 0 && entry.device_children == 0;
  need(queue_.contains(node) == evictable, "in the queue exactly if evictable");
  const auto equal = [](const RetentionKey& a, const RetentionKey& b) {
    return a.retention == b.retention && a.last_use == b.last_use;
  };
  need(!evictable || equal(queue_.key(node), device_key(node)), "queued by its key");
  const bool host_evictable = state == NodeState::kHost && entry.children == kNoNode;
  need(host_queue_.contains(node) == host_evictable, "in the host queue exactly if evictable there");
  need(!host_evictable || equal(host_queue_.key(node), host_key(node)), "queued by its host key");
  need(entry.on_device() || entry.owners < 0, "tips are on the device");
}

void PrefixIndex::check() const {
  pool_.check();
  host_.check();
  queue_.check();
  host_queue_.check();
  owners_.check();
  int live = 0, indexed = 0, held = 0, leaving = 0, arriving = 0, arriving_idle = 0;
  std::vector<int32_t> pending, siblings;
  for (const auto& [salt, root] : tree_.salts()) {
    ensure(root != kNoNode, "prefix index: salt ", salt, " has no nodes");
    pending.push_back(root);
  }
  while (!pending.empty()) {
    siblings.clear();
    list_siblings(pending.back(), siblings);
    pending.pop_back();
    check_siblings(siblings);
    for (int32_t node : siblings) {
      const Node& entry = tree_[node];
      check_node(node);
      ++live;
      indexed += entry.block != kNoBlock;
      held += entry.state == NodeState::kHost;
      leaving += entry.state == NodeState::kToHost;
      arriving += entry.state == NodeState::kFromHost;
      arriving_idle += entry.state == NodeState::kFromHost && pool_.refs(entry.block) == 0;
      std::vector<int32_t> children;
      list_siblings(entry.children, children);
      const auto on_device = [&](int32_t child) {
        return tree_[child].parent == node && tree_[child].on_device();
      };
      ensure(entry.device_children == std::count_if(children.begin(), children.end(), on_device),
             "prefix index: node ", node, " counts its children on the device wrongly");
      if (entry.children != kNoNode) pending.push_back(entry.children);
    }
  }
  int marked = 0;
  for (int32_t block = 0; block < pool_.total(); ++block) marked += pool_.node(block) != kNoNode;
  ensure(live == tree_.live() && marked == indexed, "prefix index: ", live, " nodes reached of ",
         tree_.live(), "; ", marked, " blocks marked, ", indexed, " indexed");
  ensure(leaving == leaving_ && arriving == arriving_ && arriving_idle == arriving_idle_,
         "prefix index: copies miscounted");
  ensure(held + host_.in_flight() + host_.free_count() == host_.total(),
         "prefix index: a host block is leaked");
  ensure(held_host_node_ == kNoNode, "prefix index: host node ", held_host_node_, " is still held");
}

std::string PrefixIndex::dump() const {
  std::ostringstream out;
  out << "generation " << generation_ << " tick " << tick_ << " free " << pool_.free_count() << " used "
      << pool_.used_count() << " host free " << host_.free_count() << " in flight " << host_.in_flight()
      << " outgoing " << outgoing_.size() << " tombstones " << tombstones_.size() << " owners "
      << owners_.size() << '\n';
  for (int32_t node = 0; node < tree_.capacity(); ++node) {
    const Node& entry = tree_[node];
    if (entry.length == 0) continue;
    out << node << " parent " << entry.parent << " children " << entry.children << " left " << entry.left
        << " right " << entry.right << " salt " << entry.salt << " state " << static_cast<int>(entry.state)
        << " block " << entry.block << " host block " << entry.host_block << " refs "
        << (entry.block == kNoBlock ? 0 : pool_.refs(entry.block)) << " used " << entry.last_use << " owner "
        << entry.owners << '/' << entry.host_owner << " tokens";
    for (int32_t token : tree_.tokens(node)) out << ' ' << token;
    out << '\n';
  }
  return out.str();
}

}  // namespace agentinfer
