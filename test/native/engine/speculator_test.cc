// AgentSAM in whole steps on the CPU backend. The property: with drafts from any mixture of sources, over
// random workloads, a request's tokens are those it gets alone without drafts; and no tenant ever drafts from
// another's text.

#include "engine/speculator.h"

#include <atomic>
#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

#include "engine/step_profile.h"
#include "engine_harness.h"
#include "random_workload.h"

using namespace agentinfer;
using namespace harness;

namespace {

struct Ran {
  std::vector<int32_t> tokens;
  int steps = 0, drafted = 0, accepted = 0;
  std::map<int32_t, int> accepted_by_source;
  double saved = 0;
  std::vector<std::string> notices;
};

// To the end, with nothing else in the engine.
Ran run(Engine& engine, const SequenceSpec& request) {
  engine.add(request);
  Ran ran;
  for (int finish = 0; finish == 0;) {
    const Stepped stepped = step(engine, {{{request.id, 64, kMaxDraftTokens}}});
    const Outcome& outcome = stepped.outcomes.at(request.id);
    CHECK(outcome.kind == OutcomeKind::kCommitted);
    if (const auto found = stepped.tokens.find(request.id); found != stepped.tokens.end()) {
      ran.tokens.insert(ran.tokens.end(), found->second.begin(), found->second.end());
      ++ran.steps;
    }
    ran.drafted += outcome.drafted;
    ran.accepted += outcome.accepted;
    int drafted = 0, accepted = 0;
    const auto& drafts = stepped.result.drafts;
    for (size_t i = 0; i < drafts.size(); i += kDraft.size()) {
      CHECK_EQ(drafts[i], request.id);
      drafted += drafts[i + 2];
      accepted += drafts[i + 3];
      ran.accepted_by_source[drafts[i + 1]] += drafts[i + 3];
      ran.saved += drafts[i + 4] * 1e-6;
    }
    CHECK_EQ(drafted, outcome.drafted);
    CHECK_EQ(accepted, outcome.accepted);
    for (const std::string& notice : stepped.result.notices) ran.notices.push_back(notice);
    finish = outcome.finish;
  }
  return ran;
}

int accepted_from(const Ran& ran, SourceKind kind) {
  const auto found = ran.accepted_by_source.find(static_cast<int32_t>(kind));
  return found == ran.accepted_by_source.end() ? 0 : found->second;
}

int workload(Model& model, uint32_t seed) {
  std::mt19937 random(seed);
  const int blocks = 14 + static_cast<int>(random() % 30);
  const auto decoder =
      model.decoder(blocks, static_cast<int>(random() % 3) * 8, 24 + static_cast<int>(random() % 60));
  return speculating_workload(
      {*decoder, kVocabulary, [&](const SequenceSpec& request) { return alone(model, request); }}, random,
      seed);
}

std::vector<int32_t> prompt_of(uint32_t seed, int size) {
  std::mt19937 random(seed);
  return random_tokens(random, size);
}

std::filesystem::path fresh_folder(const char* name) {
  const auto folder = std::filesystem::temp_directory_path() / ("agentinfer-speculator-" + std::string(name));
  std::filesystem::remove_all(folder);
  return folder;
}

}  // namespace

TEST("random workloads are lossless with drafts from every kind of source") {
  Model model;
  int accepted = 0;
  for (uint32_t seed = 1; seed <= (kSanitized ? 15 : 60); ++seed) accepted += workload(model, seed);
  CHECK(accepted > (kSanitized ? 100 : 500));
}

