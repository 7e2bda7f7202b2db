#include "kv/block_tree.h"

#include <algorithm>
#include <cstring>

#include "tensor/check.h"

namespace agentinfer {

int common_prefix(std::span<const int32_t> a, std::span<const int32_t> b) {
  const size_t length = std::min(a.size(), b.size());
  if (length == 0 || std::memcmp(a.data(), b.data(), length * sizeof(int32_t)) == 0)
    return static_cast<int>(length);
  size_t i = 0;
  while (a[i] == b[i]) ++i;
  return static_cast<int>(i);
}

BlockTree::BlockTree(int capacity, int block_size, const ChainHasher::Secret& secret)
    : hasher_(secret), block_size_(block_size) {
  nodes_.resize(static_cast<size_t>(capacity));
  tokens_.resize(static_cast<size_t>(capacity) * static_cast<size_t>(block_size));
  for (int32_t node = capacity - 1; node >= 0; --node) {
    (*this)[node].left = free_head_;
    free_head_ = node;
  }
}

std::span<const int32_t> BlockTree::tokens(int32_t node) const {
  return {tokens_.data() + static_cast<size_t>(node) * static_cast<size_t>(block_size_),
          static_cast<size_t>((*this)[node].length)};
}

int32_t BlockTree::level(uint64_t salt, int32_t parent) const {
  if (parent != kNoNode) return (*this)[parent].children;
  const auto root = roots_.find(salt);
  return root == roots_.end() ? kNoNode : root->second;
}

int32_t* BlockTree::level_link(uint64_t salt, int32_t parent) {
  return parent != kNoNode ? &(*this)[parent].children : &roots_.try_emplace(salt, kNoNode).first->second;
}

// < 0: the tokens come before the node's in order, 0: equal.
int BlockTree::compare(std::span<const int32_t> wanted, int32_t node, int* common) const {
  const std::span<const int32_t> held = tokens(node);
  *common = common_prefix(wanted, held);
  const size_t at = static_cast<size_t>(*common);
  if (at == wanted.size() || at == held.size())
    return wanted.size() < held.size() ? -1 : wanted.size() > held.size();
  return wanted[at] < held[at] ? -1 : 1;
}

int32_t BlockTree::find(uint64_t salt, int32_t parent, std::span<const int32_t> wanted) const {
  int32_t node = level(salt, parent);
  int common = 0;
  while (node != kNoNode) {
    const int order = compare(wanted, node, &common);
    if (order == 0) return node;
    node = order < 0 ? (*this)[node].left : (*this)[node].right;
  }
  return kNoNode;
}

BlockTree::Neighbours BlockTree::neighbours(uint64_t salt, int32_t parent,
                                            std::span<const int32_t> wanted) const {
  Neighbours result;
  int32_t node = level(salt, parent);
  while (node != kNoNode) {
    int common = 0;
    const bool before = compare(wanted, node, &common) >= 0;
    (before ? result.before : result.after) = {node, common};
    node = before ? (*this)[node].right : (*this)[node].left;
  }
  return result;
}

int32_t BlockTree::insert(uint64_t salt, int32_t parent, std::span<const int32_t> wanted) {
  ensure(free_head_ != kNoNode, "block tree: all ", capacity(), " nodes are taken");
  ensure(!wanted.empty() && wanted.size() <= static_cast<size_t>(block_size_), "block tree: a node of ",
         wanted.size(), " tokens");
  int32_t* const link = level_link(salt, parent);  // may throw, so it comes first
  const int32_t node = free_head_;
  Node& entry = (*this)[node];
  free_head_ = entry.left;
  const uint32_t stamp = entry.stamp;
  entry = Node{};
  entry.stamp = stamp;
  entry.salt = salt;
  entry.parent = parent;
  entry.length = static_cast<int32_t>(wanted.size());
  entry.hash = hasher_.extend(parent == kNoNode ? hasher_.root(salt) : (*this)[parent].hash, wanted);
  std::copy(wanted.begin(), wanted.end(),
            tokens_.begin() + static_cast<ptrdiff_t>(node) * static_cast<ptrdiff_t>(block_size_));
  link_sibling(link, node);
  ++live_;
  return node;
}

void BlockTree::erase(int32_t node) {
  Node& entry = (*this)[node];
  ensure(entry.length > 0 && entry.children == kNoNode, "block tree: node ", node,
         " is free or has children");
  unlink_sibling(level_link(entry.salt, entry.parent), node);
  if (entry.parent == kNoNode) {
    const auto root = roots_.find(entry.salt);
    if (root->second == kNoNode) roots_.erase(root);
  }
  entry.length = 0;
  ++entry.stamp;
  entry.left = free_head_;
  free_head_ = node;
  --live_;
}

// Goes down while priorities are higher, then splits the rest by the new node's tokens into its left and
// right.
void BlockTree::link_sibling(int32_t* link, int32_t node) {
  int common = 0;
  while (*link != kNoNode && priority(*link) >= priority(node)) {
    Node& at = (*this)[*link];
    link = compare(tokens(node), *link, &common) < 0 ? &at.left : &at.right;
  }
  int32_t rest = *link;
  *link = node;
  int32_t *low = &(*this)[node].left, *high = &(*this)[node].right;
  while (rest != kNoNode) {
    if (compare(tokens(node), rest, &common) < 0) {
      *high = rest;
      high = &(*this)[rest].left;
      rest = *high;
    } else {
      *low = rest;
      low = &(*this)[rest].right;
      rest = *low;
    }
  }
  *low = *high = kNoNode;
}

// Puts the merged left and right of the node in its place.
void BlockTree::unlink_sibling(int32_t* link, int32_t node) {
  int common = 0;
  while (*link != node) {
    ensure(*link != kNoNode, "block tree: node ", node, " is not among its siblings");
    Node& at = (*this)[*link];
    link = compare(tokens(node), *link, &common) < 0 ? &at.left : &at.right;
  }
  int32_t low = (*this)[node].left, high = (*this)[node].right;
  while (low != kNoNode && high != kNoNode) {
    if (priority(low) >= priority(high)) {
      *link = low;
      link = &(*this)[low].right;
      low = *link;
    } else {
      *link = high;
      link = &(*this)[high].left;
      high = *link;
    }
  }
  *link = low != kNoNode ? low : high;
}

}  // namespace agentinfer
