#include "draft/suffix_automaton.h"

#include <algorithm>
#include <vector>

#include "tensor/check.h"

namespace agentinfer {

SuffixAutomaton::SuffixAutomaton() {
  add_state({0, kNone, 0, 0, 0, kBorder, kNone, kBorder});
}

void SuffixAutomaton::append(int32_t token) {
  if (token < 0) fail(ErrorCode::kInvalidArgument, "suffix automaton: expected a token id >= 0, got ", token);
  if (size() >= kMaxText)
    fail(ErrorCode::kInvalidArgument, "suffix automaton: expected at most ", kMaxText, " tokens, got more");
  const uint32_t before = extend(token);
  text_.push_back(token);
  prior_ = match(before, length(before));
  refresh();
}

void SuffixAutomaton::append(std::span<const int32_t> tokens) {
  for (const int32_t token : tokens) append(token);
}

void SuffixAutomaton::begin_document() {
  if (size() == document_begin_) return;
  text_.push_back(kBorder);
  document_begin_ = size();
  last_ = kRoot;
  prior_ = Match();
}

uint32_t SuffixAutomaton::next(uint32_t state, int32_t token) const {
  const uint32_t inside = next_inside(state, token);
  return inside != kNone || !branches(state) ? inside : next_branch(state, token);
}

SuffixAutomaton::Match SuffixAutomaton::match(uint32_t state, uint32_t length) const {
  const State& at = states_[state];
  return {length, at.end, at.previous, at.count, at.more != kBorder, state};
}

int SuffixAutomaton::continuation(uint32_t position, bool wrap, std::span<int32_t> out) const {
  const uint32_t end = size();
  for (size_t i = 0; i < out.size(); ++i, ++position) {
    if (position >= end && !wrap) return static_cast<int>(i);
    out[i] = position < end ? text_[position] : out[position - end];
    if (out[i] == kBorder) return static_cast<int>(i);
  }
  return static_cast<int>(out.size());
}

uint32_t SuffixAutomaton::add_state(const State& state) {
  states_.push_back(state);
  return state_count() - 1;
}

void SuffixAutomaton::add_edge(uint32_t state, int32_t token, uint32_t target) {
  State& from = states_[state];
  if (from.token == kBorder) {
    from.token = token;
    from.target = target;
    return;
  }
  edges_.insert({state, token, target, from.more});
  from.more = token;
}

void SuffixAutomaton::redirect(uint32_t state, int32_t token, uint32_t target) {
  State& from = states_[state];
  if (from.token == token)
    from.target = target;
  else
    edges_.find(state, token)->target = target;
}

// Splits off `original` the strings that are at most one longer than `parent`'s: those that just occurred in
// another place.
uint32_t SuffixAutomaton::clone(uint32_t parent, int32_t token, uint32_t original) {
  State copy = states_[original];
  int32_t more = copy.more;
  copy.length = length(parent) + 1;
  copy.more = kBorder;
  const uint32_t split = add_state(copy);
  while (more != kBorder) {
    const EdgeTable::Edge edge = *edges_.find(original, more);
    add_edge(split, edge.token, edge.target);
    more = edge.next_token;
  }
  states_[original].link = split;
  for (uint32_t state = parent; state != kNone && next(state, token) == original; state = link(state))
    redirect(state, token, split);
  return split;
}

uint32_t SuffixAutomaton::extend(int32_t token) {
  const uint32_t known = next(last_, token);
  if (known != kNone) {  // the whole document occurred before: no state of its own
    last_ = length(known) == length(last_) + 1 ? known : clone(last_, token, known);
    return last_;
  }
  const uint32_t created = add_state({length(last_) + 1, kRoot, 0, 0, 0, kBorder, kNone, kBorder});
  uint32_t state = last_, target = kNone;
  for (; state != kNone; state = link(state)) {
    target = next(state, token);
    if (target != kNone) break;
    add_edge(state, token, created);
  }
  last_ = created;
  if (state == kNone) return kRoot;
  if (length(target) != length(state) + 1) target = clone(state, token, target);
  states_[created].link = target;
  return target;
}

// Every suffix of the text has one occurrence more, and it ends here.
void SuffixAutomaton::refresh() {
  uint32_t state = last_;
  for (int depth = 0; depth < kRefreshDepth; ++depth) {
    if (state == kRoot) return;
    State& at = states_[state];
    ++at.count;
    at.previous = at.end;
    at.end = size();
    state = at.link;
  }
  exact_ = exact_ && state == kRoot;
}

// Sets count, end and previous of each state to what the prefixes of the documents alone give.
void SuffixAutomaton::count_prefixes() {
  for (uint32_t state = 0; state < state_count(); ++state) {
    State& at = states_[state];
    at.count = at.end = at.previous = 0;
  }
  uint32_t state = kRoot;
  for (uint32_t i = 0; i < size(); ++i) {
    state = text_[i] == kBorder ? kRoot : next(state, text_[i]);
    if (state == kRoot) continue;
    ++states_[state].count;
    states_[state].previous = states_[state].end;
    states_[state].end = i + 1;
  }
}

// The strings of the link occur wherever those of the state do: no position is counted twice.
void SuffixAutomaton::settle_link(const State& from) {
  State& to = states_[from.link];
  to.count += from.count;
  const uint32_t second = std::min(to.end, from.end);
  to.end = std::max(to.end, from.end);
  to.previous = std::max({to.previous, from.previous, second});
}

void SuffixAutomaton::settle() {
  if (exact_) return;
  count_prefixes();
  // States by falling length (counting sort): each gives what it has to its link.
  uint32_t longest = 0;
  for (uint32_t state = 0; state < state_count(); ++state) longest = std::max(longest, length(state));
  std::vector<uint32_t> place(longest + 2), order(state_count());
  for (uint32_t state = 0; state < state_count(); ++state) ++place[longest - length(state) + 1];
  for (size_t i = 1; i < place.size(); ++i) place[i] += place[i - 1];
  for (uint32_t state = 0; state < state_count(); ++state) order[place[longest - length(state)]++] = state;
  for (const uint32_t state : order)
    if (state != kRoot && link(state) != kRoot) settle_link(states_[state]);
  exact_ = true;
}

}  // namespace agentinfer
