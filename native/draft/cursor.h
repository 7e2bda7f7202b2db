#pragma once
// The longest suffix of a token stream that occurs in an automaton, kept up in O(1) amortised per token.
//
// The automaton may grow between calls. A state is then only ever split, and the shorter strings move to a
// state on its link path, so repair() finds the cursor's string again by walking links.

#include <cstdint>
#include <span>

#include "draft/suffix_automaton.h"

namespace agentinfer {

class Cursor {
 public:
  // All calls on one cursor, and walks, take the same automaton.
  void repair(const SuffixAutomaton& automaton);
  void reset() { *this = Cursor(); }

  uint32_t length() const { return length_; }
  // REQUIRES: repaired since the automaton grew.
  SuffixAutomaton::Match match(const SuffixAutomaton& automaton) const {
    return automaton.match(state_, length_);
  }
  uint32_t state() const { return state_; }

 private:
  friend class Walk;
  uint32_t state_ = SuffixAutomaton::kRoot;
  uint32_t length_ = 0;
};

// Advances a cursor by some tokens, with a stop wherever memory has to be waited for: automata are far apart
// in memory, a token's way through one misses the caches several times, and each miss depends on the one
// before. Walks of several cursors that step in turns wait for all of them at once.
class Walk {
 public:
  Walk() = default;
  // All three must outlive the walk. REQUIRES: the cursor is repaired since the automaton grew.
  Walk(const SuffixAutomaton& automaton, Cursor& cursor, std::span<const int32_t> tokens);
  // Goes as far as it can without waiting for memory that the step before did not begin to load. False: all
  // tokens are taken, and the cursor's state is being loaded. REQUIRES: it was not false before.
  bool step();

 private:
  enum class Stop : uint8_t { kToken, kLink, kBranch };
  bool begin();
  bool look();
  bool branch();
  bool climb();
  bool take(uint32_t target);

  const SuffixAutomaton* automaton_ = nullptr;
  Cursor* cursor_ = nullptr;
  std::span<const int32_t> tokens_;              // to be taken
  uint32_t from_root_ = SuffixAutomaton::kNone;  // the root's transition with the token
  Stop stop_ = Stop::kToken;
};

}  // namespace agentinfer
