// Sources and drafter, replaying texts as if a model emitted them: what is drafted, what is learnt, what is
// never done.

#include "draft/drafter.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "check.h"
#include "draft_texts.h"

using namespace agentinfer;
using texts::Tokens;

namespace {

// Rows cost little beside the step itself.
StepCost cheap_rows() {
  return StepCost({{1, 0.0100}, {16, 0.0115}, {256, 0.0400}});
}

std::shared_ptr<TextSource> source_of(const std::vector<Tokens>& documents) {
  auto source = std::make_shared<TextSource>(nullptr);
  for (const Tokens& document : documents) source->append_documents(document);
  return source;
}

SourceSet set_of(const Tokens& prompt) {
  SourceSet set(std::make_shared<TextSource>(nullptr));
  set.start(prompt);
  return set;
}

struct Replay {
  int64_t steps = 0, emitted = 0, drafted = 0, accepted = 0;
};

// Emits `text` from `from` on: the model accepts a draft token exactly when the text goes on with it.
Replay replay(Drafter& drafter, SourceSet& set, const Tokens& text, size_t from) {
  Replay out;
  for (size_t at = from; at < text.size(); ++out.steps) {
    Draft draft;
    const int left = static_cast<int>(std::min<size_t>(kMaxDraftTokens, text.size() - at - 1));
    if (set.due()) drafter.propose(set, left, draft);
    const Draft* drafts[] = {&draft};
    int length = 0;
    const StepLoad load{1, 1, 0, 64};
    drafter.admit(drafts, load, std::span(&length, 1));
    int accepted = 0;
    while (accepted < length &&
           draft.tokens[static_cast<size_t>(accepted)] == text[at + static_cast<size_t>(accepted)])
      ++accepted;
    if (length > 0) drafter.count(draft, length, accepted);
    const size_t emitted = static_cast<size_t>(accepted) + 1;
    drafter.commit(set, std::span(text).subspan(at, emitted));
    drafter.finish_step(load, {.rows = 1 + length,
                               .accepted = accepted,
                               .draft_context = 0,
                               .seconds = drafter.cost().at(1 + length)});
    at += emitted;
    out.emitted += static_cast<int64_t>(emitted);
    out.drafted += length;
    out.accepted += accepted;
  }
  return out;
}

}  // namespace

TEST("own context: the tokens after the latest earlier occurrence, and repetitions go on over the end") {
  Drafter drafter({}, cheap_rows());
  SourceSet set = set_of({1, 2, 3, 4, 5, 9, 1, 2, 3, 6, 7, 8, 1, 2, 3});
  Draft draft;
  drafter.propose(set, 4, draft);
  CHECK_EQ(draft.length, 4);
  CHECK(draft.kind == SourceKind::kOwn && draft.match_length == 3);
  CHECK(Tokens(draft.tokens.begin(), draft.tokens.begin() + 4) == Tokens({6, 7, 8, 1}));

  SourceSet loop = set_of({7, 8, 9, 7, 8, 9});
  drafter.propose(loop, 15, draft);
  CHECK_EQ(draft.length, 15);
  for (size_t i = 0; i < 15; ++i) CHECK_EQ(draft.tokens[i], static_cast<int32_t>(7 + i % 3));
}

TEST("nothing that matches: no draft; a match below the minimum: none either") {
  Drafter drafter({}, cheap_rows());
  SourceSet set = set_of({1, 2, 3, 4, 1});
  Draft draft;
  drafter.propose(set, 15, draft);
  CHECK_EQ(draft.length, 0);
  set.attach(SourceKind::kSibling, source_of({{9, 1, 8, 8}}), 1);
  drafter.propose(set, 15, draft);
  CHECK_EQ(draft.length, 0);
  drafter.propose(set, 0, draft);
  CHECK_EQ(draft.length, 0);
  set.attach(SourceKind::kSibling, source_of({{4, 1, 8, 8}}), 1);
  drafter.propose(set, 15, draft);
  CHECK_EQ(draft.length, 2);
  CHECK(draft.kind == SourceKind::kSibling && draft.match_length == 2);
}

