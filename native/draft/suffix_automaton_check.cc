#include "draft/suffix_automaton.h"

#include <algorithm>
#include <vector>

#include "tensor/check.h"

namespace agentinfer {

// Links rise strictly, transitions go to longer strings, and each state's list names edges that exist.
void SuffixAutomaton::check_state(uint32_t state) const {
  const State& at = states_[state];
  if (state != kRoot) {
    ensure(at.link < state_count() && length(at.link) < at.length, "automaton: link of state ", state);
    ensure(at.previous < at.end && (at.previous > 0) == (at.count > 1), "automaton: state ", state,
           " occurs ", at.count, " times, last at ", at.end, " and ", at.previous);
    ensure(at.count > 0 && at.end >= at.length && at.end <= size(), "automaton: state ", state, " of length ",
           at.length, " ends at ", at.end);
  }
  ensure(at.token != kBorder || at.more == kBorder, "automaton: state ", state, " has no first transition");
  if (at.token != kBorder)
    ensure(at.target < state_count() && length(at.target) > at.length, "automaton: edge of ", state);
  for (int32_t token = at.more; token != kBorder;) {
    const EdgeTable::Edge* edge = edges_.find(state, token);
    ensure(edge && token != at.token, "automaton: state ", state, " lists an edge it has not");
    ensure(edge->target < state_count() && length(edge->target) > at.length, "automaton: edge of ", state);
    token = edge->next_token;
  }
}

// The longest string of the state leads from the root to it.
void SuffixAutomaton::check_string(uint32_t state) const {
  uint32_t at = kRoot;
  for (uint32_t i = states_[state].end - length(state); i < states_[state].end; ++i) {
    ensure(text_[i] != kBorder, "automaton: the string of state ", state, " crosses a border");
    at = next(at, text_[i]);
    ensure(at != kNone, "automaton: the string of state ", state, " is not recognised");
  }
  ensure(at == state, "automaton: the string of state ", state, " leads to ", at);
}

void SuffixAutomaton::check(uint32_t samples) const {
  edges_.check();
  std::vector<uint32_t> inherited(state_count()), latest(state_count());
  for (uint32_t state = 0; state < state_count(); ++state) {
    check_state(state);
    if (state == kRoot) continue;
    inherited[link(state)] += states_[state].count;
    latest[link(state)] = std::max(latest[link(state)], states_[state].end);
  }
  for (uint32_t state = 1; exact_ && state < state_count(); ++state) {
    ensure(inherited[state] <= states_[state].count, "automaton: state ", state, " counts ",
           states_[state].count, ", its longer strings ", inherited[state]);
    ensure(latest[state] <= states_[state].end, "automaton: state ", state, " ends before a longer string");
  }
  const uint32_t stride = samples == 0 ? state_count() : std::max(1u, state_count() / samples);
  for (uint32_t state = 1; samples > 0 && state < state_count(); state += stride) check_string(state);
  ensure(length(last_) == size() - document_begin_, "automaton: the last state is not the document");
}

}  // namespace agentinfer