TEST(
    "an earlier sequence of the run, the role or a stored session drafts a repetition, for its tenant "
    "alone") {
  Model model;
  const auto decoder = model.decoder(60, 0, 64);
  const struct {
    SourceKind kind;
    SequenceOrigin origin;
  } cases[] = {
      // Its earlier turn went on from the same prompt, so it counts as the text of the sequence itself.
      {SourceKind::kOwn,
       {.tenant = "a", .session = "chat", .run = {}, .role = {}, .query = {}, .vector = {}}},
      {SourceKind::kRole,
       {.tenant = "a", .session = {}, .run = {}, .role = "planner", .query = {}, .vector = {}}},
      {SourceKind::kRetrieved,
       {.tenant = "a", .session = "x", .run = {}, .role = {}, .query = "weather in Paris", .vector = {}}},
  };
  for (const auto& one : cases) {
    Speculating speculating(*decoder);
    const SequenceSpec request =
        spec(1, prompt_of(5, 40), 60, 1, 1.0f);  // sampled: it does not repeat itself
    SequenceSpec first = ::speculating(request, one.origin);
    first.session = -1;
    const Ran told = run(*speculating.engine, first);
    speculating.speculator->memory().drain();

    SequenceSpec again = first;
    again.id = 2;
    if (one.kind == SourceKind::kRetrieved) again.speculation.origin.session = "y";
    SequenceSpec other = again;
    other.id = 3;
    other.speculation.origin.tenant = "b";

    const Ran stranger = run(*speculating.engine, other);
    CHECK(stranger.tokens == told.tokens);
    CHECK_EQ(stranger.accepted, told.accepted);
    if (one.kind != SourceKind::kOwn) CHECK_EQ(accepted_from(stranger, one.kind), 0);

    // The retrieval is over when the first step is: the sequence is added, planned and drained before it goes
    // on.
    Engine& engine = *speculating.engine;
    engine.add(again);
    const Stepped begun = step(engine, {{{2, 20, 0}}});
    speculating.speculator->memory().drain();
    int accepted = 0;
    std::vector<int32_t> tokens = begun.tokens.contains(2) ? begun.tokens.at(2) : std::vector<int32_t>();
    int steps = 0;
    for (int finish = 0; finish == 0; ++steps) {
      const Stepped stepped = step(engine, {{{2, 64, kMaxDraftTokens}}});
      for (size_t i = 0; i < stepped.result.drafts.size(); i += kDraft.size())
        if (stepped.result.drafts[i + 1] == static_cast<int32_t>(one.kind))
          accepted += stepped.result.drafts[i + 3];
      if (stepped.tokens.contains(2))
        tokens.insert(tokens.end(), stepped.tokens.at(2).begin(), stepped.tokens.at(2).end());
      finish = stepped.outcomes.at(2).finish;
    }
    CHECK(tokens == told.tokens);
    CHECK(accepted > 30);
    CHECK(steps < 25);
  }
}

TEST("siblings of a run draft from each other while both run") {
  Model model;
  const auto decoder = model.decoder(60, 0, 64);
  Speculating speculating(*decoder);
  Engine& engine = *speculating.engine;
  const SequenceOrigin origin{
      .tenant = "a", .session = {}, .run = "r", .role = {}, .query = {}, .vector = {}};
  SequenceSpec ahead = ::speculating(spec(1, prompt_of(7, 30), 80, 1, 1.0f), origin);
  ahead.session = -1;
  engine.add(ahead);
  std::vector<int32_t> first, second;
  for (int i = 0; i < 50; ++i) {
    const Stepped stepped = step(engine, {{{1, 64, 0}}});
    if (stepped.tokens.contains(1))
      first.insert(first.end(), stepped.tokens.at(1).begin(), stepped.tokens.at(1).end());
  }
  SequenceSpec behind = ahead;
  behind.id = 2;
  behind.max_tokens = 40;
  engine.add(behind);
  int from_sibling = 0;
  for (int finish = 0; finish == 0;) {
    const Stepped stepped = step(engine, {{{1, 1, 0}}, {{2, 64, kMaxDraftTokens}}});
    for (size_t i = 0; i < stepped.result.drafts.size(); i += kDraft.size())
      if (stepped.result.drafts[i + 1] == static_cast<int32_t>(SourceKind::kSibling))
        from_sibling += stepped.result.drafts[i + 3];
    if (stepped.tokens.contains(2))
      second.insert(second.end(), stepped.tokens.at(2).begin(), stepped.tokens.at(2).end());
    finish = stepped.outcomes.at(2).finish;
  }
  CHECK(std::equal(second.begin(), second.end(), first.begin()));
  CHECK(from_sibling > 15);
}

TEST("under a step cost that grows with every row nothing is drafted") {
  Model model;
  const auto decoder = model.decoder(60, 0, 64);
  Speculating speculating(*decoder, speculator_options(), StepCost({{1, 1.0}, {2, 2.5}, {4, 6.0}}));
  std::vector<int32_t> prompt = prompt_of(8, 20);
  for (int i = 0; i < 3; ++i) prompt.insert(prompt.end(), prompt.begin(), prompt.begin() + 20);
  const Ran ran = run(*speculating.engine, ::speculating(spec(1, prompt, 60, 1, 0), {}));
  CHECK_EQ(ran.drafted, 0);
  CHECK_EQ(ran.steps, 60);
  Speculating eager(*decoder);
  CHECK(run(*eager.engine, ::speculating(spec(1, prompt, 60, 1, 0), {})).drafted > 0);
}

