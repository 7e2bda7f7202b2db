// Which sources a sequence gets, what it leaves behind, and who may see it.

#include "draft/draft_memory.h"

#include <atomic>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "check.h"
#include "draft/drafter.h"
#include "draft_texts.h"
#include "temp_folder.h"

using namespace agentinfer;
using texts::Tokens;

namespace {

Drafter make_drafter() {
  return Drafter({}, StepCost({{1, 0.01}, {16, 0.0101}}));
}

// The draft of a sequence as it is now.
Draft draft_of(DraftMemory& memory, DraftMemory::Set& set) {
  Drafter drafter = make_drafter();
  memory.refresh(set);
  Draft draft;
  drafter.propose(set.sources, 15, draft);
  return draft;
}

Tokens run_of(int32_t from, int32_t count) {
  Tokens out;
  for (int32_t i = 0; i < count; ++i) out.push_back(from + i);
  return out;
}

Tokens join(Tokens a, const Tokens& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

}  // namespace

TEST("a session's next turn finds its own text, appends only what is new, and drafts from it") {
  DraftMemory memory({});
  const SequenceOrigin origin{
      .tenant = "t", .session = "s", .run = "", .role = "", .query = "", .vector = {}};
  auto first = memory.open(origin, run_of(100, 2000));
  first->sources.emit(run_of(5000, 20));
  memory.close(std::move(first));
  memory.drain();
  const Tokens context = join(run_of(100, 2000), run_of(5000, 20));
  auto second = memory.open(origin, join(context, Tokens{7, 8, 5003, 5004, 5005}));
  memory.drain();
  CHECK_EQ(second->sources.own()->appended(), 2025u);
  const Draft draft = draft_of(memory, *second);
  CHECK(draft.kind == SourceKind::kOwn && draft.length == 15 && draft.tokens[0] == 5006);
  memory.close(std::move(second));

  // The context was cut down: what it was is still there to draft from.
  auto third = memory.open(origin, Tokens{1, 2, 3, 150, 151, 152});
  CHECK(draft_of(memory, *third).kind == SourceKind::kSession);
  memory.close(std::move(third));
  memory.end_session("t", "s");
  CHECK_EQ(memory.stats().sessions, 0u);
  CHECK_EQ(memory.stats().open, 0u);
}

TEST("two requests open in one session: the second has its own text and the first as a sibling") {
  DraftMemory memory({});
  const SequenceOrigin origin{
      .tenant = "t", .session = "s", .run = "", .role = "", .query = "", .vector = {}};
  auto first = memory.open(origin, run_of(1, 30));
  auto second = memory.open(origin, Tokens{50, 10, 11, 12});
  CHECK(first->sources.own() != second->sources.own());
  CHECK(draft_of(memory, *second).kind == SourceKind::kSibling);
  memory.close(std::move(second));
  memory.close(std::move(first));
  auto third = memory.open(origin, join(run_of(1, 30), Tokens{9}));
  CHECK_EQ(third->sources.own()->appended(), 31u);
}

TEST("a sequence dropped without close frees its session") {
  DraftMemory memory({});
  const SequenceOrigin origin{
      .tenant = "t", .session = "s", .run = "", .role = "", .query = "", .vector = {}};
  { auto dropped = memory.open(origin, run_of(1, 30)); }
  auto next = memory.open(origin, run_of(1, 31));
  CHECK_EQ(next->sources.own()->appended(), 31u);
  CHECK_EQ(memory.stats().open, 1u);
}

TEST("agents of one run draft from each other, also those that came later, and from those between requests") {
  DraftMemory memory({});
  const auto agent = [](const char* session, const char* run) {
    return SequenceOrigin{
        .tenant = "t", .session = session, .run = run, .role = "", .query = "", .vector = {}};
  };
  auto planner = memory.open(agent("planner", "r"), Tokens{9, 500, 501, 502});
  CHECK_EQ(draft_of(memory, *planner).length, 0);
  auto executor = memory.open(agent("executor", "r"), run_of(490, 40));
  auto stranger = memory.open(agent("stranger", "other"), Tokens{9, 500, 501, 502});
  CHECK(draft_of(memory, *planner).kind == SourceKind::kSibling);
  CHECK_EQ(draft_of(memory, *planner).tokens[0], 503);
  CHECK_EQ(draft_of(memory, *stranger).length, 0);
  executor->sources.emit(Tokens{500, 501, 502, 77, 78});  // live: what it emits now is there at once
  CHECK_EQ(draft_of(memory, *planner).tokens[0], 77);
  memory.close(std::move(executor));
  memory.close(std::move(planner));
  auto late = memory.open(agent("late", "r"),
                          Tokens{9, 500, 501, 502});  // nobody open in the run, sessions still there
  CHECK_EQ(draft_of(memory, *late).tokens[0], 77);
}

TEST(
    "role history: what one agent generated helps the next with the same system prompt; its prompt does "
    "not") {
  DraftMemory memory({});
  const SequenceOrigin origin{
      .tenant = "t", .session = "", .run = "", .role = "searcher", .query = "", .vector = {}};
  auto first = memory.open(origin, run_of(1000, 50));
  first->sources.emit(run_of(2000, 30));
  memory.close(std::move(first));
  memory.drain();
  auto second = memory.open(origin, Tokens{5, 2000, 2001, 2002});
  const Draft draft = draft_of(memory, *second);
  CHECK(draft.kind == SourceKind::kRole && draft.tokens[0] == 2003);
  auto third = memory.open(origin, Tokens{5, 1000, 1001, 1002});
  CHECK_EQ(draft_of(memory, *third).length, 0);
}

TEST("role history is bounded: the oldest documents go, the newest stay") {
  DraftMemoryOptions options;
  options.role_tokens = 1000;
  DraftMemory memory(options);
  const SequenceOrigin origin{
      .tenant = "t", .session = "", .run = "", .role = "r", .query = "", .vector = {}};
  for (int32_t i = 0; i < 30; ++i) {
    auto set = memory.open(origin, Tokens{1});
    set->sources.emit(run_of(10000 * (i + 1), 100));
    memory.close(std::move(set));
  }
  memory.drain();
  auto newest = memory.open(origin, join(Tokens{5}, run_of(300000, 5)));
  CHECK_EQ(draft_of(memory, *newest).length, 15);
  auto oldest = memory.open(origin, join(Tokens{5}, run_of(10000, 5)));
  CHECK_EQ(draft_of(memory, *oldest).length, 0);
}

TEST("stored sessions with similar queries are retrieved in the background and attached when ready") {
  DraftMemory memory({});
  const auto ask = [](const char* session, const char* query) {
    return SequenceOrigin{
        .tenant = "t", .session = session, .run = "", .role = "", .query = query, .vector = {}};
  };
  auto first = memory.open(ask("s1", "who wrote the song about the river"), Tokens{1, 2, 3});
  first->sources.emit(run_of(700, 40));
  memory.close(std::move(first));
  auto unrelated = memory.open(ask("s2", "train from Paris"), Tokens{1, 2, 4});
  unrelated->sources.emit(run_of(900, 40));
  memory.close(std::move(unrelated));
  memory.end_session("t", "s1");
  memory.end_session("t", "s2");
  memory.drain();
  auto asked = memory.open(ask("s3", "Who wrote the song about the sea?"), Tokens{9, 700, 701, 702, 703});
  memory.drain();
  const Draft draft = draft_of(memory, *asked);
  CHECK(draft.kind == SourceKind::kRetrieved && draft.tokens[0] == 704);
  CHECK_EQ(asked->sources.size(), 2);
  CHECK_EQ(memory.stats().store.sessions, 3u);
}

TEST(
    "a session's turns share what was retrieved for the first, until the query is another or they were "
    "many") {
  DraftMemory memory({});
  const auto turn = [&](const char* session, const char* query, Tokens prompt) {
    auto set = memory.open(
        {.tenant = "t", .session = session, .run = "", .role = "", .query = query, .vector = {}}, prompt);
    memory.drain();
    memory.refresh(*set);
    return set;
  };
  for (const char* id : {"s1", "s2"}) {
    auto stored = turn(id, id[1] == '1' ? "the song of the river" : "a train from Paris", Tokens{1, 2, 3});
    stored->sources.emit(run_of(id[1] == '1' ? 700 : 900, 40));
    memory.close(std::move(stored));
  }
  uint64_t before = memory.stats().retrievals;
  for (int i = 0; i < 16; ++i) {
    auto set = turn("s3", "song of the sea", Tokens{9, 700, 701, 702, 703});
    CHECK(draft_of(memory, *set).kind == SourceKind::kRetrieved);
    memory.close(std::move(set));
  }
  CHECK_EQ(memory.stats().retrievals, before + 1);
  memory.close(turn("s3", "song of the sea", Tokens{9}));  // the seventeenth
  CHECK_EQ(memory.stats().retrievals, before + 2);
  auto other = turn("s3", "trains to Paris", Tokens{9, 900, 901, 902, 903});
  CHECK_EQ(memory.stats().retrievals, before + 3);
  const Draft draft = draft_of(memory, *other);
  CHECK(draft.kind == SourceKind::kRetrieved && draft.tokens[0] == 904);
  // A second request that is open in the session at the same time has one of its own.
  auto beside = turn("s3", "trains to Paris", Tokens{9});
  CHECK_EQ(memory.stats().retrievals, before + 4);
  memory.close(std::move(beside));
  memory.close(std::move(other));
}

TEST("saved and loaded by tenant; a file of another tenant is refused") {
  check::TempFolder folder;
  const SequenceOrigin origin{
      .tenant = "t", .session = "s", .run = "", .role = "", .query = "red blue green", .vector = {}};
  {
    DraftMemory memory({});
    auto set = memory.open(origin, Tokens{1, 2, 3});
    set->sources.emit(run_of(700, 40));
    memory.close(std::move(set));
    memory.save("t", folder / "t.sam").get();
    CHECK_THROWS(memory.save("t", folder.path() / "none" / "t.sam").get(), ErrorCode::kIo, "none");
  }
  DraftMemory memory({});
  CHECK(memory.load("u", folder / "t.sam").get().refused.find("another tenant") != std::string::npos);
  CHECK_EQ(memory.load("t", folder / "t.sam").get().sessions, 1u);
  SequenceOrigin next = origin;
  next.session = "s2";
  auto set = memory.open(next, Tokens{9, 700, 701, 702, 703});
  memory.drain();
  CHECK(draft_of(memory, *set).kind == SourceKind::kRetrieved);
}

TEST("tenants: the same session, run, role and query elsewhere give nothing") {
  DraftMemory memory({});
  SequenceOrigin origin{
      .tenant = "a", .session = "s", .run = "r", .role = "p", .query = "the same query", .vector = {}};
  auto first = memory.open(origin, run_of(10, 40));
  first->sources.emit(run_of(700, 40));
  memory.close(std::move(first));
  memory.drain();
  origin.tenant = "b";
  auto other = memory.open(origin, Tokens{9, 700, 701, 702, 703});
  memory.drain();
  CHECK_EQ(draft_of(memory, *other).length, 0);
  CHECK_EQ(other->sources.size(), 2);  // itself and an empty role history
  origin.tenant = "a";
  origin.session = "s9";
  auto same = memory.open(origin, Tokens{9, 700, 701, 702, 703});
  memory.drain();
  CHECK_EQ(draft_of(memory, *same).length, 15);
}

TEST("bad input: a negative token is refused; a query vector of a new size is counted, not fatal") {
  DraftMemory memory({});
  SequenceOrigin origin{
      .tenant = "t", .session = "s", .run = "", .role = "", .query = "words", .vector = {1, 0}};
  CHECK_THROWS(memory.open(origin, Tokens{1, -5}), ErrorCode::kInvalidArgument, "got -5");
  auto first = memory.open(origin, Tokens{1, 2});
  origin.session = "s2";
  origin.vector = {1, 0, 0};
  auto second = memory.open(origin, Tokens{1, 2});
  memory.drain();
  CHECK_EQ(memory.stats().failures, 1u);
  CHECK(memory.stats().last_failure.find("got 3") != std::string::npos);
}

TEST("several engines on several threads: sequences open, draft, emit and close at once") {
  DraftMemoryOptions options;
  options.role_tokens = 3000;
  options.session_bytes = 2 << 20;
  options.store.byte_budget = 1 << 20;
  DraftMemory memory(options);
  std::atomic<int> done{0};
  std::vector<std::thread> engines;
  for (int engine = 0; engine < 2; ++engine) {
    engines.emplace_back([&, engine] {
      std::mt19937_64 random(static_cast<uint64_t>(engine));
      Drafter drafter = make_drafter();
      for (int request = 0; request < 25; ++request) {
        const std::string name = std::to_string(random() % 6);
        auto set = memory.open({.tenant = random() % 4 ? "t" : "u",
                                .session = name,
                                .run = "r" + std::to_string(random() % 2),
                                .role = "p",
                                .query = "find number " + name,
                                .vector = {}},
                               texts::repetitive_tokens(random, 300 + random() % 600, 40));
        for (int step = 0; step < 30; ++step) {
          memory.refresh(*set);
          Draft draft;
          drafter.propose(set->sources, 15, draft);
          drafter.commit(set->sources,
                         draft.length ? Tokens{draft.tokens[0], 3} : Tokens{texts::pick(random, 40)});
        }
        if (random() % 5 == 0) memory.end_session("t", name);
        if (random() % 9) memory.close(std::move(set));
        ++done;
      }
    });
  }
  for (std::thread& engine : engines) engine.join();
  memory.drain();
  CHECK_EQ(done.load(), 50);
  CHECK_EQ(memory.stats().open, 0u);
  CHECK_EQ(memory.stats().failures, 0u);
}

CHECK_MAIN
