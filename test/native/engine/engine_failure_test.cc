// Everything fails once, at every place: each operator of the backend, and each allocation of memory.
// Whatever was under way then, no block leaks, the books stay right, requests that were not part of it go on,
// and those of later steps give the tokens they always give.

#include <cstdlib>
#include <functional>
#include <new>
#include <set>
#include <string>
#include <string_view>

#include "engine_harness.h"

namespace {
// < 0: all succeed. Of the test's thread only: the backend's threads do not allocate in a step.
int64_t allocations_left = -1;
thread_local bool counting = false;
}  // namespace

// The whole program's operator new: one that can be told to fail once. Not inlined: GCC would see malloc's
// memory deleted.
[[gnu::noinline]] void* operator new(std::size_t bytes) {
  if (counting && allocations_left >= 0 && allocations_left-- == 0) throw std::bad_alloc();
  if (void* memory = std::malloc(bytes ? bytes : 1)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  if (counting && allocations_left >= 0 && allocations_left-- == 0) return nullptr;
  return std::malloc(bytes ? bytes : 1);
}
[[gnu::noinline]] void operator delete(void* memory) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}

using namespace agentinfer;
using namespace harness;

namespace {

// The CPU backend, but the nth call of a step's operation throws.
class Faulty : public Backend {
 public:
  Faulty() : inner_(make_cpu_backend({.threads = 2, .isa = ""})) {}
  int64_t fails_at = -1;  // < 0: never
  int64_t calls = 0;
  ErrorCode code = ErrorCode::kDevice;
  std::string last;
  int poisoned = 0;            // rows of logits to come of which none is finite
  const char* only = nullptr;  // counts, and fails, calls of this operation alone

  std::unique_ptr<Linear> make_linear(const LinearSource& source) override {
    return inner_->make_linear(source);
  }
  std::unique_ptr<Vector> make_vector(const Slice& source) override { return inner_->make_vector(source); }
  std::unique_ptr<Embedding> make_embedding(const Slice& source) override {
    return inner_->make_embedding(source);
  }
  std::unique_ptr<Embedding> make_tied_embedding(const Linear& head, int64_t first_row,
                                                 int64_t vocabulary) override {
    return inner_->make_tied_embedding(head, first_row, vocabulary);
  }
  std::unique_ptr<Activation> make_activation(int64_t max_rows, int64_t cols, Feeds feeds) override {
    return inner_->make_activation(max_rows, cols, feeds);
  }
  std::unique_ptr<KvCache> make_kv_cache(const KvLayout& layout, int blocks, int host_blocks) override {
    return inner_->make_kv_cache(layout, blocks, host_blocks);
  }
  size_t prepare(const StepShape& shape, const AttentionShape& attention, const RopeTable& rope) override {
    return inner_->prepare(shape, attention, rope);
  }
  void begin_step(const StepInputs& inputs, KvCache& cache) override {
    call("begin_step");
    inner_->begin_step(inputs, cache);
  }
  void embed(const Embedding& table, Activation& out) override {
    call("embed");
    inner_->embed(table, out);
  }
  void rms_norm(const Activation& x, const Vector& weight, float eps, int rows, Activation& out) override {
    call("rms_norm");
    inner_->rms_norm(x, weight, eps, rows, out);
  }
  void add_rms_norm(Activation& residual, const Activation& x, const Vector& weight, float eps, int rows,
                    Activation& out) override {
    call("add_rms_norm");
    inner_->add_rms_norm(residual, x, weight, eps, rows, out);
  }
  void add(Activation& residual, const Activation& x, int rows) override {
    call("add");
    inner_->add(residual, x, rows);
  }
  void linear(const Activation& x, const Linear& weight, int rows, Activation& out) override {
    call("linear");
    inner_->linear(x, weight, rows, out);
  }
  void swiglu(const Activation& gate_up, int rows, Activation& out) override {
    call("swiglu");
    inner_->swiglu(gate_up, rows, out);
  }
  void gated_linear(const Activation& x, const Linear& weight, int rows, Activation& gate_up,
                    Activation& out) override {
    call("gated_linear");
    inner_->gated_linear(x, weight, rows, gate_up, out);
  }
  void write_kv(int layer, Activation& qkv, const Vector* q_norm, const Vector* k_norm, float eps) override {
    call("write_kv");
    inner_->write_kv(layer, qkv, q_norm, k_norm, eps);
  }
  void attention(int layer, const Activation& qkv, Activation& out) override {
    call("attention");
    inner_->attention(layer, qkv, out);
  }
  void gather_rows(const Activation& x, int first, int count, Activation& out) override {
    call("gather_rows");
    inner_->gather_rows(x, first, count, out);
  }
  std::span<const float> logits(const Activation& logits, int row) override {
    call("logits");
    return inner_->logits(logits, row);
  }
  void argmax(const Activation& logits, int rows, std::span<int32_t> out) override {
    call("argmax");
    inner_->argmax(logits, rows, out);
    for (int row = 0; row < rows && poisoned > 0; ++row, --poisoned) out[static_cast<size_t>(row)] = -1;
  }
  void synchronize() override {
    call("synchronize");
    inner_->synchronize();
  }
  void* raw(Activation& x, int64_t* stride) override { return inner_->raw(x, stride); }
  void copy_block(KvCache& cache, int32_t from, int32_t to) override {
    call("copy_block");
    inner_->copy_block(cache, from, to);
  }
  void block_to_host(KvCache& cache, int32_t block, int32_t host_block) override {
    call("block_to_host");
    inner_->block_to_host(cache, block, host_block);
  }
  void block_from_host(KvCache& cache, int32_t host_block, int32_t block) override {
    call("block_from_host");
    inner_->block_from_host(cache, host_block, block);
  }