TEST(
    "files of stored sessions: the next engine drafts from them, other tenants and other tokenizers do not") {
  Model model;
  const auto decoder = model.decoder(60, 0, 64);
  const auto folder = fresh_folder("files");
  SpeculatorOptions options = speculator_options();
  options.directory = folder;
  options.memory.store.fingerprint = 77;
  const SequenceOrigin origin{
      .tenant = "a", .session = "x", .run = {}, .role = {}, .query = "weather in Paris", .vector = {}};
  SequenceSpec request = ::speculating(spec(1, prompt_of(5, 40), 60, 1, 1.0f), origin);
  request.session = -1;
  {
    Speculating first(*decoder, options);
    run(*first.engine, request);
  }
  const auto file = Speculator::file_of(folder, "a");
  CHECK(std::filesystem::exists(file));
  CHECK(!std::filesystem::exists(Speculator::file_of(folder, "b")));

  const auto stored_after = [&](const SpeculatorOptions& with, const std::string& tenant,
                                std::vector<std::string>* notices) {
    Speculating next(*decoder, with);
    SequenceSpec again = request;
    again.max_tokens = 3;
    again.speculation.origin.tenant = tenant;
    again.speculation.origin.session = "y";
    next.engine->add(again);
    Stepped stepped = step(*next.engine, {{{1, 8, 0}}});
    if (notices) *notices = stepped.result.notices;
    next.speculator->memory().drain();
    stepped = step(*next.engine, {{{1, 8, 0}}});
    if (notices)
      notices->insert(notices->end(), stepped.result.notices.begin(), stepped.result.notices.end());
    const double stored = stepped.result.draft_memory[3];
    // Taken away without a word, so that the file stays as it is.
    std::filesystem::copy_file(file, folder / "kept", std::filesystem::copy_options::overwrite_existing);
    next.engine.reset();
    std::filesystem::rename(folder / "kept", file);
    return stored;
  };
  CHECK_EQ(stored_after(options, "a", nullptr), 2.0);  // the one from the file and its own
  CHECK_EQ(stored_after(options, "b", nullptr), 1.0);
  SpeculatorOptions foreign = options;
  foreign.memory.store.fingerprint = 78;
  std::vector<std::string> notices;
  CHECK_EQ(stored_after(foreign, "a", &notices), 1.0);
  CHECK_EQ(notices.size(), 1u);
  CHECK(!notices.empty() && notices[0].find("refused") != std::string::npos);
  std::filesystem::resize_file(file, std::filesystem::file_size(file) - 1);
  CHECK_EQ(stored_after(options, "a", &notices), 1.0);
  CHECK_EQ(notices.size(), 1u);
  std::filesystem::remove_all(folder);
}

TEST("tenants that stay away are let go, and find what was theirs when they come again") {
  Model model;
  const auto decoder = model.decoder(60, 0, 64);
  const auto folder = fresh_folder("tenants");
  SpeculatorOptions options = speculator_options();
  options.directory = folder;
  options.save_every = std::chrono::seconds(0);
  {
    Speculating speculating(*decoder, options);
    int32_t id = 0;
    for (const char* tenant : {"a", "b", "c", "d", "e", "f", "a"}) {
      ++id;
      SequenceSpec request = ::speculating(spec(id, prompt_of(static_cast<uint32_t>(id), 10), 8, 1, 0),
                                           {.tenant = tenant,
                                            .session = "s" + std::to_string(id),
                                            .run = {},
                                            .role = {},
                                            .query = "weather in Paris",
                                            .vector = {}});
      request.session = -1;
      run(*speculating.engine, request);
      CHECK(speculating.speculator->tenants() <= 2);
    }
  }
  SessionStore store(options.memory.store);
  const SessionStore::Loaded loaded = store.load("a", Speculator::file_of(folder, "a"));
  CHECK(loaded.refused.empty());
  CHECK_EQ(loaded.sessions, 2u);
  std::filesystem::remove_all(folder);
}

TEST("a directory that cannot be made is refused when the engine opens") {
  const auto folder = fresh_folder("blocked");
  std::ofstream(folder) << "a file";
  SpeculatorOptions options = speculator_options();
  options.directory = folder / "below";
  CHECK_THROWS(Speculator(options, cheap_rows(), 4), ErrorCode::kIo, "cannot make");
  std::filesystem::remove_all(folder);
}

TEST("a sequence that finds no block for its draft verifies what fits") {
  Model model;
  // 3 blocks of 16: a prompt of 30 and its output of 16 fill them exactly.
  const auto decoder = model.decoder(4, 0, 64);
  Speculating speculating(*decoder);
  std::vector<int32_t> prompt = prompt_of(9, 10);
  for (int i = 0; i < 2; ++i) prompt.insert(prompt.end(), prompt.begin(), prompt.begin() + 10);
  const SequenceSpec request = ::speculating(spec(1, prompt, 16, 1, 0), {});
  const Ran ran = run(*speculating.engine, request);
  CHECK(ran.tokens == alone(model, request));
}

TEST("the profile rises with rows and costs something; the engine works as before after it") {
  Model model;
  const auto decoder = model.decoder(40, 0, 64);
  const StepCost cost = profile_step_cost(*decoder, model.weights());
  CHECK(cost.curve().size() >= 2);
  CHECK(cost.at(1) > 0 && cost.at(16) >= cost.at(1));
  CHECK(cost.context().per_row >= 0 && cost.context().per_sequence >= 0);
  const SequenceSpec request = ::speculating(spec(1, prompt_of(3, 50), 30, 1, 0), {});
  Speculating speculating(*decoder, speculator_options(), cost);
  CHECK(run(*speculating.engine, request).tokens == alone(model, request));
}

CHECK_MAIN
