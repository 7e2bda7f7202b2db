// Whole steps on the CPU backend: random workloads (random_workload.h), and what the engine does in
// particular.

#include "engine/engine.h"

#include <random>

#include "engine/outcome.h"
#include "engine_harness.h"
#include "random_workload.h"

using namespace agentinfer;

namespace {

using namespace harness;

// One random workload; returns drafts accepted, so that the test can show that it drafted at all.
int workload(Model& model, uint32_t seed) {
  std::mt19937 random(seed);
  // 13 blocks are one context: the least there is.
  const int blocks = 13 + (random() % 3 == 0 ? 0 : static_cast<int>(random() % 30));
  const auto decoder =
      model.decoder(blocks, static_cast<int>(random() % 3) * 8, 24 + static_cast<int>(random() % 60));
  return scripted_workload(
      {*decoder, kVocabulary, [&](const SequenceSpec& request) { return alone(model, request); }}, random,
      seed);
}

}  // namespace

TEST("random workloads are lossless and leak no block") {
  Model model;
  int accepted = 0;
  const uint32_t seeds = kSanitized ? 60 : 240;
  for (uint32_t seed = 1; seed <= seeds; ++seed) accepted += workload(model, seed);
  CHECK(accepted > 250);
}

TEST("a second turn computes only its new tokens") {
  Model model;
  std::mt19937 random(1);
  const auto decoder = model.decoder(40, 0, 64);
  Engine engine(*decoder, kVocabulary, nullptr);
  auto tokens = random_tokens(random, 100);
  engine.add(spec(1, tokens, 6, 1, 0));
  for (int finish = 0; finish == 0;) {
    const Stepped stepped = step(engine, {{{1, 64, 0}}});
    finish = stepped.outcomes.at(1).finish;
    if (const auto found = stepped.tokens.find(1); found != stepped.tokens.end())
      tokens.insert(tokens.end(), found->second.begin(), found->second.end());
  }
  const int computed = static_cast<int>(tokens.size()) - 1;  // the last token was sampled, not read
  const auto more = random_tokens(random, 9);
  tokens.insert(tokens.end(), more.begin(), more.end());
  engine.add(spec(2, tokens, 1, 1, 0));
  const Stepped stepped = step(engine, {{{2, 64, 0}}});
  CHECK_EQ(stepped.outcomes.at(2).cached, computed);
  CHECK_EQ(stepped.outcomes.at(2).computed, static_cast<int>(tokens.size()));
  CHECK_EQ(stepped.outcomes.at(2).emitted, 1);
}

TEST("KV on the host comes back also where room for it is made by moving other KV there") {
  Model model;
  std::mt19937 random(3);
  const auto decoder = model.decoder(13, 16, 200);  // 13 blocks hold one of the two sessions
  Engine engine(*decoder, kVocabulary, nullptr);
  const auto first = random_tokens(random, 6 * kBlock + 4), second = random_tokens(random, 11 * kBlock + 4);
  const auto run = [&](int id, std::vector<int32_t> tokens) {
    SequenceSpec made = spec(id, std::move(tokens), 1, 1, 0);
    made.session = id;
    engine.add(made);
    StepPlan plan = plan_of({{{id, 200, 0}}});
    plan.retain = {1, 1, 1e9, 2, 1, 1e9};  // evicted blocks of both go to the host
    const Stepped stepped = stepped_of(engine.step(plan));
    engine.check();
    return stepped.outcomes.at(id);
  };
  CHECK_EQ(run(1, first).cached, 0);
  CHECK_EQ(run(2, second).cached, 0);
  auto turn = first;
  for (int32_t token : random_tokens(random, 9)) turn.push_back(token);
  SequenceSpec made = spec(3, turn, 1, 1, 0);
  made.session = 1;
  engine.add(made);
  const Stepped stepped = step(engine, {{{3, 200, 0}}});
  CHECK_EQ(stepped.outcomes.at(3).cached, 6 * kBlock);
  CHECK_EQ(stepped.tokens.at(3), alone(model, made));
}

TEST("different salts share nothing") {
  Model model;
  std::mt19937 random(2);
  const auto decoder = model.decoder(40, 0, 128);
  Engine engine(*decoder, kVocabulary, nullptr);
  const auto tokens = random_tokens(random, 100);
  for (int id = 1; id <= 3; ++id) {
    SequenceSpec made = spec(id, tokens, 1, 1, 0);
    made.salt = id == 3 ? 1 : static_cast<uint64_t>(id);
    engine.add(made);
    const Stepped stepped = step(engine, {{{id, 128, 0}}});
    CHECK_EQ(stepped.outcomes.at(id).cached, id == 3 ? 99 : 0);
  }
}

TEST("bad sequences are refused and leave nothing behind") {
  Model model;
  const auto decoder = model.decoder(20, 0, 64);
  Engine engine(*decoder, kVocabulary, nullptr);
  CHECK_THROWS(engine.add(spec(1, {}, 1, 1, 0)), ErrorCode::kInvalidArgument, "at least one token");
  CHECK_THROWS(engine.add(spec(1, {kVocabulary}, 1, 1, 0)), ErrorCode::kInvalidArgument,
               "outside the vocabulary");
  CHECK_THROWS(engine.add(spec(1, {-1}, 1, 1, 0)), ErrorCode::kInvalidArgument, "outside the vocabulary");
  CHECK_THROWS(engine.add(spec(1, {5}, 0, 1, 0)), ErrorCode::kInvalidArgument, "max_tokens");
  CHECK_THROWS(engine.add(spec(1, std::vector<int32_t>(200, 5), 1, 1, 0)), ErrorCode::kInvalidArgument,
               "context");
  engine.add(spec(1, {5}, 1, 1, 0));
  CHECK_THROWS(engine.add(spec(1, {5}, 1, 1, 0)), ErrorCode::kInvalidArgument, "in use");
  const Stepped stepped = step(engine, {{{1, 1, 0}}, {{99, 1, 0}}});
  CHECK(stepped.outcomes.at(1).kind == OutcomeKind::kCommitted);
  CHECK(stepped.outcomes.at(99).kind == OutcomeKind::kGone);
}

TEST("a plan that names a sequence twice runs it once") {
  Model model;
  std::mt19937 random(4);
  const auto decoder = model.decoder(20, 0, 64);
  Engine engine(*decoder, kVocabulary, nullptr);
  const SequenceSpec request = spec(1, random_tokens(random, 20), 1, 1, 0);
  engine.add(request);
  // The first row ends the sequence: the second would be one of a sequence that is gone.
  const StepResult result = engine.step(plan_of({{{1, 64, 0}}, {{1, 64, 0}}}));
  engine.check();
  CHECK_EQ(outcome_count(result), 2);
  CHECK_EQ(field(result, 0, OutcomeField::kKind), static_cast<int32_t>(OutcomeKind::kCommitted));
  CHECK_EQ(field(result, 1, OutcomeField::kKind), static_cast<int32_t>(OutcomeKind::kDeferred));
  CHECK_EQ(result.tokens, alone(model, request));
  CHECK_EQ(engine.pool().used_count(), 0);
}

CHECK_MAIN
