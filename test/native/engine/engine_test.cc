// Whole steps on the CPU backend. The property: whatever else runs, however prompts are cut, whatever is
// cached, evicted, preempted, aborted, drafted or forked, a request's tokens are those it gets alone.

#include "engine/engine.h"

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "engine_harness.h"

using namespace agentinfer;

namespace {

using namespace harness;

// Drafts that are sometimes right, sometimes wrong at some place, sometimes absurd (also outside the
// vocabulary).
class Scripted : public Speculation {
 public:
  Scripted(const std::map<int, std::vector<int32_t>>& truth, std::mt19937& random)
      : truth_(truth), random_(random) {}

  void choose(std::span<const BatchEntry> entries, int room,
              std::span<std::span<const int32_t>> out) override {
    drafts_.assign(entries.size(), {});
    for (size_t i = 0; i < entries.size(); ++i) {
      drafts_[i] = draft(*entries[i].sequence, std::min(entries[i].draft_limit, room));
      room -= static_cast<int>(drafts_[i].size());
      out[i] = drafts_[i];
    }
  }

 private:
  std::vector<int32_t> draft(const Sequence& sequence, int limit) {
    const auto& tokens = truth_.at(sequence.id);
    std::vector<int32_t> out;
    const size_t done = static_cast<size_t>(sequence.outputs());
    for (size_t i = done; i < tokens.size() && static_cast<int>(i - done) < limit; ++i)
      out.push_back(tokens[i]);
    if (random_() % 3 == 0 && !out.empty())
      out[random_() % out.size()] = static_cast<int32_t>(random_() % (kVocabulary + 20)) - 10;
    if (random_() % 4 == 0) out.resize(out.size() / 2);
    return out;
  }

  const std::map<int, std::vector<int32_t>>& truth_;
  std::mt19937& random_;
  std::vector<std::vector<int32_t>> drafts_;
};

// A step without rows: looking, retaining, bringing back, forgetting.
void housekeeping(Engine& engine, const std::set<int>& live, std::mt19937& random, int now) {
  StepPlan plan;
  plan.now = now;
  plan.probe.assign(live.begin(), live.end());
  plan.demand = random() % 2 == 0;
  const double session = static_cast<double>(random() % 3);
  if (random() % 2 == 0)
    plan.retain = {session, static_cast<double>(random() % 4), now + static_cast<double>(random() % 50)};
  if (random() % 3 == 0) plan.prefetch = {static_cast<int32_t>(session)};
  if (random() % 20 == 0) engine.forget_session(static_cast<int64_t>(session));
  engine.step(plan);
  engine.check();
}

// One random workload; returns drafts accepted, so that the test can show that it drafted at all.
int workload(Model& model, uint32_t seed) {
  std::mt19937 random(seed);
  // 13 blocks are one context: the least there is.
  const int blocks = 13 + (random() % 3 == 0 ? 0 : static_cast<int>(random() % 30));
  const auto decoder =
      model.decoder(blocks, static_cast<int>(random() % 3) * 8, 24 + static_cast<int>(random() % 60));
  const float temperature = random() % 2 == 0 ? 0.0f : 1.0f;
  const auto shared = random_tokens(random, 40);

  std::map<int, SequenceSpec> requests;
  std::map<int, std::vector<int32_t>> truth, got;
  for (int id = 1; id <= 8; ++id) {
    std::vector<int32_t> prompt(shared.begin(), shared.begin() + static_cast<int64_t>(random() % 41));
    if (id > 3 && random() % 3 == 0) {  // a fork of an earlier one, somewhere in its answer
      const int of = 1 + static_cast<int>(random() % 3);
      prompt = requests.at(of).tokens;
      const auto& answer = truth.at(of);
      prompt.insert(prompt.end(), answer.begin(),
                    answer.begin() + static_cast<int64_t>(random() % (answer.size() + 1)));
    }
    const auto tail = random_tokens(random, 1 + static_cast<int>(random() % 50));
    prompt.insert(prompt.end(), tail.begin(), tail.end());
    requests.emplace(id, spec(id, prompt, 1 + static_cast<int>(random() % 24),
                              seed * 100 + static_cast<uint32_t>(id), temperature));
    truth[id] = alone(model, requests.at(id));
  }

  Engine engine(*decoder, kVocabulary, std::make_unique<Scripted>(truth, random));
  std::set<int> waiting, live, ended, aborted;
  for (const auto& [id, request] : requests) waiting.insert(id);
  int accepted = 0;
  for (int round = 0; round < 2000 && ended.size() + aborted.size() < requests.size(); ++round) {
    if (!waiting.empty() && random() % 2 == 0) {
      const int id = *std::next(waiting.begin(), static_cast<int64_t>(random() % waiting.size()));
      engine.add(requests.at(id));
      waiting.erase(id);
      live.insert(id);
    }
    std::vector<std::array<int, 3>> rows;
    std::vector<int32_t> preempt;
    for (int id : live) {
      if (random() % 12 == 0)
        preempt.push_back(id);
      else if (random() % 4 != 0)
        rows.push_back({id, 1 + static_cast<int>(random() % 40), static_cast<int>(random() % 16)});
    }
    if (random() % 60 == 0 && !live.empty()) {
      const int id = *live.begin();
      engine.remove(id);
      live.erase(id);
      aborted.insert(id);
    }
    if (random() % 4 == 0) housekeeping(engine, live, random, round);
    const Stepped stepped = step(engine, rows, preempt);
    for (const auto& [id, outcome] : stepped.outcomes) {
      accepted += outcome.accepted;
      CHECK(outcome.kind != OutcomeKind::kFailed);
      if (const auto found = stepped.tokens.find(id); found != stepped.tokens.end())
        got[id].insert(got[id].end(), found->second.begin(), found->second.end());
      if (outcome.finish != 0) {
        live.erase(id);
        ended.insert(id);
      }
    }
    // Nobody found room: somebody has to give it.
    if (!rows.empty() && std::all_of(stepped.outcomes.begin(), stepped.outcomes.end(), [](const auto& entry) {
          return entry.second.kind == OutcomeKind::kDeferred;
        }))
      step(engine, {}, {live.begin(), std::prev(live.end())});
  }
  CHECK_EQ(ended.size() + aborted.size(), requests.size());
  for (int id : ended) CHECK(got[id] == truth[id]);
  for (int id : aborted) CHECK(std::equal(got[id].begin(), got[id].end(), truth[id].begin()));
  CHECK_EQ(engine.pool().used_count(), 0);
  return accepted;
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
