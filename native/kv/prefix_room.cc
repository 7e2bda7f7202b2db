// The part of PrefixIndex that makes room: what is evicted, where it goes, and how it comes back.

#include "kv/prefix_index.h"

#include "tensor/check.h"

namespace agentinfer {

// ---------------------------------------------------------------------------------------------------- queues

RetentionKey PrefixIndex::device_key(int32_t node) const {
  const int32_t strongest = owners_.strongest(node);
  return {strongest < 0 ? Retention{} : owners_[strongest].retention, tree_[node].last_use};
}

RetentionKey PrefixIndex::host_key(int32_t node) const {
  const Node& entry = tree_[node];
  return {entry.host_owner < 0 ? Retention{} : owners_[entry.host_owner].retention, entry.last_use};
}

void PrefixIndex::requeue(int32_t node) {
  if (node == kNoNode) return;
  const Node& entry = tree_[node];
  if (entry.state == NodeState::kDevice && entry.device_children == 0 && pool_.refs(entry.block) == 0) {
    queue_.set(node, device_key(node));
  } else {
    queue_.remove(node);
  }
  if (entry.state == NodeState::kHost && entry.children == kNoNode && node != held_host_node_) {
    host_queue_.set(node, host_key(node));
  } else {
    host_queue_.remove(node);
  }
}

// ----------------------------------------------------------------------------------------------------
// eviction

int PrefixIndex::available() const {
  return pool_.free_count() + pool_.cached_count() - leaving_ - arriving_idle_;
}

Room PrefixIndex::make_room(int count, double now) {
  // Blocks that are free once copies under way to the host are complete count as room to come.
  if (available() + leaving_ + orphaned_ < count) return Room::kNoRoom;
  while (pool_.free_count() < count && pool_.free_count() + leaving_ + orphaned_ < count && evict_one(now)) {
  }
  if (pool_.free_count() >= count) return Room::kTaken;
  return host_.in_flight() > 0 ? Room::kCopying : Room::kNoRoom;
}

bool PrefixIndex::evict_one(double now) {
  const int32_t node = queue_.top(now);
  if (node < 0) return false;
  const bool worth_moving =
      !tree_.partial(node) && queue_.key(node).retention.retention_class >= options_.host_min_class;
  if (!worth_moving || !move_to_host(node, now)) drop(node);
  return true;
}

// A free host block, or that of a host node that goes before `node` (or is as good: then the one deeper in a
// chain goes).
bool PrefixIndex::host_block_for(int32_t node, double now, int32_t* host_block) {
  if (host_.free_count() == 0) {
    const int32_t victim = host_queue_.top(now);
    if (victim < 0) return false;
    constexpr int32_t kVictimWinsTies = 0, kNodeLosesTies = 1;
    if (host_queue_.before(kNodeLosesTies, device_key(node), kVictimWinsTies, host_queue_.key(victim), now))
      return false;
    drop(victim);
  }
  *host_block = host_.allocate();
  return true;
}

bool PrefixIndex::move_to_host(int32_t node, double now) {
  int32_t host_block = -1;
  if (!host_block_for(node, now, &host_block)) return false;
  Node& entry = tree_[node];
  const HostMove move = host_.start(entry.block, host_block, true, node);
  entry.host_block = host_block;
  entry.move = move.id;
  entry.state = NodeState::kToHost;
  owners_.follow(
      node, owners_.strongest(node));  // before its tips leave, which may end an owner that follows nothing
  owners_.move_tips(node, entry.parent);
  outgoing_.push_back(move);
  ++leaving_;
  ++generation_;
  ++stats_.to_host;
  requeue(node);
  if (entry.parent != kNoNode) --tree_[entry.parent].device_children;
  requeue(entry.parent);
  return true;
}

void PrefixIndex::drop(int32_t node) {
  for (int32_t at = node;;) {
    while (tree_[at].children != kNoNode) at = tree_[at].children;
    const int32_t parent = tree_[at].parent;
    remove_leaf(at, true);
    if (at == node) return;
    at = parent;
  }
}

// The block stays taken until the copy is done.
void PrefixIndex::orphan_copy(const Node& node) {
  pool_.ref(node.block);
  pool_.clear_node(node.block);
  host_.detach(node.move, true);
  ++orphaned_;
}

void PrefixIndex::remove_leaf(int32_t node, bool evicted) {
  const Node entry = tree_[node];
  queue_.remove(node);
  host_queue_.remove(node);
  switch (entry.state) {
    case NodeState::kDevice:
      pool_.clear_node(entry.block);
      if (entry.parent != kNoNode) --tree_[entry.parent].device_children;
      break;
    case NodeState::kToHost:
      --leaving_;
      orphan_copy(entry);
      break;
    case NodeState::kHost:
      host_.release(entry.host_block);
      break;
    case NodeState::kFromHost:
      --arriving_;
      --arriving_idle_;
      orphan_copy(entry);
      if (entry.parent != kNoNode) --tree_[entry.parent].device_children;
      break;
  }
  if (evicted) {
    tombstones_.add(entry.hash);
    ++(entry.state == NodeState::kDevice ? stats_.evicted : stats_.host_evicted);
  }
  if (const int32_t followed = owners_.unfollow(node); followed >= 0) owners_.erase_if_idle(followed);
  owners_.move_tips(node, entry.parent);
  tree_.erase(node);
  requeue(entry.parent);
  ++generation_;
}

// ---------------------------------------------------------------------------------------------------- coming
// back

void PrefixIndex::enter_device(int32_t node) {
  const int32_t parent = tree_[node].parent;
  if (parent != kNoNode) {
    ++tree_[parent].device_children;
    requeue(parent);
  }
  const int32_t owner = owners_.unfollow(node);
  if (owner >= 0 && owners_[owner].tip == parent) {
    set_tip(owner, node);
  } else if (owner >= 0) {
    owners_.erase_if_idle(owner);
  }
  requeue(node);
  ++generation_;
}

void PrefixIndex::cancel_move(int32_t node) {
  Node& entry = tree_[node];
  host_.detach(entry.move, false);
  entry.move = entry.host_block = -1;  // the host block is given back when the copy ends
  entry.state = NodeState::kDevice;
  --leaving_;
  enter_device(node);
}

void PrefixIndex::attach_block(int32_t node, int32_t block) {
  Node& entry = tree_[node];
  pool_.set_node(block, node);
  host_.release(entry.host_block);
  entry.block = block;
  entry.host_block = -1;
  entry.state = NodeState::kDevice;
  enter_device(node);
}

void PrefixIndex::start_from_host(int32_t node, int32_t block) {
  Node& entry = tree_[node];
  pool_.set_node(block, node);
  const HostMove move = host_.start(block, entry.host_block, false, node);
  entry.block = block;
  entry.move = move.id;
  entry.state = NodeState::kFromHost;
  outgoing_.push_back(move);
  ++arriving_;
  ++stats_.from_host;
  enter_device(node);
}

int PrefixIndex::prefetch(OwnerId owner, int max_blocks) {
  const int32_t record = owners_.find(owner);
  int moved = 0;
  ++tick_;
  // A chain left from its end, so its first block heads the list; an arrival may end the record.
  while (record >= 0 && owners_.find(owner) == record && moved < max_blocks && pool_.free_count() > 0) {
    const auto waits = [&](int32_t node) {  // on the host, and what comes before it is not
      const Node& entry = tree_[node];
      if (entry.state != NodeState::kHost) return false;
      if (entry.parent == kNoNode) return true;
      const NodeState parent = tree_[entry.parent].state;
      return parent == NodeState::kDevice || parent == NodeState::kFromHost;
    };
    int32_t node = owners_[record].host_nodes;
    while (node != kNoNode && !waits(node)) node = tree_[node].host_next;
    if (node == kNoNode) break;
    const int32_t block = pool_.allocate();
    start_from_host(node, block);
    unpin(block);
    ++moved;
  }
  return moved;
}

Room PrefixIndex::share(const ChainCursor& cursor, double now, bool device_only, std::vector<int32_t>& blocks,
                        std::optional<BlockCopy>& copy) {
  if (cursor.generation_ != generation_)
    fail(ErrorCode::kInvalidArgument, "take_hits: the index has changed since the cursor was probed");
  const PrefixMatch match = cursor.match_;
  const size_t device = static_cast<size_t>(match.device()), all = static_cast<size_t>(match.blocks());
  const std::span<const ChainCursor::Step> hosted =
      std::span(cursor.path_).subspan(device, device_only ? 0 : all - device);
  const bool partial = !device_only && match.partial_tokens > 0;
  blocks.reserve(all + 1);
  for (size_t i = 0; i < device; ++i) {
    pin_node(cursor.path_[i].node);
    blocks.push_back(tree_[cursor.path_[i].node].block);
  }
  int fresh = partial;
  for (const ChainCursor::Step& step : hosted) fresh += tree_[step.node].state == NodeState::kHost;
  if (partial) pin(match.partial_block);
  if (!hosted.empty()) held_host_node_ = hosted.back().node;
  requeue(held_host_node_);
  const Room room = make_room(fresh, now);
  const int32_t held = held_host_node_;
  held_host_node_ = kNoNode;
  requeue(held);
  if (room != Room::kTaken) {
    if (partial) blocks.push_back(match.partial_block);
    release(blocks);
    blocks.clear();
    return room;
  }
  for (const ChainCursor::Step& step : hosted) {
    if (tree_[step.node].state == NodeState::kHost) {
      start_from_host(step.node, pool_.allocate());
    } else {
      pin_node(step.node);
    }
    blocks.push_back(tree_[step.node].block);
  }
  if (partial) {
    copy = BlockCopy{match.partial_block, pool_.allocate()};
    blocks.push_back(copy->to);
  }
  return Room::kTaken;
}

}  // namespace agentinfer
