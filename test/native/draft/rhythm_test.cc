// Looking at a sequence only when it is due: when that is, and that what is then seen is what looking at
// every token would have seen there.

#include "draft/rhythm.h"

#include <array>
#include <memory>
#include <optional>
#include <random>
#include <vector>

#include "check.h"
#include "draft/draft_memory.h"
#include "draft/drafter.h"
#include "draft_texts.h"

using namespace agentinfer;
using texts::Tokens;

namespace {

bool same(const Proposal& a, const Proposal& b) {
  return a.source == b.source && a.match.kind == b.match.kind && a.match.bucket == b.match.bucket &&
         a.match.voice == b.match.voice && a.evidence == b.evidence && a.match_length == b.match_length &&
         a.count == b.count && a.length == b.length &&
         std::equal(a.tokens.begin(), a.tokens.begin() + a.length, b.tokens.begin());
}

bool same(std::span<const Proposal> a, std::span<const Proposal> b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const Proposal& x, const Proposal& y) { return same(x, y); });
}

// A sequence and, beside it, some texts like it.
SourceSet set_of(const Tokens& prompt, const std::vector<Tokens>& others) {
  SourceSet set(std::make_shared<TextSource>(nullptr));
  set.start(prompt);
  for (const Tokens& other : others) {
    auto source = std::make_shared<TextSource>(nullptr);
    source->append(other);
    set.attach(SourceKind::kSibling, std::move(source), 1);
  }
  return set;
}

}  // namespace

TEST("finding nothing: looks get rarer, one by one, to a bound; a find brings every step back") {
  Rhythm rhythm;
  std::vector<uint32_t> apart;
  const auto until_due = [&] {
    uint32_t tokens = 0;
    do {
      rhythm.emitted(1);
      ++tokens;
    } while (!rhythm.due());
    return tokens;
  };
  for (int i = 0; i < 9; ++i) {
    CHECK(rhythm.due());
    rhythm.looked(false);
    apart.push_back(until_due());
  }
  CHECK(apart == std::vector<uint32_t>({1, 1, 1, 1, 2, 3, 4, 4, 4}));
  rhythm.looked(true);
  CHECK(rhythm.due());  // also where the step emits nothing
  for (uint32_t i = 0; i < Rhythm::kPatience; ++i) {
    rhythm.looked(false);
    CHECK_EQ(until_due(), 1u);
  }
  rhythm.looked(false);
  CHECK_EQ(until_due(), 2u);
  rhythm.looked(false);
  rhythm.emitted(15);  // several at once end the wait, and no later one
  CHECK(rhythm.due());
  rhythm.looked(true);
  CHECK(rhythm.due());
}

TEST(
    "random finds: a look is never further from the last one than the bound, and the next one after a find") {
  std::mt19937_64 random(1);
  for (int round = 0; round < 200; ++round) {
    Rhythm rhythm;
    const uint64_t rarity = 1 + random() % 60;
    size_t since = 0, fruitless = 0;
    for (int step = 0; step < 500; ++step) {
      if (rhythm.due()) {
        const bool found = random() % rarity == 0;
        rhythm.looked(found);
        fruitless = found ? 0 : fruitless + 1;
        since = 0;
      } else {
        CHECK(fruitless > Rhythm::kFirstPatience);
        CHECK(since < Rhythm::kApart);
      }
      const size_t tokens = 1 + (random() % 4 == 0 ? random() % 15 : 0);
      rhythm.emitted(tokens);
      since += tokens;
      CHECK(rhythm.due() || since < Rhythm::kApart);
    }
  }
}

TEST("where a sequence is looked at, it is offered what looking at every token offers there") {
  std::mt19937_64 random(2);
  size_t looks = 0, passed = 0, proposals = 0;
  for (int round = 0; round < 60; ++round) {
    const int32_t alphabet = round % 3 == 0 ? 8 : round % 3 == 1 ? 300 : 100000;
    const Tokens text = texts::repetitive_tokens(random, 700, alphabet);
    const std::vector<Tokens> others{texts::repetitive_tokens(random, 300, alphabet),
                                     Tokens(text.begin() + 200, text.begin() + 500)};
    const Tokens prompt(text.begin(), text.begin() + 60);
    SourceSet always = set_of(prompt, others), when_due = set_of(prompt, others);
    const uint64_t rarity = 1 + random() % 30;
    for (size_t at = prompt.size(); at < text.size();) {
      const std::span<const Proposal> all = always.look(kMaxDraftTokens, 2);
      if (when_due.due()) {
        CHECK(same(when_due.look(kMaxDraftTokens, 2), all));
        ++looks;
        proposals += all.size();
        when_due.looked(random() % rarity == 0);
      } else {
        CHECK(when_due.proposals().empty());
        ++passed;
      }
      const size_t tokens = std::min<size_t>(text.size() - at, 1 + (random() % 8 == 0 ? random() % 15 : 0));
      always.emit(std::span(text).subspan(at, tokens));
      when_due.emit(std::span(text).subspan(at, tokens));
      at += tokens;
      CHECK(always.own()->sequence().size() == at);
      CHECK(when_due.own()->sequence().size() + Rhythm::kApart > at);
    }
    when_due.flush();
    when_due.flush();
    CHECK(when_due.own()->sequence() == text);
    const TextSource::Reader one = always.own()->read(), other = when_due.own()->read();
    CHECK(other.complete());
    other.automaton().check(200);
    CHECK_EQ(other.automaton().state_count(), one.automaton().state_count());
    CHECK_EQ(other.automaton().prior().end, one.automaton().prior().end);
    CHECK_EQ(other.automaton().prior().count, one.automaton().prior().count);
  }
  CHECK(looks > 1000 && passed > 1000 && proposals > 1000);
}