 private:
  void call(const char* name) {
    if (fails_at < 0 || (only != nullptr && std::string_view(only) != name) || calls++ != fails_at) return;
    last = name;
    fails_at = -1;
    fail(code, name, " failed on purpose");
  }
  std::unique_ptr<Backend> inner_;
};

class FaultyModel {
 public:
  FaultyModel()
      : config_(read_model_config(golden::folder("pangu-sharded"))),
        checkpoint_(golden::folder("pangu-sharded")) {
    weights_ = load_weights(config_, checkpoint_, backend, group_,
                            {.format = WeightFormat::kBF16, .on_progress = {}});
  }
  std::unique_ptr<Decoder> decoder(int blocks, int host_blocks) {
    DecoderOptions options;
    options.shape = {.max_rows = 48, .max_sequences = 8, .max_logit_rows = 16, .max_context = 100};
    options.block_size = kBlock;
    options.blocks = blocks;
    options.host_blocks = host_blocks;
    return std::make_unique<Decoder>(config_, weights_, backend, group_, options);
  }
  Faulty backend;

 private:
  ModelConfig config_;
  Checkpoint checkpoint_;
  SoloGroup group_;
  Weights weights_;
};

constexpr int kFirstTurns = 7;

// Requests of retained sessions with shared prefixes, greedy and sampled, in a pool where they evict each
// other to the host tier and come back: every kind of step occurs. Deterministic but for what fails.
class Run {
 public:
  Run(FaultyModel& model, int requests)
      : decoder_(model.decoder(9, 8)), engine_(std::make_unique<Engine>(*decoder_, kVocabulary, nullptr)) {
    std::mt19937 random(7);
    const auto shared = random_tokens(random, 36);
    for (int id = 1; id <= requests; ++id) {
      auto prompt = shared;
      prompt.resize(static_cast<size_t>(20 + id * 7 % 17));
      const auto own = random_tokens(random, 5 + id * 11 % 30);
      prompt.insert(prompt.end(), own.begin(), own.end());
      if (id > kFirstTurns) {  // a second turn, when the first has had time to leave the device
        prompt = specs_[static_cast<size_t>(id - kFirstTurns - 1)].tokens;
        prompt.insert(prompt.end(), own.begin(), own.begin() + 3);
      }
      SequenceSpec made = spec(id, prompt, 5, static_cast<uint64_t>(id), id % 2 == 0 ? 0.0f : 1.0f);
      made.sampling.stop_ids.clear();
      made.sampling.logprobs = id % 3 == 0;
      made.sampling.top_logprobs = id % 3 == 0 ? 2 : 0;
      specs_.push_back(made);
    }
  }

  Engine& engine() { return *engine_; }
  const std::map<int, std::vector<int32_t>>& tokens() const { return tokens_; }
  const std::set<int>& failed() const { return failed_; }
  bool unhealthy() const { return unhealthy_; }
  int threw() const { return threw_; }

