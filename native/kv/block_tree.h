#pragma once
// The tree behind the prefix index: for each salt, nodes of token blocks. Pure structure; what a node's state
// means is PrefixIndex's business.
//
// The children of a node (and the top level of a salt) are a treap ordered lexicographically by tokens, a
// proper prefix first. Its priorities are the nodes' keyed hashes, so its depth is logarithmic whatever
// tokens are submitted. In lexicographic order the longest common prefix of a query with any sibling is that
// with its predecessor or successor.
//
// All memory is taken by the constructor, except the map entry of a salt.

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "kv/block_pool.h"
#include "kv/chain_hash.h"

namespace agentinfer {

enum class NodeState : uint8_t {
  kDevice,    // block
  kToHost,    // block and host block, content still good in the block, referenced by nobody
  kHost,      // host block
  kFromHost,  // block and host block, content good in the block once the copy is complete
};

struct Node {
  Hash128 hash;  // covers the chain up to and including this node
  uint64_t salt = 0;
  uint64_t last_use = 0;
  int32_t parent = kNoNode;
  int32_t children = kNoNode;               // root of the treap of children
  int32_t left = kNoNode, right = kNoNode;  // in the treap of siblings; `left` links the free nodes
  int32_t length = 0;                       // valid tokens; < block size: a partial tail. 0: a free node
  int32_t block = kNoBlock;
  int32_t host_block = -1;
  int32_t move = -1;            // id of the copy in flight, in states kToHost and kFromHost
  int32_t device_children = 0;  // in states kDevice and kFromHost
  int32_t owners = -1;          // OwnerTable: owners whose tip this is
  int32_t host_owner = -1, host_next = -1, host_prev = -1;  // OwnerTable: host nodes of an owner
  uint32_t stamp = 0;                                       // counts the lives of this node number
  NodeState state = NodeState::kDevice;

  bool on_device() const { return state == NodeState::kDevice || state == NodeState::kFromHost; }
};

// Equal leading tokens.
int common_prefix(std::span<const int32_t> a, std::span<const int32_t> b);

class BlockTree {
 public:
  BlockTree(int capacity, int block_size, const ChainHasher::Secret& secret);

  const ChainHasher& hasher() const { return hasher_; }
  Node& operator[](int32_t node) { return nodes_[static_cast<size_t>(node)]; }
  const Node& operator[](int32_t node) const { return nodes_[static_cast<size_t>(node)]; }
  std::span<const int32_t> tokens(int32_t node) const;
  int capacity() const { return static_cast<int>(nodes_.size()); }
  int live() const { return live_; }
  bool alive(int32_t node, uint32_t stamp) const { return (*this)[node].stamp == stamp; }
  bool partial(int32_t node) const { return (*this)[node].length < block_size_; }

  // The child of `parent` (kNoNode: the top level of `salt`) with exactly these tokens, or kNoNode.
  int32_t find(uint64_t salt, int32_t parent, std::span<const int32_t> tokens) const;
  // The siblings next to `tokens` in order, each with its common prefix; a sibling equal to it is `before`.
  struct Neighbour {
    int32_t node = kNoNode;
    int common = 0;
  };
  struct Neighbours {
    Neighbour before, after;
  };
  Neighbours neighbours(uint64_t salt, int32_t parent, std::span<const int32_t> tokens) const;

  // A new leaf with a copy of `tokens`, which are not in the tree. REQUIRES: no equal sibling; a free node
  // and 1 to block size tokens (else kInternal). Throws bad_alloc for a new salt's entry; nothing has changed
  // then.
  int32_t insert(uint64_t salt, int32_t parent, std::span<const int32_t> tokens);
  // REQUIRES no children (kInternal).
  void erase(int32_t node);

  // The roots of all salts, for check() and dump().
  const std::unordered_map<uint64_t, int32_t>& salts() const { return roots_; }

 private:
  int32_t level(uint64_t salt, int32_t parent) const;
  int32_t* level_link(uint64_t salt, int32_t parent);
  int compare(std::span<const int32_t> tokens, int32_t node, int* common) const;
  void link_sibling(int32_t* link, int32_t node);
  void unlink_sibling(int32_t* link, int32_t node);
  uint64_t priority(int32_t node) const { return (*this)[node].hash.low; }

  ChainHasher hasher_;
  int block_size_;
  std::vector<Node> nodes_;
  std::vector<int32_t> tokens_;                  // [capacity, block_size]
  std::unordered_map<uint64_t, int32_t> roots_;  // never kNoNode between calls
  int32_t free_head_ = kNoNode;
  int live_ = 0;
};

}  // namespace agentinfer
