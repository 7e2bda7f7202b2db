#include "kv/prefix_index.h"

#include <algorithm>
#include <cmath>

#include "tensor/check.h"

namespace agentinfer {

PrefixIndex::PrefixIndex(BlockPool& pool, const PrefixIndexOptions& options)
    : pool_(pool),
      options_(options),
      tree_(pool.total() + std::max(options.host_blocks, 0), pool.block_size(),
            options.secret ? *options.secret : ChainHasher::random_secret()),
      owners_(tree_),
      queue_(tree_.capacity()),
      host_queue_(tree_.capacity()),
      host_(options.host_blocks),
      tombstones_(options.tombstones) {
  outgoing_.reserve(static_cast<size_t>(options.host_blocks));
}

// ----------------------------------------------------------------------------------------------------
// references

void PrefixIndex::pin_node(int32_t node) {
  Node& entry = tree_[node];
  if (entry.state == NodeState::kToHost) cancel_move(node);
  const bool idle = pool_.refs(entry.block) == 0;
  pool_.ref(entry.block);
  if (!idle) return;
  arriving_idle_ -= entry.state == NodeState::kFromHost;
  requeue(node);
  ++generation_;
}

void PrefixIndex::pin(int32_t block) {
  const int32_t node = pool_.node(block);
  if (node == kNoNode) {
    pool_.ref(block);
  } else {
    pin_node(node);
  }
}

void PrefixIndex::unpin(int32_t block) {
  const int32_t node = pool_.node(block);
  if (pool_.unref(block) != BlockState::kCached) return;
  Node& entry = tree_[node];
  entry.last_use = tick_;
  arriving_idle_ += entry.state == NodeState::kFromHost;
  requeue(node);
  ++generation_;
}

void PrefixIndex::release(std::span<const int32_t> blocks) {
  ++tick_;
  for (int32_t block : blocks) unpin(block);
}

void PrefixIndex::release_table(BlockTable& table) {
  release(table.blocks());
  table.clear();
}

void PrefixIndex::distrust(BlockTable& table) {
  int32_t first = kNoNode;
  for (int32_t block : table.blocks()) {
    if (pool_.refs(block) > 1) continue;
    first = pool_.node(block);
    break;
  }
  release_table(table);
  if (first != kNoNode) drop(first);  // nobody holds anything below it: holders hold all that comes before
}

// ----------------------------------------------------------------------------------------------------
// publishing

// A cursor that outlived its table (the sequence was preempted and started again) begins anew.
void PrefixIndex::resume_publishing(ChainCursor& cursor, const BlockTable& table) const {
  const size_t done = cursor.published_;
  if (done == 0) return;
  const bool ours = done <= cursor.path_.size() && done <= table.blocks().size() &&
                    tree_.alive(cursor.path_[done - 1].node, cursor.path_[done - 1].stamp) &&
                    tree_[cursor.path_[done - 1].node].block == table.blocks()[done - 1];
  if (!ours) cursor.published_ = 0;
}

int64_t PrefixIndex::publish(ChainCursor& cursor, OwnerId owner, std::span<const int32_t> tokens,
                             BlockTable& table) {
  if (static_cast<int64_t>(tokens.size()) < table.computed() || table.block_size() != pool_.block_size())
    fail(ErrorCode::kInvalidArgument, "publish: expected at least ", table.computed(),
         " tokens in blocks of ", pool_.block_size(), ", got ", tokens.size(), " in blocks of ",
         table.block_size());
  const size_t full = static_cast<size_t>(table.computed() / table.block_size());
  resume_publishing(cursor, table);
  if (cursor.published_ >= full) return static_cast<int64_t>(cursor.published_);
  const int32_t record = owner == kNoOwner ? -1 : owners_.find_or_add(owner);
  while (cursor.published_ < full && publish_next(cursor, tokens, table)) {
  }
  if (record >= 0) {
    if (cursor.published_ > 0) set_tip(record, cursor.path_[cursor.published_ - 1].node);
    owners_.erase_if_idle(record);
  }
  return static_cast<int64_t>(cursor.published_);
}

// The sequence's next block joins the tree, or the tree's block of the same content joins the table.
bool PrefixIndex::publish_next(ChainCursor& cursor, std::span<const int32_t> tokens, BlockTable& table) {
  std::vector<ChainCursor::Step>& path = cursor.path_;
  const size_t index = cursor.published_, size = static_cast<size_t>(pool_.block_size());
  const std::span<const int32_t> content = tokens.subspan(index * size, size);
  const int32_t parent = index > 0 ? path[index - 1].node : kNoNode;
  if (index < path.size() && !tree_.alive(path[index].node, path[index].stamp)) path.resize(index);
  if (index == path.size()) path.push_back({});  // before anything changes: this may throw
  int32_t node = path[index].node;
  if (node == kNoNode) node = tree_.find(cursor.salt_, parent, content);
  bool joined = true;
  try {
    if (node == kNoNode) {
      node = insert(cursor.salt_, parent, content, table.blocks()[index]);
    } else {
      joined = adopt(node, index, table);
    }
  } catch (...) {
    path.resize(index);
    throw;
  }
  path[index] = {node, tree_[node].stamp};
  cursor.published_ += joined;
  return joined;
}

bool PrefixIndex::adopt(int32_t node, size_t index, BlockTable& table) {
  const int32_t own = table.blocks()[index];
  const Node& entry = tree_[node];
  if (entry.block == own) return true;
  if (entry.state == NodeState::kFromHost) return false;
  if (entry.state == NodeState::kHost) {
    attach_block(node, own);
  } else {
    pin_node(node);
    table.replace(index, entry.block);
    unpin(own);
  }
  ++stats_.deduplicated;
  return true;
}

int32_t PrefixIndex::insert(uint64_t salt, int32_t parent, std::span<const int32_t> tokens, int32_t block) {
  const BlockTree::Neighbour before = tree_.neighbours(salt, parent, tokens).before;
  if (pool_.state(block) != BlockState::kUsed || pool_.node(block) != kNoNode)
    fail(ErrorCode::kInvalidArgument, "publish: block ", block, " is not the sequence's own");
  const int32_t node = tree_.insert(salt, parent, tokens);
  Node& entry = tree_[node];
  entry.block = block;
  entry.last_use = tick_;
  pool_.set_node(block, node);
  if (parent != kNoNode) {
    ++tree_[parent].device_children;
    requeue(parent);
  }
  if (before.node != kNoNode &&
      before.common == tree_[before.node].length) {  // a partial tail that is now redundant
    owners_.move_tips(before.node, node);
    remove_leaf(before.node, false);
  }
  ++generation_;
  ++stats_.published;
  return node;
}

// Returns the node that covers the tail: its own, or an indexed one.
int32_t PrefixIndex::publish_tail(uint64_t salt, int32_t parent, std::span<const int32_t> tail,
                                  int32_t block) {
  const BlockTree::Neighbours near = tree_.neighbours(salt, parent, tail);
  for (const BlockTree::Neighbour& sibling : {near.before, near.after}) {
    if (sibling.node == kNoNode || sibling.common != static_cast<int>(tail.size())) continue;
    tree_[sibling.node].last_use = tick_;
    requeue(sibling.node);
    return sibling.node;
  }
  return insert(salt, parent, tail, block);
}

void PrefixIndex::finish(ChainCursor& cursor, OwnerId owner, std::span<const int32_t> tokens,
                         BlockTable& table) {
  const size_t full = static_cast<size_t>(publish(cursor, owner, tokens, table)),
               size = static_cast<size_t>(pool_.block_size());
  const size_t computed = static_cast<size_t>(table.computed());
  if (computed / size == full && computed % size != 0) {
    const int32_t record = owner == kNoOwner ? -1 : owners_.find_or_add(owner);
    const int32_t parent = full > 0 ? cursor.path_[full - 1].node : kNoNode;
    ++tick_;
    const int32_t node = publish_tail(cursor.salt_, parent, tokens.subspan(full * size, computed % size),
                                      table.blocks()[full]);
    if (record >= 0) {
      set_tip(record, tree_[node].on_device() ? node : parent);
      owners_.erase_if_idle(record);
    }
  }
  release_table(table);
  cursor.published_ = 0;
}

// ----------------------------------------------------------------------------------------------------
// retention

void PrefixIndex::set_tip(int32_t record, int32_t node) {
  const int32_t old = owners_[record].tip;
  if (old == node) return;
  owners_.set_tip(record, node);
  requeue(old);
  requeue(node);
}

void PrefixIndex::retain(OwnerId owner, Retention retention) {
  if (owner == kNoOwner || std::isnan(retention.expiry))
    fail(ErrorCode::kInvalidArgument, "retain: expected an owner and an expiry, got owner ", owner,
         ", expiry ", retention.expiry);
  const int32_t record = owners_.find_or_add(owner);
  owners_.set_retention(record, retention);
  requeue(owners_[record].tip);
  for (int32_t node = owners_[record].host_nodes; node != kNoNode; node = tree_[node].host_next)
    requeue(node);
  owners_.erase_if_idle(record);
}

void PrefixIndex::forget(OwnerId owner) {
  const int32_t record = owners_.find(owner);
  if (record < 0) return;
  while (owners_[record].host_nodes != kNoNode) {
    const int32_t node = owners_[record].host_nodes;
    owners_.unfollow(node);
    requeue(node);
  }
  const int32_t tip = owners_[record].tip;
  owners_.erase(record);
  requeue(tip);
}

// ---------------------------------------------------------------------------------------------------- host
// copies

void PrefixIndex::take_moves(std::vector<HostMove>& out) {
  out.insert(out.end(), outgoing_.begin(), outgoing_.end());
  outgoing_.clear();
}

void PrefixIndex::complete(int32_t move_id) {
  const HostTier::Record done = host_.finish(move_id);
  ++generation_;
  if (done.node == kNoNode) {
    host_.release(done.move.host_block);
    if (!done.holds_block) return;
    pool_.unref(done.move.block);
    --orphaned_;
    return;
  }
  Node& entry = tree_[done.node];
  entry.move = -1;
  if (done.move.to_host) {
    entry.state = NodeState::kHost;
    entry.block = kNoBlock;
    pool_.clear_node(done.move.block);
    --leaving_;
  } else {
    entry.state = NodeState::kDevice;
    entry.host_block = -1;
    host_.release(done.move.host_block);
    --arriving_;
    arriving_idle_ -= pool_.refs(entry.block) == 0;
  }
  requeue(done.node);
}

}  // namespace agentinfer
