#pragma once
// Random workloads. The property: whatever else runs, however prompts are cut, whatever is cached, evicted,
// preempted, aborted, drafted or forked, a request's tokens are those it gets alone, and no block is leaked.
// They run on anything that makes steps: the CPU, several ranks, NPUs.

#include <algorithm>
#include <array>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "engine/speculator.h"
#include "engine_harness.h"

namespace harness {

// Where a workload runs. `alone` gives the tokens of a request that runs alone; all of its calls come before
// the workload's first step, so it may use the same decoder. REQUIRES: a context of 200 tokens.
struct Place {
  ForwardPass& decoder;
  int vocabulary;
  std::function<std::vector<int32_t>(const SequenceSpec&)> alone;
};

using Requests = std::map<int, SequenceSpec>;
using Outputs = std::map<int, std::vector<int32_t>>;

// Drafts that are sometimes right, sometimes wrong at some place, sometimes absurd (also outside the
// vocabulary).
class Scripted final : public Speculation {
 public:
  Scripted(const Outputs& truth, int vocabulary, std::mt19937& random)
      : truth_(truth), vocabulary_(vocabulary), random_(random) {}

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
      out[random_() % out.size()] =
          static_cast<int32_t>(random_() % static_cast<uint32_t>(vocabulary_ + 20)) - 10;
    if (random_() % 4 == 0) out.resize(out.size() / 2);
    return out;
  }

  const Outputs& truth_;
  const int vocabulary_;
  std::mt19937& random_;
  std::vector<std::vector<int32_t>> drafts_;
};

// How a workload goes; one in so many.
struct Pace {
  uint32_t add, add_any;    // rounds until one more request comes, and whether it may be any of those left
  uint32_t preempt, abort;  // of a sequence in a round; of rounds
  std::function<void(const std::set<int>& live, int round)> between;  // before each step
};

// Runs all requests to their ends and compares; returns drafts accepted.
inline int run_together(Engine& engine, const Requests& requests, const Outputs& truth, std::mt19937& random,
                        const Pace& pace) {
  Outputs got;
  std::set<int> waiting, live, ended, aborted;
  for (const auto& [id, request] : requests) waiting.insert(id);
  int accepted = 0;
  for (int round = 0; round < 2000 && ended.size() + aborted.size() < requests.size(); ++round) {
    if (!waiting.empty() && random() % pace.add == 0) {
      const auto skip = pace.add_any != 0 ? static_cast<int64_t>(random() % waiting.size()) : 0;
      const int id = *std::next(waiting.begin(), skip);
      engine.add(requests.at(id));
      waiting.erase(id);
      live.insert(id);
    }
    std::vector<std::array<int, 3>> rows;
    std::vector<int32_t> preempt;
    for (int id : live) {
      if (random() % pace.preempt == 0)
        preempt.push_back(id);
      else if (random() % 4 != 0)
        rows.push_back({id, 1 + static_cast<int>(random() % 40), static_cast<int>(random() % 16)});
    }
    if (random() % pace.abort == 0 && !live.empty()) {
      const int id = *live.begin();
      engine.remove(id);
      live.erase(id);
      aborted.insert(id);
    }
    pace.between(live, round);
    StepPlan plan = plan_of(rows, preempt);
    plan.now = round;
    plan.ahead = static_cast<int32_t>(random() % 2 * (random() % 5));
    const std::vector<Stepped> steps = run_plan(engine, std::move(plan), [&] { return random() % 4 == 0; });
    for (const Stepped& stepped : steps) {
      for (const StepError& error : stepped.result.errors)
        check::report(error.code.c_str(), 0, error.message);
      CHECK(stepped.result.notices.empty());
      for (const auto& [id, outcome] : stepped.outcomes) {
        accepted += outcome.accepted;
        CHECK(outcome.kind != OutcomeKind::kFailed);
        if (const auto found = stepped.tokens.find(id); found != stepped.tokens.end())
          got[id].insert(got[id].end(), found->second.begin(), found->second.end());
        if (outcome.finish == 0 && outcome.kind != OutcomeKind::kFailed) continue;
        live.erase(id);
        ended.insert(id);
      }
    }
    // Nobody found room: somebody has to give it.
    const auto& last = steps.back().outcomes;
    if (!rows.empty() && std::all_of(last.begin(), last.end(), [](const auto& entry) {
          return entry.second.kind == OutcomeKind::kDeferred;
        }))
      step(engine, {}, {live.begin(), std::prev(live.end())});
  }
  CHECK_EQ(ended.size() + aborted.size(), requests.size());
  for (int id : ended) CHECK(got[id] == truth.at(id));
  for (int id : aborted) CHECK(std::equal(got[id].begin(), got[id].end(), truth.at(id).begin()));
  CHECK_EQ(engine.pool().used_count(), 0);
  return accepted;
}