  // Until every request has ended. `step` runs one step (so that a caller may make it fail).
  void go(const std::function<StepResult(Engine&, const StepPlan&)>& run_step) {
    size_t next = 0;
    for (int round = 0; round < 400 && (next < specs_.size() || !live_.empty()); ++round) {
      if (next < specs_.size() && live_.size() < 3) add(specs_[next++]);
      StepPlan plan;
      plan.now = round;
      plan.demand = true;
      for (int id : live_) {
        plan.rows.insert(plan.rows.end(), {id, 20, 0});
        plan.probe.push_back(id);
      }
      if (round % 7 == 5 && live_.size() > 1) {
        plan.rows.resize(kPlanRow.size());
        plan.preempt = {*live_.rbegin()};
      }
      plan.retain = {static_cast<double>(round % 3), 1.0, 1e9};
      if (round % 5 == 4) plan.prefetch = {round % 3};
      one(plan, run_step);
      if (unhealthy_) break;
    }
  }

  void end() {
    for (int id : live_) engine_->remove(id);
    live_.clear();
    engine_->check();
    CHECK_EQ(engine_->pool().used_count(), 0);
  }

 private:
  void add(const SequenceSpec& made) {
    engine_->add(made);
    live_.insert(made.id);
  }

  void one(const StepPlan& plan, const std::function<StepResult(Engine&, const StepPlan&)>& run_step) {
    StepResult result;
    try {
      result = run_step(*engine_, plan);
    } catch (const std::bad_alloc&) {  // the result itself found no memory: whoever called gives up on what
                                       // is live
      ++threw_;
      engine_->check();
      for (int id : live_) {
        engine_->remove(id);
        failed_.insert(id);
      }
      live_.clear();
      return;
    }
    engine_->check();
    size_t at = 0;
    int deferred = 0;
    for (size_t i = 0; i < result.outcomes.size(); i += kOutcome.size()) {
      const int32_t* f = result.outcomes.data() + i;
      for (int e = 0; e < f[3]; ++e) tokens_[f[0]].push_back(result.tokens.at(at++));
      const auto kind = static_cast<OutcomeKind>(f[1]);
      deferred += kind == OutcomeKind::kDeferred;
      if (kind == OutcomeKind::kFailed) failed_.insert(f[0]);
      if (kind == OutcomeKind::kFailed || f[4] != 0) live_.erase(f[0]);
      CHECK(kind != OutcomeKind::kGone);
    }
    CHECK_EQ(at, result.tokens.size());
    unhealthy_ = !result.unhealthy.empty();
    if (deferred > 0 && live_.size() > 1 && !unhealthy_) {
      StepPlan give;
      give.preempt = {*live_.rbegin()};
      engine_->step(give);
    }
  }

  std::unique_ptr<Decoder> decoder_;
  std::unique_ptr<Engine> engine_;
  std::vector<SequenceSpec> specs_;
  std::set<int> live_, failed_;
  std::map<int, std::vector<int32_t>> tokens_;
  bool unhealthy_ = false;
  int threw_ = 0;
};

constexpr int kRequests = 14;

StepResult plain(Engine& engine, const StepPlan& plan) {
  return engine.step(plan);
}

// What was emitted is what is always emitted, as far as it goes; what did not fail is whole.
void check_tokens(const Run& run, const std::map<int, std::vector<int32_t>>& truth) {
  for (const auto& [id, tokens] : truth) {
    const auto found = run.tokens().find(id);
    const std::vector<int32_t> got = found == run.tokens().end() ? std::vector<int32_t>{} : found->second;
    CHECK(got.size() <= tokens.size() && std::equal(got.begin(), got.end(), tokens.begin()));
    if (!run.failed().contains(id) && !run.unhealthy()) CHECK(got == tokens);
  }
}

}  // namespace

TEST(
    "each call of each operator fails once: its requests fail, nothing leaks, the others and the engine go "
    "on unless the device is lost") {
  FaultyModel model;
  Run good(model, kRequests);
  good.go(plain);
  good.end();
  CHECK_EQ(good.tokens().size(), static_cast<size_t>(kRequests));
  std::set<std::string> seen;
  for (ErrorCode code : {ErrorCode::kInternal, ErrorCode::kDevice}) {
    const int stride = kSanitized ? 41 : 7;
    for (int64_t n = code == ErrorCode::kDevice ? 3 : 0;; n += stride) {
      Run run(model, kRequests);
      model.backend.code = code;
      model.backend.calls = 0;
      model.backend.fails_at = n;
      run.go(plain);
      const bool failed = model.backend.fails_at < 0;
      model.backend.fails_at = -1;
      run.end();
      check_tokens(run, good.tokens());
      if (!failed) break;
      const bool moves = model.backend.last.starts_with("block_");
      seen.insert(model.backend.last);
      CHECK_EQ(run.unhealthy(), code == ErrorCode::kDevice || moves);
      // A copy for a prefetch belongs to nobody.
      if (!moves) CHECK(!run.failed().empty());
      if (!run.unhealthy()) CHECK(run.failed().size() <= 3u);
    }
  }
  if (!kSanitized)  // the longer stride passes over operators that a step calls once
    for (const char* name : {"begin_step", "embed", "linear", "attention", "write_kv", "logits", "argmax"})
      CHECK(seen.contains(name));
  std::printf("     operators that failed:");
  for (const std::string& name : seen) std::printf(" %s", name.c_str());
  std::printf("\n");
}