TEST("what begins to repeat after a long time is drafted within the bound, and in every step from there on") {
  std::mt19937_64 random(3);
  for (int round = 0; round < 100; ++round) {
    const Tokens fresh = texts::random_tokens(random, 100 + random() % 200, 1 << 30);
    Tokens text = fresh;
    text.insert(text.end(), fresh.begin() + 20, fresh.begin() + 60);
    Drafter drafter({}, StepCost({{1, 0.01}, {16, 0.012}}));
    SourceSet set = set_of(Tokens(text.begin(), text.begin() + 10), {});
    std::optional<size_t> first;
    for (size_t at = 10; at < text.size(); ++at) {
      Draft draft;
      if (first) CHECK(set.due());
      if (set.due()) drafter.propose(set, kMaxDraftTokens, draft);
      if (draft.length > 0 && !first) first = at;
      drafter.commit(set, std::span(text).subspan(at, 1));
    }
    CHECK(first.has_value());
    // Two tokens make a match.
    CHECK(*first >= fresh.size() + 2 && *first < fresh.size() + 2 + Rhythm::kApart);
  }
}

TEST("a draft that was not verified is compared with what is emitted between looks, too") {
  Drafter drafter({}, StepCost({{1, 0.01}, {16, 0.012}}));
  SourceSet set = set_of({4, 5, 6, 7, 8, 9, 10, 1, 4, 5}, {});
  Draft draft;
  drafter.propose(set, 15, draft);
  CHECK(draft.length == 15 && draft.tokens[0] == 6);
  const MatchClass own = set.proposals()[0].match;
  const auto acceptance = [&](int position) {
    return drafter.acceptance().acceptance(own, position, Evidence::kSingle);
  };
  const std::array before{acceptance(0), acceptance(1), acceptance(2), acceptance(3)};
  for (uint32_t i = 0; i < Rhythm::kPatience + 8; ++i)
    set.looked(false);  // as if nothing had been found for long
  for (size_t i = 0; i < 3; ++i) {
    drafter.commit(set, Tokens{static_cast<int32_t>(6 + i)});
    CHECK(!set.due() && acceptance(static_cast<int>(i)) > before[i]);
  }
  drafter.commit(set, Tokens{77});
  CHECK(acceptance(3) < before[3]);
  CHECK(set.due() && set.own()->sequence().back() == 77);
}

TEST("a sequence that ends between looks has given all it said to its session, its role and the store") {
  DraftMemory memory({});
  const SequenceOrigin origin{
      .tenant = "t", .session = "s", .run = "r", .role = "role", .query = "a question", .vector = {}};
  auto set = memory.open(origin, Tokens{1, 2, 3});
  const Tokens said{50, 51, 52, 53, 54, 55, 56, 57};
  for (int i = 0; i < 8; ++i) set->sources.looked(false);
  set->sources.emit(std::span(said).first(4));
  for (int i = 0; i < 8; ++i) set->sources.looked(false);
  for (const int32_t token : std::span(said).subspan(4, 3)) set->sources.emit(std::array{token});
  CHECK(!set->sources.due());
  const std::shared_ptr<TextSource> text = set->sources.own();
  memory.close(std::move(set));
  memory.drain();
  CHECK(text->sequence() == Tokens({1, 2, 3, 50, 51, 52, 53, 54, 55, 56}));
  // Another agent of the role, and one that asks the same.
  for (const auto& [role, query] : {std::pair{"role", ""}, std::pair{"", "a question"}}) {
    auto other =
        memory.open({.tenant = "t", .session = "o", .run = "", .role = role, .query = query, .vector = {}},
                    Tokens{9, 53, 54, 55});
    memory.drain();
    memory.refresh(*other);
    const auto proposals = other->sources.look(15, 2);
    CHECK(proposals.size() == 1 && proposals[0].length == 1 && proposals[0].tokens[0] == 56);
  }
}

CHECK_MAIN
