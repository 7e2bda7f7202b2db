#include "engine/token_history.h"

#include <cstddef>

namespace agentinfer {
namespace {

size_t home(int32_t token, size_t mask) {
  return (static_cast<uint32_t>(token) * size_t{0x9e3779b1u} >> 7) & mask;
}

}  // namespace

void TokenHistory::grow() {
  std::vector<int32_t> table(table_.empty() ? 64 : 2 * table_.size(), -1);
  for (size_t i = 0; i < entries_.size(); ++i) {
    size_t slot = home(entries_[i].token, table.size() - 1);
    while (table[slot] >= 0) slot = (slot + 1) & (table.size() - 1);
    table[slot] = static_cast<int32_t>(i);
  }
  table_.swap(table);
}

TokenHistory::Entry& TokenHistory::entry(int32_t token) {
  if (2 * entries_.size() >= table_.size()) grow();
  const size_t mask = table_.size() - 1;
  size_t slot = home(token, mask);
  for (; table_[slot] >= 0; slot = (slot + 1) & mask) {
    Entry& found = entries_[static_cast<size_t>(table_[slot])];
    if (found.token == token) return found;
  }
  entries_.push_back({token, 0, 0});
  table_[slot] = static_cast<int32_t>(entries_.size()) - 1;
  return entries_.back();
}

void TokenHistory::append_prompt(std::span<const int32_t> tokens) {
  for (int32_t token : tokens) ++entry(token).prompt;
}

void TokenHistory::append_output(int32_t token) {
  ++entry(token).output;
  ++outputs_;
}

}  // namespace agentinfer
