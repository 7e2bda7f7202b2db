#pragma once
// Who retains what: owners, their retention, the node each is attached to (its tip) and the host nodes that
// follow it. Lists run through the nodes (Node::owners, host_next) and the records, so everything but
// `strongest` is O(1).

#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "kv/block_tree.h"
#include "kv/retention.h"

namespace agentinfer {

class OwnerTable {
 public:
  explicit OwnerTable(BlockTree& tree) : tree_(&tree) {}

  struct Record {
    OwnerId owner = kNoOwner;
    Retention retention;
    int32_t tip = kNoNode;
    int32_t next = -1, prev = -1;  // owners with the same tip
    int32_t host_nodes = kNoNode;  // head of the list of host nodes
  };
  const Record& operator[](int32_t record) const { return records_[static_cast<size_t>(record)]; }

  int32_t find(OwnerId owner) const;   // -1: unknown
  int32_t find_or_add(OwnerId owner);  // the only call that allocates
  void set_retention(int32_t record, Retention retention) { at(record).retention = retention; }
  void erase(int32_t record);  // detaches it from its tip and its host nodes
  // A record that says nothing (weakest retention, no tip, no host nodes) is erased.
  void erase_if_idle(int32_t record);

  void set_tip(int32_t record, int32_t node);  // kNoNode: detach
  // All owners of `from` move to `to` (kNoNode: they are detached, and erased if idle).
  void move_tips(int32_t from, int32_t to);
  int32_t strongest(int32_t node) const;  // record, or -1: nobody's tip
  // Host nodes follow one owner.
  void follow(int32_t node, int32_t record);  // record -1: nobody
  int32_t unfollow(int32_t node);             // the record followed so far, or -1. It may be idle now

  int size() const { return static_cast<int>(ids_.size()); }
  void check() const;

 private:
  Record& at(int32_t record) { return records_[static_cast<size_t>(record)]; }

  BlockTree* tree_;
  std::vector<Record> records_;
  std::vector<int32_t> free_;
  std::unordered_map<OwnerId, int32_t> ids_;
};

}  // namespace agentinfer
