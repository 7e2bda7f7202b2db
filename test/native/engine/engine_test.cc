// Whole steps on the CPU backend: random workloads (random_workload.h), and what the engine does in
// particular.

#include "engine/engine.h"

#include <random>

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

CHECK_MAIN
