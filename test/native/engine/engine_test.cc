// Whole steps on the CPU backend. The property: whatever else runs, however prompts are cut, whatever is cached, evicted, preempted,
// aborted, drafted or forked, a request's tokens are those it gets alone.

#include "engine/engine.h"

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "../model/golden.h"
#include "backend/cpu/cpu_backend.h"
#include "check.h"
#include "model/checkpoint.h"
#include "model/tensor_names.h"

using namespace agentinfer;

namespace {

constexpr int kBlock = 16;
constexpr int kVocabulary = 320;

// The checkpoint's weights, shared by all engines of a test.
class Model {
 public:
  Model() : config_(read_model_config(golden::folder("pangu-sharded"))), checkpoint_(golden::folder("pangu-sharded")) {
    check_tensors(config_, checkpoint_);
    backend_ = make_cpu_backend({.threads = 2, .isa = ""});
    weights_ = load_weights(config_, checkpoint_, *backend_, group_, {.format = WeightFormat::kBF16, .on_progress = {}});
  }
  std::unique_ptr<Decoder> decoder(int blocks, int host_blocks, int max_rows) {
    DecoderOptions options;
    options.shape = {.max_rows = max_rows, .max_sequences = 16, .max_logit_rows = 24, .max_context = 200};
    options.block_size = kBlock;
    options.blocks = blocks;
    options.host_blocks = host_blocks;
    return std::make_unique<Decoder>(config_, weights_, *backend_, group_, options);
  }

