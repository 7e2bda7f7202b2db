#include "text/byte_trie.h"

#include "tensor/check.h"

namespace agentinfer {

int32_t ByteTrie::find_child(int32_t parent, uint8_t byte) const {
  int32_t child = nodes_[parent].child;
  while (child >= 0 && nodes_[child].byte != byte) child = nodes_[child].sibling;
  return child;
}

void ByteTrie::insert(std::string_view key, int32_t value) {
  ensure(!key.empty() && value >= 0, "ByteTrie::insert: a key of ", key.size(), " bytes with value ", value);
  int32_t node = -1;
  for (const char c : key) {
    const auto byte = static_cast<uint8_t>(c);
    int32_t next = node < 0 ? roots_[byte] : find_child(node, byte);
    if (next < 0) {
      next = static_cast<int32_t>(nodes_.size());
      nodes_.push_back({-1, -1, node < 0 ? -1 : nodes_[node].child, byte});
      (node < 0 ? roots_[byte] : nodes_[node].child) = next;
    }
    node = next;
  }
  nodes_[node].value = value;
}

ByteTrie::Match ByteTrie::longest(std::string_view text) const {
  Match best;
  int32_t node = -1;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<uint8_t>(text[i]);
    node = i == 0 ? roots_[byte] : find_child(node, byte);
    if (node < 0) break;
    if (nodes_[node].value >= 0) best = {i + 1, nodes_[node].value};
  }
  return best;
}

}  // namespace agentinfer