// A step without rows: looking, retaining, bringing back, forgetting.
inline void housekeeping(Engine& engine, const std::set<int>& live, std::mt19937& random, int now) {
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

// Prompts that share a beginning or fork off one another, with scripted drafts. Returns drafts accepted.
inline int scripted_workload(const Place& place, std::mt19937& random, uint32_t seed) {
  const float temperature = random() % 2 == 0 ? 0.0f : 1.0f;
  const auto shared = random_tokens(random, 40);
  Requests requests;
  Outputs truth;
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
    truth[id] = place.alone(requests.at(id));
  }
  Engine engine(place.decoder, place.vocabulary, std::make_unique<Scripted>(truth, place.vocabulary, random));
  return run_together(engine, requests, truth, random,
                      {.add = 2,
                       .add_any = 1,
                       .preempt = 12,
                       .abort = 60,
                       .between = [&](const std::set<int>& live, int round) {
                         if (random() % 4 == 0) housekeeping(engine, live, random, round);
                       }});
}

// --- AgentSAM

// Rows are nearly free: whatever matches is verified.
inline StepCost cheap_rows() {
  return StepCost({{1, 1.0}, {512, 1.001}});
}

inline SpeculatorOptions speculator_options() {
  SpeculatorOptions options;
  options.engine_name = "test";
  options.refine_cost = false;  // what is drafted does not depend on how busy the machine is
  options.memory.store.min_similarity = 0.01;
  return options;
}

struct Speculating {
  explicit Speculating(ForwardPass& decoder, SpeculatorOptions options = speculator_options(),
                       StepCost cost = cheap_rows(), int vocabulary = kVocabulary) {
    auto made = std::make_unique<Speculator>(std::move(options), std::move(cost), 16);
    speculator = made.get();
    engine = std::make_unique<Engine>(decoder, vocabulary, std::move(made));
  }
  std::unique_ptr<Engine> engine;
  Speculator* speculator;
};

inline SequenceSpec speculating(SequenceSpec request, SequenceOrigin origin) {
  request.speculation.enabled = true;
  request.speculation.origin = std::move(origin);
  return request;
}

inline SequenceOrigin random_origin(std::mt19937& random) {
  const auto pick = [&](const char* name, int count) {
    return random() % 3 == 0 ? std::string() : name + std::to_string(random() % static_cast<uint32_t>(count));
  };
  return {.tenant = pick("tenant", 2),
          .session = pick("conversation", 3),
          .run = pick("run", 2),
          .role = pick("role", 2),
          .query = pick("find the page about topic ", 3),
          .vector = {}};
}

// Requests repeat each other's prompts and seeds, so that memory has something to say. Returns drafts
// accepted.
inline int speculating_workload(const Place& place, std::mt19937& random, uint32_t seed) {
  const float temperature = random() % 2 == 0 ? 0.0f : 1.0f;
  Requests requests;
  Outputs truth;
  for (int id = 1; id <= 9; ++id) {
    if (id > 3) {
      requests.emplace(id, requests.at(1 + static_cast<int>(random() % 3)));
      requests.at(id).id = id;
    } else {
      auto prompt = random_tokens(random, 10 + static_cast<int>(random() % 60));
      const auto repeated =
          std::vector<int32_t>(prompt.begin(), prompt.begin() + static_cast<int64_t>(prompt.size() / 2));
      prompt.insert(prompt.end(), repeated.begin(), repeated.end());
      requests.emplace(id, spec(id, prompt, 10 + static_cast<int>(random() % 24),
                                seed * 100 + static_cast<uint32_t>(id), temperature));
    }
    requests.at(id).session = random() % 2 == 0 ? -1 : static_cast<int64_t>(random() % 3);
    requests.at(id) = speculating(requests.at(id), random_origin(random));
    if (random() % 8 == 0) requests.at(id).speculation.enabled = false;
    truth[id] = place.alone(requests.at(id));
  }
  Speculating all(place.decoder, speculator_options(), cheap_rows(), place.vocabulary);
  const int accepted = run_together(
      *all.engine, requests, truth, random,
      {.add = 3, .add_any = 0, .preempt = 16, .abort = 80, .between = [&](const std::set<int>&, int) {
         if (random() % 40 == 0) all.engine->forget_session(static_cast<int64_t>(random() % 3));
         if (random() % 8 == 0) all.speculator->memory().drain();
       }});
  CHECK_EQ(all.speculator->memory().stats().open, 0u);
  return accepted;
}

}  // namespace harness