TEST("drafts never cross a document's border nor exceed the limit, and come from where they say") {
  std::mt19937_64 random(1);
  for (int round = 0; round < 200; ++round) {
    // Every document uses tokens of its own block after a common start, so that a crossing shows.
    std::vector<Tokens> documents;
    for (int32_t d = 0; d < 6; ++d) {
      Tokens document{1, 2, 3};
      for (uint64_t n = random() % 12; n > 0; --n)
        document.push_back(100 * (d + 1) + static_cast<int32_t>(n));
      documents.push_back(document);
    }
    const auto shared = source_of(documents);
    Drafter drafter({}, cheap_rows());
    SourceSet set = set_of({9, 1, 2, 3});
    set.attach(static_cast<SourceKind>(1 + random() % 4), shared, 1);
    for (int step = 0; step < 6; ++step) {
      const int limit = 1 + static_cast<int>(random() % 20);
      Draft draft;
      drafter.propose(set, limit, draft);
      CHECK(draft.length <= std::min(limit, kMaxDraftTokens));
      for (int i = 0; i < draft.length; ++i) {
        CHECK(draft.tokens[static_cast<size_t>(i)] >= 0);
        // (The sequence's own text goes from one document to another.)
        CHECK(draft.kind == SourceKind::kOwn ||
              draft.tokens[static_cast<size_t>(i)] / 100 == draft.tokens[0] / 100);
        CHECK(draft.survival[static_cast<size_t>(i)] > 0 && draft.survival[static_cast<size_t>(i)] < 1);
        CHECK(i == 0 || draft.survival[static_cast<size_t>(i)] <= draft.survival[static_cast<size_t>(i) - 1]);
      }
      drafter.commit(set, draft.length ? Tokens{draft.tokens[0]} : Tokens{1, 2, 3});
    }
  }
}

TEST("an earlier turn that is no longer in the context is a source of its own kind") {
  Drafter drafter({}, cheap_rows());
  const auto text = std::make_shared<TextSource>(nullptr);
  SourceSet first(text);
  first.start(Tokens{1, 2, 3, 4, 5, 6});
  SourceSet second(text);
  second.start(Tokens{30, 31, 2, 3, 4});  // another context altogether
  Draft draft;
  drafter.propose(second, 15, draft);
  CHECK(draft.length == 2 && draft.kind == SourceKind::kSession);
  CHECK(draft.tokens[0] == 5 && draft.tokens[1] == 6);
}

TEST("equal proposals: the nearer kind; a source at its very end is left for a shorter match in it") {
  Drafter drafter({}, cheap_rows());
  SourceSet set = set_of({50, 4, 5, 6, 7});
  const auto text = source_of({{50, 4, 5, 6, 7, 8}});
  set.attach(SourceKind::kRetrieved, source_of({{50, 4, 5, 6, 7, 8}}), 1);
  set.attach(SourceKind::kRole, source_of({{50, 4, 5, 6, 7, 8}}), 1);
  set.attach(SourceKind::kSibling, text, 1);
  CHECK(!set.attach(SourceKind::kSibling, text, 1) && !set.attach(SourceKind::kSibling, set.own(), 1));
  Draft draft;
  drafter.propose(set, 15, draft);
  CHECK(draft.length == 1 && draft.kind == SourceKind::kSibling);

  SourceSet tail = set_of({50, 4, 5, 6});
  tail.attach(SourceKind::kSibling, source_of({{4, 5, 6, 77}, {50, 4, 5, 6}}), 1);
  drafter.propose(tail, 15, draft);
  CHECK(draft.length == 1 && draft.tokens[0] == 77 && draft.match_length == 3);
}

TEST("a source attached late, or passed over for long, keeps to the sequence's last tokens") {
  Drafter drafter({}, cheap_rows());
  std::mt19937_64 random(2);
  const Tokens history = texts::random_tokens(random, 2000, 100000);
  SourceSet set = set_of(history);
  const Tokens tail(history.end() - 10, history.end());
  const Tokens other_tail = texts::random_tokens(random, 10, 100000);
  Tokens known = tail, other_known = other_tail;
  known.insert(known.end(), {123, 124});
  other_known.insert(other_known.end(), {125, 126});
  set.attach(SourceKind::kSibling, source_of({known, other_known}), 1);
  Draft draft;
  drafter.propose(set, 15, draft);
  CHECK(draft.length == 2 && draft.match_length == 10);
  set.emit(texts::random_tokens(random, 1000, 100000));  // no look in between
  set.emit(other_tail);
  drafter.propose(set, 15, draft);
  CHECK(draft.length == 2 && draft.match_length == 10 && draft.tokens[0] == 125);
}

