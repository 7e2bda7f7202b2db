#include "draft/cursor.h"

namespace agentinfer {

void Cursor::repair(const SuffixAutomaton& automaton) {
  while (state_ != SuffixAutomaton::kRoot && length_ <= automaton.length(automaton.link(state_)))
    state_ = automaton.link(state_);
}

Walk::Walk(const SuffixAutomaton& automaton, Cursor& cursor, std::span<const int32_t> tokens)
    : automaton_(&automaton), cursor_(&cursor), tokens_(tokens) {
  begin();
}

// Before a token; the cursor's state may not be loaded.
bool Walk::begin() {
  automaton_->prefetch(cursor_->state_);
  if (tokens_.empty()) return false;
  automaton_->prefetch_branch(SuffixAutomaton::kRoot, tokens_[0]);
  stop_ = Stop::kToken;
  return true;
}

bool Walk::step() {
  if (tokens_.empty()) return false;
  if (stop_ == Stop::kBranch) return branch();
  if (stop_ == Stop::kLink) {
    cursor_->length_ = automaton_->length(cursor_->state_);
    return look();
  }
  // The root's transition is looked up first: a token that the text does not have ends the way at once.
  const uint32_t inside = automaton_->next_inside(cursor_->state_, tokens_[0]);
  if (inside != SuffixAutomaton::kNone) return take(inside);
  from_root_ = automaton_->next(SuffixAutomaton::kRoot, tokens_[0]);
  if (cursor_->state_ != SuffixAutomaton::kRoot && from_root_ != SuffixAutomaton::kNone) return look();
  cursor_->state_ = SuffixAutomaton::kRoot;
  cursor_->length_ = 0;
  return take(from_root_);
}

// At a state that is loaded and is not the root.
bool Walk::look() {
  const uint32_t inside = automaton_->next_inside(cursor_->state_, tokens_[0]);
  if (inside != SuffixAutomaton::kNone) return take(inside);
  automaton_->prefetch(automaton_->link(cursor_->state_));
  if (!automaton_->branches(cursor_->state_)) return climb();
  automaton_->prefetch_branch(cursor_->state_, tokens_[0]);
  stop_ = Stop::kBranch;
  return true;
}

bool Walk::branch() {
  const uint32_t target = automaton_->next_branch(cursor_->state_, tokens_[0]);
  return target != SuffixAutomaton::kNone ? take(target) : climb();
}

bool Walk::climb() {
  cursor_->state_ = automaton_->link(cursor_->state_);
  if (cursor_->state_ == SuffixAutomaton::kRoot) {
    cursor_->length_ = 0;
    return take(from_root_);
  }
  stop_ = Stop::kLink;
  return true;
}

bool Walk::take(uint32_t target) {
  if (target != SuffixAutomaton::kNone) {
    cursor_->state_ = target;
    ++cursor_->length_;
  }
  tokens_ = tokens_.subspan(1);
  return begin();
}

}  // namespace agentinfer
