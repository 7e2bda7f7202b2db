// The automaton against a naive search over the text.

#include "draft/suffix_automaton.h"

#include <algorithm>
#include <array>
#include <random>
#include <vector>

#include "check.h"
#include "draft/cursor.h"
#include "draft_texts.h"

using namespace agentinfer;
using texts::Tokens;

namespace {

constexpr int32_t kBorder = SuffixAutomaton::kBorder;

// A text with borders, and what is true of it by plain search.
struct Oracle {
  Tokens text;

  // Ends (exclusive) of the occurrences of `pattern`.
  std::vector<uint32_t> ends(std::span<const int32_t> pattern) const {
    std::vector<uint32_t> found;
    for (size_t end = pattern.size(); end <= text.size(); ++end)
      if (std::equal(pattern.begin(), pattern.end(),
                     text.begin() + static_cast<ptrdiff_t>(end - pattern.size())))
        found.push_back(static_cast<uint32_t>(end));
    return found;
  }
  // The longest suffix of `stream` that occurs.
  size_t longest_suffix(std::span<const int32_t> stream) const {
    size_t length = 0;
    while (length < stream.size() && !ends(stream.last(length + 1)).empty()) ++length;
    return length;
  }
};

void append(SuffixAutomaton& automaton, Oracle& oracle, int32_t token) {
  if (token == kBorder) {
    const bool empty = oracle.text.empty() || oracle.text.back() == kBorder;
    automaton.begin_document();
    if (!empty) oracle.text.push_back(kBorder);
    return;
  }
  automaton.append(token);
  oracle.text.push_back(token);
}

// The longest suffix of the document that occurred before, and where it ended last.
void check_prior(const SuffixAutomaton& automaton, const Oracle& oracle) {
  const std::span<const int32_t> document = std::span(oracle.text).subspan(automaton.document_begin());
  size_t length = 0;
  uint32_t end = 0, count = 0;
  while (length < document.size()) {
    const std::vector<uint32_t> found = oracle.ends(document.last(length + 1));
    if (found.size() < 2) break;
    ++length;
    end = found[found.size() - 2];
    count = static_cast<uint32_t>(found.size()) - 1;
  }
  const SuffixAutomaton::Match prior = automaton.prior();
  CHECK_EQ(prior.length, length);
  if (length == 0) return;
  CHECK(!automaton.exact() || prior.end == end);
  CHECK(!automaton.exact() || prior.count == count);
}

// A stream of tokens followed by a cursor: longest suffix, latest end, count, branching, at every token.
void check_stream(const SuffixAutomaton& automaton, const Oracle& oracle, const Tokens& stream, bool exact) {
  Cursor cursor;
  for (size_t i = 0; i < stream.size(); ++i) {
    texts::advance(cursor, automaton, stream[i]);
    const std::span<const int32_t> seen = std::span(stream).first(i + 1);
    CHECK_EQ(cursor.length(), oracle.longest_suffix(seen));
    if (cursor.length() == 0) continue;
    const SuffixAutomaton::Match match = cursor.match(automaton);
    const std::vector<uint32_t> ends = oracle.ends(seen.last(cursor.length()));
    CHECK(std::find(ends.begin(), ends.end(), match.end) != ends.end());
    CHECK(match.count >= 1 && match.count <= ends.size());
    if (exact) CHECK_EQ(match.end, ends.back());
    if (exact) CHECK_EQ(match.previous, ends.size() > 1 ? ends[ends.size() - 2] : 0);
    if (exact) CHECK_EQ(match.count, ends.size());
    CHECK(match.previous == 0 || std::find(ends.begin(), ends.end(), match.previous) != ends.end());
    std::vector<int32_t> after;
    for (const uint32_t end : ends)
      if (end < oracle.text.size() && oracle.text[end] != kBorder) after.push_back(oracle.text[end]);
    std::sort(after.begin(), after.end());
    after.erase(std::unique(after.begin(), after.end()), after.end());
    CHECK_EQ(match.branches, after.size() > 1);
  }
}

void check_text(const Tokens& text, std::mt19937_64& random, int32_t alphabet) {
  SuffixAutomaton automaton;
  Oracle oracle;
  for (const int32_t token : text) {
    append(automaton, oracle, token);
    check_prior(automaton, oracle);
  }
  automaton.check(UINT32_MAX);
  check_stream(automaton, oracle, texts::random_tokens(random, 40, alphabet), automaton.exact());
  Tokens own(text.end() - std::min<ptrdiff_t>(40, static_cast<ptrdiff_t>(text.size())), text.end());
  std::erase(own, kBorder);
  check_stream(automaton, oracle, own, automaton.exact());
  automaton.settle();
  CHECK(automaton.exact());
  automaton.check(UINT32_MAX);
  check_stream(automaton, oracle, own, true);
}

}  // namespace