TEST(
    "learning: a source that is always right is drafted from in full, one always wrong not at all, and back "
    "again") {
  std::mt19937_64 random(3);
  Drafter drafter({}, cheap_rows());
  const Tokens truth = texts::random_tokens(random, 6000, 100000);
  SourceSet set = set_of(Tokens(truth.begin(), truth.begin() + 10));
  set.attach(SourceKind::kSibling, source_of({truth}), 1);
  const Replay right = replay(drafter, set, Tokens(truth.begin(), truth.begin() + 3000), 10);
  CHECK_EQ(right.accepted, right.drafted);
  CHECK(static_cast<double>(right.emitted) / static_cast<double>(right.steps) > 12);
  CHECK(drafter.counters().saved_seconds > 0);
  CHECK_EQ(drafter.counters().by_kind[static_cast<size_t>(SourceKind::kSibling)].accepted, right.accepted);

  // A text that shows runs of two of the source, never followed by what the source has.
  Tokens misleading{1};
  while (misleading.size() < 6000) {
    const size_t at = random() % 2990;
    for (size_t i = 0; i < 2; ++i) misleading.push_back(truth[at + i]);
    misleading.push_back(texts::pick(random, 100000));
  }
  SourceSet fooled = set_of({1});
  fooled.attach(SourceKind::kSibling, source_of({truth}), 1);
  replay(drafter, fooled, misleading, 1);
  const int64_t before = drafter.counters().by_kind[static_cast<size_t>(SourceKind::kSibling)].drafted;
  SourceSet again = set_of({1});
  again.attach(SourceKind::kSibling, source_of({truth}), 1);
  replay(drafter, again, misleading, 1);
  const int64_t wasted =
      drafter.counters().by_kind[static_cast<size_t>(SourceKind::kSibling)].drafted - before;
  CHECK(wasted < 40);  // of 2,000 chances

  SourceSet back = set_of(Tokens(truth.begin() + 3000, truth.begin() + 3010));
  back.attach(SourceKind::kSibling, source_of({truth}), 1);
  const Replay recovered = replay(drafter, back, Tokens(truth.begin() + 3000, truth.end()), 10);
  CHECK(static_cast<double>(recovered.emitted) / static_cast<double>(recovered.steps) > 10);
}

TEST("acceptance counts: position 0 from every source each step, later positions from one draft at a time") {
  Drafter drafter({}, cheap_rows());
  // Own: 5 -> 6 7 8; the model emits 6 7 9.
  SourceSet set = set_of({4, 5, 6, 7, 8, 1, 4, 5});
  Draft draft;
  drafter.propose(set, 15, draft);
  CHECK(draft.length == 15 && draft.tokens[0] == 6 && draft.tokens[2] == 8);
  const MatchClass own = set.proposals()[0].match;
  const auto acceptance = [&](int position) {
    return drafter.acceptance().acceptance(own, position, Evidence::kSingle);
  };
  const double first = acceptance(0), second = acceptance(1), third = acceptance(2);
  drafter.commit(set, Tokens{6});  // not admitted: one token only
  CHECK(acceptance(0) > first);
  CHECK_EQ(acceptance(1), second);
  drafter.commit(set, Tokens{7, 9});  // decides positions 1 and 2 of the same draft
  CHECK(acceptance(1) > second);
  CHECK(acceptance(2) < third);
}

TEST("copies of a text are one experience, not many") {
  Drafter one({}, cheap_rows()), many({}, cheap_rows());
  SourceSet alone = set_of({50, 4, 5, 6, 7}), crowd = set_of({50, 4, 5, 6, 7});
  alone.attach(SourceKind::kSibling, source_of({{50, 4, 5, 6, 7, 8}}), 1);
  alone.attach(SourceKind::kSibling, source_of({{50, 4, 5, 6, 7, 8}}), 1);
  for (int i = 0; i < 8; ++i) crowd.attach(SourceKind::kSibling, source_of({{50, 4, 5, 6, 7, 8}}), 1);
  Draft draft;
  one.propose(alone, 15, draft);
  many.propose(crowd, 15, draft);
  const MatchClass match = alone.proposals()[0].match;
  CHECK(match.voice == Voice::kAgreed && crowd.proposals().size() == 8);
  one.commit(alone, Tokens{9});
  many.commit(crowd, Tokens{9});
  CHECK_EQ(one.acceptance().acceptance(match, 0, Evidence::kSingle),
           many.acceptance().acceptance(match, 0, Evidence::kSingle));
}

TEST("rare tokens that match say more than frequent ones; sources that agree more than one alone") {
  std::mt19937_64 random(7);
  Tokens history = texts::random_tokens(random, 4000, 12);  // 0 to 11 are frequent
  history.insert(history.end(), {70, 71, 72, 1, 2});
  const auto first = [&](const Tokens& tail, const std::vector<std::vector<Tokens>>& sources) {
    Tokens prompt = history;
    prompt.insert(prompt.end(), tail.begin(), tail.end());
    Drafter drafter({}, cheap_rows());
    SourceSet set(std::make_shared<TextSource>(nullptr));
    set.start(prompt);
    for (const auto& documents : sources) set.attach(SourceKind::kSibling, source_of(documents), 1);
    Draft draft;
    drafter.propose(set, 15, draft);
    CHECK(draft.length > 0);
    return draft.survival[0];
  };
  CHECK(first({9, 70, 71}, {}) > 1.5 * first({70, 9, 3}, {}));
  const Tokens known{500, 501, 30, 31};
  CHECK(first({500, 501}, {{known}, {known}}) > first({500, 501}, {{known}}));
  CHECK(first({500, 501}, {{known}}) > first({500, 501}, {{known}, {Tokens{500, 501, 40}}}));
}