 private:
  ModelConfig config_;
  Checkpoint checkpoint_;
  SoloGroup group_;
  std::unique_ptr<Backend> backend_;
  Weights weights_;
};

struct Outcome {
  OutcomeKind kind;
  int computed, emitted, finish, drafted, accepted, cached, error;
};

struct Stepped {
  std::map<int, Outcome> outcomes;
  std::map<int, std::vector<int32_t>> tokens;
  StepResult result;
};

Stepped step(Engine& engine, const std::vector<std::array<int, 3>>& rows, std::vector<int32_t> preempt = {}) {
  StepPlan plan;
  for (const auto& row : rows) plan.rows.insert(plan.rows.end(), row.begin(), row.end());
  plan.preempt = std::move(preempt);
  Stepped stepped;
  stepped.result = engine.step(plan);
  size_t token = 0;
  const auto& all = stepped.result.outcomes;
  for (size_t i = 0; i < all.size(); i += kOutcome.size()) {
    const int32_t* f = all.data() + i;
    stepped.outcomes[f[0]] = {static_cast<OutcomeKind>(f[1]), f[2], f[3], f[4], f[5], f[6], f[8], f[9]};
    for (int e = 0; e < f[3]; ++e) stepped.tokens[f[0]].push_back(stepped.result.tokens[token++]);
  }
  CHECK_EQ(token, stepped.result.tokens.size());
  engine.check();
  return stepped;
}

SequenceSpec spec(int id, std::vector<int32_t> tokens, int max_tokens, uint64_t seed, float temperature) {
  SequenceSpec made;
  made.id = id;
  made.session = id % 3;
  made.tokens = std::move(tokens);
  made.max_tokens = max_tokens;
  made.sampling.temperature = temperature;
  made.sampling.seed = seed;
  if (seed % 3 == 0) made.sampling.repetition_penalty = 1.2f;
  if (seed % 4 == 0) made.sampling.top_k = 20;
  if (seed % 5 == 0) made.sampling.stop_ids = {7, 90};
  return made;
}

// The tokens of a request that runs alone in an engine that has seen nothing.
std::vector<int32_t> alone(Model& model, const SequenceSpec& request) {
  const auto decoder = model.decoder(16, 0, 64);
  Engine engine(*decoder, kVocabulary, nullptr);
  engine.add(request);
  std::vector<int32_t> tokens;
  for (int finish = 0; finish == 0;) {
    const Stepped stepped = step(engine, {{{request.id, 64, 0}}});
    const Outcome& outcome = stepped.outcomes.at(request.id);
    CHECK(outcome.kind == OutcomeKind::kCommitted);
    if (const auto found = stepped.tokens.find(request.id); found != stepped.tokens.end())
      tokens.insert(tokens.end(), found->second.begin(), found->second.end());
    finish = outcome.finish;
  }
  return tokens;
}

std::vector<int32_t> random_tokens(std::mt19937& random, int count) {
  std::vector<int32_t> tokens(static_cast<size_t>(count));
  for (int32_t& token : tokens) token = static_cast<int32_t>(3 + random() % (kVocabulary - 3));
  return tokens;
}

// Drafts that are sometimes right, sometimes wrong at some place, sometimes absurd.
DraftFunction drafts_from(const std::map<int, std::vector<int32_t>>& truth, std::mt19937& random) {
  return [&truth, &random](const Sequence& sequence, int limit, std::vector<int32_t>& out) {
    const auto& tokens = truth.at(sequence.id);
    const size_t done = static_cast<size_t>(sequence.outputs());
    for (size_t i = done; i < tokens.size() && static_cast<int>(i - done) < limit; ++i) out.push_back(tokens[i]);
    if (random() % 3 == 0 && !out.empty()) out[random() % out.size()] = static_cast<int32_t>(random() % kVocabulary);
    if (random() % 4 == 0) out.resize(out.size() / 2);
  };
}

// One random workload; returns drafts accepted, so that the test can show that it drafted at all.
int workload(Model& model, uint32_t seed) {
  std::mt19937 random(seed);
  const int blocks = 14 + static_cast<int>(random() % 30);
  const auto decoder = model.decoder(blocks, static_cast<int>(random() % 3) * 8, 24 + static_cast<int>(random() % 60));
  const float temperature = random() % 2 == 0 ? 0.0f : 1.0f;
  const auto shared = random_tokens(random, 40);

  std::map<int, SequenceSpec> requests;
  std::map<int, std::vector<int32_t>> truth, got;
  for (int id = 1; id <= 8; ++id) {
    std::vector<int32_t> prompt(shared.begin(), shared.begin() + static_cast<int64_t>(random() % 41));
    const auto tail = random_tokens(random, 1 + static_cast<int>(random() % 50));
    prompt.insert(prompt.end(), tail.begin(), tail.end());
    requests.emplace(id, spec(id, prompt, 1 + static_cast<int>(random() % 24), seed * 100 + static_cast<uint32_t>(id), temperature));
    truth[id] = alone(model, requests.at(id));
  }

  Engine engine(*decoder, kVocabulary, drafts_from(truth, random));
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
      if (random() % 12 == 0) preempt.push_back(id);
      else if (random() % 4 != 0) rows.push_back({id, 1 + static_cast<int>(random() % 40), static_cast<int>(random() % 16)});
    }
    if (random() % 60 == 0 && !live.empty()) {
      const int id = *live.begin();
      engine.remove(id);
      live.erase(id);
      aborted.insert(id);
    }
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
  for (uint32_t seed = 1; seed <= 120; ++seed) accepted += workload(model, seed);
  CHECK(accepted > 500);
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
  CHECK_THROWS(engine.add(spec(1, {kVocabulary}, 1, 1, 0)), ErrorCode::kInvalidArgument, "outside the vocabulary");
  CHECK_THROWS(engine.add(spec(1, {-1}, 1, 1, 0)), ErrorCode::kInvalidArgument, "outside the vocabulary");
  CHECK_THROWS(engine.add(spec(1, {5}, 0, 1, 0)), ErrorCode::kInvalidArgument, "max_tokens");
  CHECK_THROWS(engine.add(spec(1, std::vector<int32_t>(200, 5), 1, 1, 0)), ErrorCode::kInvalidArgument, "context");
  engine.add(spec(1, {5}, 1, 1, 0));
  CHECK_THROWS(engine.add(spec(1, {5}, 1, 1, 0)), ErrorCode::kInvalidArgument, "in use");
  const Stepped stepped = step(engine, {{{1, 1, 0}}, {{99, 1, 0}}});
  CHECK(stepped.outcomes.at(1).kind == OutcomeKind::kCommitted);
  CHECK(stepped.outcomes.at(99).kind == OutcomeKind::kGone);
}

CHECK_MAIN
