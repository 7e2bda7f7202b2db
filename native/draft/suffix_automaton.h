#pragma once
// Suffix automaton over token ids, built online: recognises every substring of a growing text and knows where
// it occurred last. Idea of using one for drafting: SAM-Decoding (arXiv 2411.10666) and AgentSAM (arXiv
// 2512.18337, section on AgentSAM); ours keeps the *latest* two positions and the count of every substring.
//
// The text is a list of documents; no substring crosses a border between two. The first transition of a state
// lies in the state (most states have one), the others in one open-addressing table; nothing is allocated per
// state. Appending is O(1) amortised in transitions plus at most kRefreshDepth link steps.
//
// `count`, `end` and `previous` of a state. Each append adds an occurrence of every suffix of the text, i.e.
// to all states on the link path of the last one. The nearest kRefreshDepth of them are brought up to date at
// once, the rest are not:
//   - `end` and `previous` are always ends of true occurrences, `count` is at most their number;
//   - while exact() (no path was ever longer; true for most texts) all are exact;
//   - settle() makes them exact again in O(text).
//
// Thread safety: none; see TextSource for reading while another thread appends.
// Positions are indices into text(), where a border is one kBorder. At most kMaxText of them.

#include <cstddef>
#include <cstdint>
#include <span>

#include "draft/edge_table.h"
#include "draft/pages.h"

namespace agentinfer {

class SuffixAutomaton {
 public:
  static constexpr uint32_t kRoot = 0;
  static constexpr uint32_t kNone = UINT32_MAX;
  static constexpr int32_t kBorder = -1;
  static constexpr int kRefreshDepth = 16;
  static constexpr uint32_t kMaxText = uint32_t{1} << 30;

  // A substring that ends where the text (or a cursor) is.
  struct Match {
    uint32_t length = 0;  // tokens; 0: no match, the rest is meaningless
    uint32_t end = 0;  // text position just behind the latest occurrence: of the first token that followed it
    uint32_t previous = 0;   // ... behind the one before; 0: there was none
    uint32_t count = 0;      // occurrences
    bool branches = false;   // occurrences went on with different tokens
    uint32_t state = kRoot;  // that holds it
  };

  SuffixAutomaton();

  // Throws kInvalidArgument: a negative token, a text of more than kMaxText.
  void append(int32_t token);
  void append(std::span<const int32_t> tokens);
  // What follows is another document. No effect on an empty document.
  void begin_document();

  // The longest suffix of the current document that occurred before (here or in earlier documents), and where
  // it did last. May overlap the suffix itself.
  const Match& prior() const { return prior_; }

  // Queries. States are numbers below state_count().
  uint32_t next(uint32_t state, int32_t token) const;  // kNone: no such transition
  uint32_t length(uint32_t state) const { return states_[state].length; }
  uint32_t link(uint32_t state) const { return states_[state].link; }  // of the root: kNone
  uint32_t count(uint32_t state) const { return states_[state].count; }
  // The parts of next(), for who has other work while memory is read: the transition that lies in the state;
  // whether there are others; one of those.
  uint32_t next_inside(uint32_t state, int32_t token) const {
    const State& from = states_[state];
    return from.token == token ? from.target : kNone;
  }
  bool branches(uint32_t state) const { return states_[state].more != kBorder; }
  uint32_t next_branch(uint32_t state, int32_t token) const {
    const EdgeTable::Edge* edge = edges_.find(state, token);
    return edge ? edge->target : kNone;
  }
  // Start loading a state; what next_branch(state, token) looks at; `count` tokens of text from a position
  // on, a cache line's worth at most.
  void prefetch(uint32_t state) const { agentinfer::prefetch(&states_[state]); }
  void prefetch_branch(uint32_t state, int32_t token) const { edges_.prefetch(state, token); }
  void prefetch_text(uint32_t position, uint32_t count) const {
    if (position < size()) agentinfer::prefetch(&text_[position]);
    if (position + count <= size()) agentinfer::prefetch(&text_[position + count - 1]);
  }
  Match match(uint32_t state, uint32_t length) const;  // REQUIRES: length(link) < length <= length(state)

  // Copies the tokens that follow `position` into `out`, up to a border or the text's end; how many. With
  // `wrap`, at the text's end it goes on with the copied tokens themselves (a repetition that overlaps its
  // source, as in LZ77); REQUIRES then: position < size().
  int continuation(uint32_t position, bool wrap, std::span<int32_t> out) const;

  uint32_t size() const { return static_cast<uint32_t>(text_.size()); }  // tokens and borders
  uint32_t document_begin() const { return document_begin_; }            // of the current document
  int32_t text(uint32_t position) const { return text_[position]; }
  uint32_t state_count() const { return static_cast<uint32_t>(states_.size()); }
  size_t bytes() const { return states_.bytes() + text_.bytes() + edges_.bytes(); }

  bool exact() const { return exact_; }
  void settle();
  // Proves the invariants, kInternal otherwise; walks up to `samples` states' strings. For tests.
  void check(uint32_t samples) const;

 private:
  struct State {      // 32 bytes
    uint32_t length;  // of the longest string of the state
    uint32_t link;
    uint32_t count;
    uint32_t end;       // position behind the latest occurrence
    uint32_t previous;  // ... and the one before
    int32_t token;      // first transition; kBorder: none
    uint32_t target;
    int32_t more;  // token of another transition, in edges_; kBorder: none
  };

  uint32_t add_state(const State& state);
  void add_edge(uint32_t state, int32_t token, uint32_t target);
  void redirect(uint32_t state, int32_t token, uint32_t target);
  uint32_t clone(uint32_t parent, int32_t token, uint32_t original);
  uint32_t extend(
      int32_t token);  // moves last_; returns the state of the longest suffix that occurred before
  void refresh();
  void count_prefixes();
  void settle_link(const State& from);
  void check_state(uint32_t state) const;
  void check_string(uint32_t state) const;

  Pages<State, 10> states_;
  Pages<int32_t, 10> text_;
  EdgeTable edges_;
  uint32_t last_ = kRoot;  // holds the whole current document: length(last_) is the document's length
  uint32_t document_begin_ = 0;
  bool exact_ = true;
  Match prior_;
};

}  // namespace agentinfer