TEST("random texts with borders: every query equals a plain search") {
  std::mt19937_64 random(1);
  for (int round = 0; round < 300; ++round) {
    const int32_t alphabet = 1 + texts::pick(random, 5);
    Tokens text = texts::random_tokens(random, 1 + random() % 120, alphabet);
    const uint64_t borders = random() % 4;
    for (int32_t& token : text)
      if (borders && random() % (borders * 10) == 0) token = kBorder;
    check_text(text, random, alphabet);
  }
}

TEST("repetitive, all-equal, periodic and Fibonacci texts: every query equals a plain search") {
  std::mt19937_64 random(2);
  for (int round = 0; round < 20; ++round) check_text(texts::repetitive_tokens(random, 200, 50), random, 50);
  check_text(Tokens(150, 7), random, 8);
  check_text(texts::fibonacci_word(233), random, 2);
  Tokens periodic;
  for (int i = 0; i < 160; ++i) periodic.push_back(i % 3);
  check_text(periodic, random, 3);
}

TEST("large token ids and two equal documents: the second is known from its first token on") {
  SuffixAutomaton automaton;
  const Tokens text{INT32_MAX, 0, 153375, INT32_MAX, 5};
  automaton.append(text);
  automaton.begin_document();
  automaton.begin_document();  // no second border
  for (uint32_t i = 0; i < text.size(); ++i) {
    automaton.append(text[i]);
    CHECK_EQ(automaton.prior().length, i + 1);
  }
  CHECK_EQ(automaton.prior().end, 5u);
  CHECK_EQ(automaton.size(), 11u);
  automaton.check(UINT32_MAX);
}

TEST("a cursor keeps its match while the automaton grows under it") {
  std::mt19937_64 random(3);
  for (int round = 0; round < 100; ++round) {
    const int32_t alphabet = 2 + texts::pick(random, 3);
    SuffixAutomaton automaton;
    Oracle oracle;
    Cursor cursor;
    Tokens stream;
    for (int step = 0; step < 60; ++step) {
      for (uint64_t n = random() % 4; n > 0; --n)
        append(automaton, oracle, random() % 15 == 0 ? kBorder : texts::pick(random, alphabet));
      // The cursor matched against the text as it was; growth may only have added longer matches, which it
      // need not know.
      cursor.repair(automaton);
      if (cursor.length() > 0) {
        const SuffixAutomaton::Match match = cursor.match(automaton);
        const std::vector<uint32_t> ends = oracle.ends(std::span(stream).last(cursor.length()));
        CHECK(!ends.empty() && match.end == ends.back() && match.count == ends.size());
        CHECK(automaton.length(cursor.state()) >= cursor.length());
      }
      stream.push_back(texts::pick(random, alphabet));
      texts::advance(cursor, automaton, stream.back());
    }
  }
}

