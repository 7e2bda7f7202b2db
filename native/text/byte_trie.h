#pragma once
// Longest-prefix search among a set of byte strings. Memory is proportional to their bytes. Immutable after
// the last insert.

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

namespace agentinfer {

class ByteTrie {
 public:
  struct Match {
    size_t length = 0;  // bytes; 0: nothing matches
    int32_t value = -1;
  };

  ByteTrie() { roots_.fill(-1); }

  // REQUIRES: !key.empty(), value >= 0. A key inserted again takes the new value.
  void insert(std::string_view key, int32_t value);
  bool empty() const { return nodes_.empty(); }
  bool may_start(char first) const { return roots_[static_cast<uint8_t>(first)] >= 0; }
  Match longest(std::string_view text) const;

 private:
  struct Node {
    int32_t value = -1;
    int32_t child = -1;    // first child
    int32_t sibling = -1;  // next child of the same parent
    uint8_t byte = 0;
  };
  int32_t find_child(int32_t parent, uint8_t byte) const;

  std::array<int32_t, 256> roots_;
  std::vector<Node> nodes_;
};

}  // namespace agentinfer
