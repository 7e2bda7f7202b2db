#pragma once
// What the tests of whole steps share: a small checkpoint on the CPU backend, steps with their results by
// sequence, and the tokens that a request gets alone.

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "../model/golden.h"
#include "backend/cpu/cpu_backend.h"
#include "check.h"
#include "engine/engine.h"
#include "engine/plan_run.h"
#include "model/checkpoint.h"
#include "model/decoder.h"
#include "model/tensor_names.h"

namespace harness {

using namespace agentinfer;

// Sanitizers slow everything down by an order of magnitude: fewer seeds do there.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

inline constexpr int kBlock = 16;
inline constexpr int kVocabulary = 320;

// The checkpoint's weights, shared by all engines of a test.
class Model {
 public:
  Model()
      : config_(read_model_config(golden::folder("pangu-sharded"))),
        checkpoint_(golden::folder("pangu-sharded")) {
    check_tensors(config_, checkpoint_);
    backend_ = make_cpu_backend({.threads = 2, .isa = ""});
    weights_ = load_weights(config_, checkpoint_, *backend_, group_,
                            {.format = WeightFormat::kBF16, .on_progress = {}});
  }
  const Weights& weights() const { return weights_; }
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

inline Stepped stepped_of(StepResult result) {
  Stepped stepped;
  stepped.result = std::move(result);
  size_t token = 0;
  const auto& all = stepped.result.outcomes;
  for (size_t i = 0; i < all.size(); i += kOutcome.size()) {
    const int32_t* f = all.data() + i;
    stepped.outcomes[f[0]] = {static_cast<OutcomeKind>(f[1]), f[2], f[3], f[4], f[5], f[6], f[8], f[9]};
    for (int e = 0; e < f[3]; ++e) stepped.tokens[f[0]].push_back(stepped.result.tokens[token++]);
  }
  CHECK_EQ(token, stepped.result.tokens.size());
  return stepped;
}

inline StepPlan plan_of(const std::vector<std::array<int, 3>>& rows, std::vector<int32_t> preempt = {}) {
  StepPlan plan;
  for (const auto& row : rows) plan.rows.insert(plan.rows.end(), row.begin(), row.end());
  plan.preempt = std::move(preempt);
  return plan;
}

inline Stepped step(Engine& engine, const std::vector<std::array<int, 3>>& rows,
                    std::vector<int32_t> preempt = {}) {
  Stepped stepped = stepped_of(engine.step(plan_of(rows, std::move(preempt))));
  engine.check();
  return stepped;
}

// The plan as often as it holds, until the thread is wanted.
inline std::vector<Stepped> run_plan(Engine& engine, StepPlan plan, const std::function<bool()>& wanted) {
  std::vector<Stepped> steps;
  agentinfer::run_plan(std::move(plan), {.step = [&](const StepPlan& next) { return engine.step(next); },
                                         .publish =
                                             [&](StepResult result) {
                                               steps.push_back(stepped_of(std::move(result)));
                                               engine.check();
                                             },
                                         .wanted = wanted});
  return steps;
}

inline SequenceSpec spec(int id, std::vector<int32_t> tokens, int max_tokens, uint64_t seed,
                         float temperature) {
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
inline std::vector<int32_t> alone(ForwardPass& decoder, const SequenceSpec& request,
                                  int vocabulary = kVocabulary) {
  Engine engine(decoder, vocabulary, nullptr);
  engine.add(request);
  std::vector<int32_t> tokens;
  for (int finish = 0; finish == 0;) {
    const Stepped stepped = step(engine, {{{request.id, 64, 0}}});
    const Outcome& outcome = stepped.outcomes.at(request.id);
    CHECK(outcome.kind == OutcomeKind::kCommitted);
    if (outcome.kind != OutcomeKind::kCommitted) break;
    if (const auto found = stepped.tokens.find(request.id); found != stepped.tokens.end())
      tokens.insert(tokens.end(), found->second.begin(), found->second.end());
    finish = outcome.finish;
  }
  return tokens;
}

inline std::vector<int32_t> alone(Model& model, const SequenceSpec& request) {
  return alone(*model.decoder(16, 0, 64), request);
}

inline std::vector<int32_t> random_tokens(std::mt19937& random, int count) {
  std::vector<int32_t> tokens(static_cast<size_t>(count));
  for (int32_t& token : tokens) token = static_cast<int32_t>(3 + random() % (kVocabulary - 3));
  return tokens;
}

}  // namespace harness
