#include "kv/owners.h"

#include "tensor/check.h"

namespace agentinfer {

int32_t OwnerTable::find(OwnerId owner) const {
  const auto found = ids_.find(owner);
  return found == ids_.end() ? -1 : found->second;
}

int32_t OwnerTable::find_or_add(OwnerId owner) {
  if (const int32_t known = find(owner); known >= 0) return known;
  if (free_.empty()) {
    free_.reserve(records_.size() + 1);  // so that erase never allocates
    records_.emplace_back();
    free_.push_back(static_cast<int32_t>(records_.size()) - 1);
  }
  const int32_t record = free_.back();
  ids_.emplace(owner, record);
  free_.pop_back();
  at(record) = Record{};
  at(record).owner = owner;
  return record;
}

void OwnerTable::erase(int32_t record) {
  set_tip(record, kNoNode);
  while (at(record).host_nodes != kNoNode) unfollow(at(record).host_nodes);
  ids_.erase(at(record).owner);
  at(record).owner = kNoOwner;
  free_.push_back(record);
}

void OwnerTable::erase_if_idle(int32_t record) {
  const Record& entry = at(record);
  if (entry.tip == kNoNode && entry.host_nodes == kNoNode && entry.retention == Retention{}) erase(record);
}

void OwnerTable::set_tip(int32_t record, int32_t node) {
  Record& entry = at(record);
  if (entry.tip == node) return;
  if (entry.tip != kNoNode) {
    if (entry.next >= 0) at(entry.next).prev = entry.prev;
    if (entry.prev >= 0) {
      at(entry.prev).next = entry.next;
    } else {
      (*tree_)[entry.tip].owners = entry.next;
    }
  }
  entry.tip = node;
  entry.prev = entry.next = -1;
  if (node == kNoNode) return;
  entry.next = (*tree_)[node].owners;
  if (entry.next >= 0) at(entry.next).prev = record;
  (*tree_)[node].owners = record;
}

void OwnerTable::move_tips(int32_t from, int32_t to) {
  while ((*tree_)[from].owners >= 0) {
    const int32_t record = (*tree_)[from].owners;
    set_tip(record, to);
    if (to == kNoNode) erase_if_idle(record);
  }
}

int32_t OwnerTable::strongest(int32_t node) const {
  int32_t best = -1;
  for (int32_t record = (*tree_)[node].owners; record >= 0; record = (*this)[record].next) {
    if (best < 0 || (*this)[record].retention > (*this)[best].retention) best = record;
  }
  return best;
}

void OwnerTable::follow(int32_t node, int32_t record) {
  unfollow(node);
  if (record < 0) return;
  Node& entry = (*tree_)[node];
  entry.host_owner = record;
  entry.host_prev = kNoNode;
  entry.host_next = at(record).host_nodes;
  if (entry.host_next != kNoNode) (*tree_)[entry.host_next].host_prev = node;
  at(record).host_nodes = node;
}

int32_t OwnerTable::unfollow(int32_t node) {
  Node& entry = (*tree_)[node];
  const int32_t record = entry.host_owner;
  if (record < 0) return -1;
  if (entry.host_next != kNoNode) (*tree_)[entry.host_next].host_prev = entry.host_prev;
  if (entry.host_prev != kNoNode) {
    (*tree_)[entry.host_prev].host_next = entry.host_next;
  } else {
    at(record).host_nodes = entry.host_next;
  }
  entry.host_owner = entry.host_next = entry.host_prev = -1;
  return record;
}

void OwnerTable::check() const {
  ensure(ids_.size() + free_.size() == records_.size(), "owners: ", ids_.size(), " known and ", free_.size(),
         " free of ", records_.size());
  size_t tips = 0, tagged = 0;
  for (const auto& [owner, record] : ids_) {
    const Record& entry = (*this)[record];
    ensure(entry.owner == owner, "owners: record ", record, " is listed as ", owner);
    ensure(entry.tip == kNoNode || (*tree_)[entry.tip].length > 0, "owners: the tip of ", owner, " is gone");
    tips += entry.tip != kNoNode;
    int32_t previous = kNoNode;
    for (int32_t node = entry.host_nodes; node != kNoNode; node = (*tree_)[node].host_next) {
      ensure((*tree_)[node].host_owner == record && (*tree_)[node].host_prev == previous &&
                 !(*tree_)[node].on_device(),
             "owners: node ", node, " is wrongly listed as a host node of ", owner);
      previous = node;
    }
  }
  for (int32_t node = 0; node < tree_->capacity(); ++node) {
    if ((*tree_)[node].length == 0) continue;
    int32_t previous = -1;
    for (int32_t record = (*tree_)[node].owners; record >= 0; record = (*this)[record].next, ++tagged) {
      ensure((*this)[record].tip == node && (*this)[record].prev == previous, "owners: node ", node,
             " lists record ", record);
      previous = record;
    }
  }
  ensure(tips == tagged, "owners: ", tips, " tips, ", tagged, " tags");
}

}  // namespace agentinfer