TEST("continuation stops at borders and at the end; wrapping repeats the overlap") {
  SuffixAutomaton automaton;
  automaton.append(Tokens{1, 2, 3});
  automaton.begin_document();
  automaton.append(Tokens{4, 5, 4, 5});
  Tokens out(6);
  CHECK_EQ(automaton.continuation(1, false, out), 2);
  CHECK(out[0] == 2 && out[1] == 3);
  CHECK_EQ(automaton.continuation(3, false, out), 0);
  CHECK_EQ(automaton.continuation(6, false, out), 2);
  CHECK_EQ(automaton.continuation(8, false, out), 0);
  CHECK_EQ(automaton.continuation(6, true, out), 6);
  CHECK(out == Tokens({4, 5, 4, 5, 4, 5}));
}

TEST("a million tokens: invariants, and spot checks of the latest occurrence") {
  std::mt19937_64 random(4);
  struct {
    Tokens text;
    bool exact;
  } cases[] = {{texts::random_tokens(random, 1000000, 30000), true},
               {texts::fibonacci_word(1000000), false},
               {Tokens(1000000, 3), false}};
  for (auto& [text, exact] : cases) {
    SuffixAutomaton automaton;
    automaton.append(text);
    automaton.check(200);
    CHECK_EQ(automaton.exact(), exact);
    automaton.settle();
    automaton.check(0);
    CHECK(automaton.state_count() <= 2 * text.size());
    for (int spot = 0; spot < 20; ++spot) {
      const size_t begin = random() % (text.size() - 30);
      const std::span<const int32_t> pattern = std::span(text).subspan(begin, 4 + random() % 20);
      uint32_t state = SuffixAutomaton::kRoot;
      for (const int32_t token : pattern) state = automaton.next(state, token);
      const auto last = std::find_end(text.begin(), text.end(), pattern.begin(), pattern.end());
      CHECK_EQ(automaton.match(state, static_cast<uint32_t>(pattern.size())).end,
               static_cast<uint32_t>(last - text.begin()) + pattern.size());
    }
  }
}

TEST("bad tokens are refused with their value") {
  SuffixAutomaton automaton;
  CHECK_THROWS(automaton.append(-1), ErrorCode::kInvalidArgument, "got -1");
  CHECK_EQ(automaton.size(), 0u);
}

// Cursors that go in steps, beside others, as against one that goes alone, which `check_stream` proves.
TEST("walks of several cursors in turns end where the cursors would end alone") {
  std::mt19937 random(11);
  for (int round = 0; round < 40; ++round) {
    const uint32_t alphabet = 2 + random() % 12;
    const auto text = [&](size_t size) {
      std::vector<int32_t> out(size);
      for (int32_t& token : out) token = static_cast<int32_t>(random() % alphabet);
      return out;
    };
    constexpr size_t kCursors = 5;
    std::array<SuffixAutomaton, kCursors> automata;
    std::array<Cursor, kCursors> stepped, plain;
    for (SuffixAutomaton& automaton : automata) automaton.append(text(random() % 300));
    for (int look = 0; look < 10; ++look) {
      const std::vector<int32_t> said = text(random() % 20);
      std::array<Walk, kCursors> walks;
      for (size_t i = 0; i < kCursors; ++i) {
        automata[i].append(text(random() % 4));
        stepped[i].repair(automata[i]);
        plain[i].repair(automata[i]);
        walks[i] = Walk(automata[i], stepped[i], said);
        for (const int32_t token : said) texts::advance(plain[i], automata[i], token);
      }
      std::array<bool, kCursors> going;
      going.fill(true);
      while (std::any_of(going.begin(), going.end(), [](bool on) { return on; }))
        for (size_t i = 0; i < kCursors; ++i)
          if (going[i]) going[i] = walks[i].step();
      for (size_t i = 0; i < kCursors; ++i) {
        CHECK_EQ(stepped[i].state(), plain[i].state());
        CHECK_EQ(stepped[i].length(), plain[i].length());
      }
    }
  }
}

CHECK_MAIN