TEST("copies of blocks fail, each in turn: to the host, from it, and of a shared partial block") {
  FaultyModel model;
  for (const char* name : {"block_to_host", "block_from_host", "copy_block"}) {
    int found = 0;
    for (int64_t n = 0; n < (kSanitized ? 2 : 20); ++n) {
      Run run(model, kRequests);
      model.backend.code = ErrorCode::kDevice;
      model.backend.calls = 0;
      model.backend.only = name;
      model.backend.fails_at = n;
      run.go(plain);
      const bool failed = model.backend.fails_at < 0;
      model.backend.fails_at = -1;
      model.backend.only = nullptr;
      run.end();
      if (!failed) break;
      ++found;
      CHECK(run.unhealthy());
    }
    CHECK(found > 0);
  }
}

TEST("KV of a sequence without finite logits is not found again, but for what others hold") {
  FaultyModel model;
  const auto decoder = model.decoder(24, 0);
  Engine engine(*decoder, kVocabulary, nullptr);
  std::mt19937 random(3);
  const auto prompt = random_tokens(random, 2 * kBlock + 9);
  const auto request = [&](int id, int own) {
    std::vector<int32_t> tokens = prompt;
    for (int i = 0; i < own; ++i) tokens.push_back(static_cast<int32_t>(10 + id + i));
    SequenceSpec made = spec(id, tokens, 40, 1, 0);
    made.sampling = {};
    made.sampling.temperature = 0;
    return made;
  };
  const auto cached = [&](int id, int own, int rows = 1) {
    engine.add(request(id, own));
    return step(engine, {{{id, rows, 0}}}).outcomes.at(id).cached;
  };

  // A chunk is published before anything shows that it is bad.
  CHECK_EQ(cached(1, 30, 2 * kBlock), 0);
  CHECK_EQ(cached(2, 30), 2 * kBlock);
  engine.remove(2);
  model.backend.poisoned = 1;
  const Stepped failed = step(engine, {{{1, 48, 0}}});
  CHECK(failed.outcomes.at(1).kind == OutcomeKind::kFailed);
  CHECK_EQ(failed.result.errors.at(0).code, "ERR_DEVICE");
  CHECK(failed.result.unhealthy.empty());
  CHECK_EQ(cached(3, 30, 48), 0);

  // Another sequence that goes on keeps what it holds, and what of it is shared with it stays shared.
  step(engine, {{{3, 48, 0}}});
  CHECK_EQ(cached(4, 20, 48), 2 * kBlock + 9);
  model.backend.poisoned = 1;
  CHECK(step(engine, {{{4, 48, 0}}}).outcomes.at(4).kind == OutcomeKind::kFailed);
  CHECK(step(engine, {{{3, 1, 0}}}).outcomes.at(3).kind == OutcomeKind::kCommitted);
  CHECK(cached(5, 20, 48) >= 2 * kBlock);
}

TEST("each allocation of a step fails once: nothing leaks, the books stay right, tokens stay what they are") {
  FaultyModel model;
  Run good(model, kRequests);
  good.go(plain);
  good.end();
  int failures = 0, threw = 0;
  const int64_t stride = kSanitized ? 11 : 1;
  for (int64_t n = 0;; n += stride) {
    Run run(model, kRequests);
    allocations_left = n;
    run.go([](Engine& engine, const StepPlan& plan) {
      counting = true;
      try {
        StepResult result = engine.step(plan);
        counting = false;
        return result;
      } catch (...) {
        counting = false;
        throw;
      }
    });
    const bool failed = allocations_left < 0;
    allocations_left = -1;
    run.end();
    check_tokens(run, good.tokens());
    CHECK(!run.unhealthy());
    threw += run.threw();
    if (!failed) break;
    ++failures;
  }
  CHECK(failures > (kSanitized ? 20 : 200));
  std::printf("     failed at %d allocations, in %d of which the result itself found no memory\n", failures,
              threw);
}

CHECK_MAIN
