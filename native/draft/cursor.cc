#include "draft/cursor.h"

namespace agentinfer {

void Cursor::repair(const SuffixAutomaton& automaton) {
  while (state_ != SuffixAutomaton::kRoot && length_ <= automaton.length(automaton.link(state_)))
    state_ = automaton.link(state_);
}

void Cursor::advance(const SuffixAutomaton& automaton, int32_t token) {
  while (true) {
    const uint32_t target = automaton.next(state_, token);
    if (target != SuffixAutomaton::kNone) {
      state_ = target;
      ++length_;
      return;
    }
    if (state_ == SuffixAutomaton::kRoot) {
      length_ = 0;
      return;
    }
    state_ = automaton.link(state_);
    length_ = automaton.length(state_);
  }
}

}  // namespace agentinfer
