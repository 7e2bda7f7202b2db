#pragma once
// The longest suffix of a token stream that occurs in an automaton, kept up in O(1) amortised per token.
//
// The automaton may grow between calls. A state is then only ever split, and the shorter strings move to a
// state on its link path, so repair() finds the cursor's string again by walking links.

#include <cstdint>

#include "draft/suffix_automaton.h"

namespace agentinfer {

class Cursor {
 public:
  // All calls on one cursor take the same automaton. REQUIRES: repaired since the automaton grew.
  void advance(const SuffixAutomaton& automaton, int32_t token);
  void repair(const SuffixAutomaton& automaton);
  void reset() { *this = Cursor(); }

  uint32_t length() const { return length_; }
  // REQUIRES: repaired since the automaton grew.
  SuffixAutomaton::Match match(const SuffixAutomaton& automaton) const {
    return automaton.match(state_, length_);
  }
  uint32_t state() const { return state_; }

 private:
  uint32_t state_ = SuffixAutomaton::kRoot;
  uint32_t length_ = 0;
};

}  // namespace agentinfer