TEST("where the occurrences of a text part, a draft of one of them becomes unlikely there, not before") {
  Drafter drafter({}, cheap_rows());
  SourceSet set = set_of({90, 60, 61, 62, 63, 64, 1, 60, 61, 62, 63, 64, 2, 60, 61, 62, 63, 64, 3, 60, 61});
  Draft draft;
  drafter.propose(set, 15, draft);
  CHECK(draft.length == 15 && draft.tokens[2] == 64 && draft.tokens[3] == 3);
  for (size_t i = 1; i < 3; ++i) CHECK(draft.survival[i] > 0.8 * draft.survival[i - 1]);
  CHECK(draft.survival[3] < 0.5 * draft.survival[2]);
}

TEST("where the latest occurrence went on as few did, the one before is drafted if more went on like it") {
  Drafter drafter({}, cheap_rows());
  SourceSet set = set_of({60, 61, 5, 6, 1, 60, 61, 5, 6, 2, 60, 61, 5, 6, 3, 60, 61, 9, 4, 60, 61});
  Draft draft;
  drafter.propose(set, 15, draft);
  CHECK(draft.length == 15 && draft.tokens[0] == 5 && draft.tokens[1] == 6 && draft.tokens[2] == 3);
}

TEST("similarity is a prior: a likelier source is chosen until it proves worse") {
  std::mt19937_64 random(4);
  Drafter drafter({}, cheap_rows());
  const Tokens truth = texts::random_tokens(random, 400, 100000);
  // Both sources know every run of four tokens; `similar` goes on wrongly, `different` rightly.
  std::vector<Tokens> wrong, right;
  for (size_t at = 0; at + 6 < truth.size(); ++at) {
    wrong.push_back({truth[at], truth[at + 1], truth[at + 2], truth[at + 3], 200000});
    right.push_back({truth[at], truth[at + 1], truth[at + 2], truth[at + 3], truth[at + 4]});
  }
  SourceSet set = set_of(Tokens(truth.begin(), truth.begin() + 4));
  set.attach(SourceKind::kRetrieved, source_of(right), 0.3);
  set.attach(SourceKind::kRetrieved, source_of(wrong), 0.9);
  Draft draft;
  drafter.propose(set, 15, draft);
  CHECK_EQ(draft.tokens[0], 200000);
  for (size_t at = 4; at < 60; ++at) {
    drafter.propose(set, 15, draft);
    drafter.commit(set, std::span(truth).subspan(at, 1));
  }
  drafter.propose(set, 15, draft);
  CHECK_EQ(draft.tokens[0], truth[60]);
  CHECK(set.trust(1) > set.trust(2));
}

TEST("on random text nothing is gained and next to nothing is drafted") {
  std::mt19937_64 random(5);
  Drafter drafter({}, cheap_rows());
  const Tokens text = texts::random_tokens(random, 20000, 150000);
  SourceSet set = set_of(Tokens(text.begin(), text.begin() + 10000));
  const Replay result = replay(drafter, set, text, 10000);
  CHECK(result.drafted < 20);
  CHECK_EQ(result.emitted, 10000);
}

TEST("drafting while siblings grow on other threads: every draft is text of theirs") {
  std::mt19937_64 random(6);
  const Tokens text = texts::repetitive_tokens(random, 12000, 300);
  Builder builder;
  const auto sibling = std::make_shared<TextSource>(&builder);
  std::thread writer([&] {
    sibling->append(std::span(text).first(4000));
    for (size_t at = 4000; at < text.size(); at += 2) sibling->append(std::span(text).subspan(at, 2));
  });
  Drafter drafter({}, cheap_rows());
  SourceSet set(std::make_shared<TextSource>(&builder));
  set.start(std::span(text).first(3000));
  set.attach(SourceKind::kSibling, sibling, 1);
  const Replay result = replay(drafter, set, Tokens(text.begin(), text.begin() + 6000), 3000);
  writer.join();
  builder.drain();
  CHECK_EQ(result.emitted, 3000);
  CHECK(sibling->read().complete());
  set.flush();
  CHECK(set.own()->sequence() == Tokens(text.begin(), text.begin() + 6000));
}

CHECK_MAIN
