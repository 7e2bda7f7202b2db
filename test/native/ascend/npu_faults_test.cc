// Everything that may go wrong with a device, at every place: typed errors, no hang beyond the time limit,
// nothing kept that was taken, blocks accounted for, other engines alive, and closing works.

#include <algorithm>
#include <chrono>
#include <functional>
#include <future>
#include <memory>

#include "../engine/engine_harness.h"
#include "backend/ascend/objects.h"
#include "emulator.h"
#include "engine/loaded_engine.h"
#include "engine/worker.h"

using namespace agentinfer;

namespace {

EngineOptions options(const std::string& device = "npu:0", int timeout_ms = 20000) {
  EngineOptions made;
  made.folder = golden::folder("pangu-npu");
  made.device = device;
  made.device_timeout_ms = timeout_ms;
  made.max_context = 256;
  made.kv_tokens = 1024;
  made.max_batch_tokens = 64;
  made.max_sequences = 4;
  return made;
}

struct Failure {
  bool failed = false;
  ErrorCode code = ErrorCode::kInternal;
  std::string message;
};

// Opens an engine and closes it again.
Failure open_and_close(const EngineOptions& wanted) {
  try {
    const LoadedEngine engine(wanted);
    return {};
  } catch (const Error& error) {
    return {true, error.code(), error.what()};
  }
}

void check_nothing_kept(const std::string& what) {
  const EmuLive live = emulator::live();
  const uint64_t kept = live.device_blocks + live.host_blocks + live.tensors + live.executors + live.streams +
                        live.events + live.graphs;
  if (kept != 0)
    check::report(what.c_str(), 0,
                  "kept " + std::to_string(live.device_blocks) + " device blocks, " +
                      std::to_string(live.host_blocks) + " host blocks, " + std::to_string(live.tensors) +
                      " tensors, " + std::to_string(live.executors) + " executors, " +
                      std::to_string(live.streams) + " streams, " + std::to_string(live.events) +
                      " events, " + std::to_string(live.graphs) + " graphs");
}

SequenceSpec request(int id) {
  SequenceSpec made;
  made.id = id;
  made.tokens = {5, 6, 7, 8};
  made.max_tokens = 20;
  made.sampling.temperature = 0;
  return made;
}

// One step for each of the sequences; what went wrong, if anything.
std::string stepped(Engine& engine, const std::vector<int>& ids, int tokens) {
  StepPlan plan;
  for (const int id : ids) plan.rows.insert(plan.rows.end(), {id, tokens, 0});
  const StepResult result = engine.step(plan);
  engine.check();
  std::string all;
  for (const StepError& error : result.errors) all += error.code + ": " + error.message + "\n";
  if (all.empty() && !result.unhealthy.empty()) all = "ERR_DEVICE: " + result.unhealthy;
  return all;
}

// An engine on a thread of its own, as ACL binds its context to one.
class Threaded {
 public:
  explicit Threaded(EngineOptions wanted) {
    run([this, wanted = std::move(wanted)] {
      loaded_ = std::make_unique<LoadedEngine>(wanted);
      blocks_ = loaded_->engine().pool().free_count();
    });
  }
  ~Threaded() {
    run([this] { loaded_.reset(); });
    worker_.stop();
  }
  void add(int id) {
    run([this, id] { loaded_->engine().add(request(id)); });
  }
  // Whatever happened: without its sequences, every block is free or holds a cached prefix.
  void check_blocks() {
    run([this] {
      Engine& engine = loaded_->engine();
      for (const int id : {1, 2}) engine.remove(id);
      engine.check();
      CHECK_EQ(engine.pool().free_count() + engine.pool().cached_count(), blocks_);
    });
  }
  std::string step(int id, int tokens) {
    std::string error;
    run([&] { error = stepped(loaded_->engine(), {id}, tokens); });
    return error;
  }

 private:
  void run(const std::function<void()>& job) {
    std::promise<void> done;
    worker_.submit([&] {
      try {
        job();
        done.set_value();
      } catch (...) {
        done.set_exception(std::current_exception());
      }
    });
    done.get_future().get();
  }
  Worker worker_;
  std::unique_ptr<LoadedEngine> loaded_;
  int64_t blocks_ = 0;
};

// Every call that opening an engine or a step of it makes.
const std::vector<const char*>& calls() {
  static const std::vector<const char*> all = {"aclrtSetDevice",
                                               "aclrtSetDeviceSatMode",
                                               "aclrtCreateStreamWithConfig",
                                               "aclrtMalloc",
                                               "aclrtMallocHost",
                                               "aclrtMemcpyAsync",
                                               "aclrtMemsetAsync",
                                               "aclrtSynchronizeStreamWithTimeout",
                                               "aclCreateTensor",
                                               "aclCreateTensorList",
                                               "aclCreateIntArray",
                                               "aclSetInputTensorAddr",
                                               "aclSetOutputTensorAddr",
                                               "aclSetDynamicInputTensorAddr",
                                               "aclnnEmbeddingGetWorkspaceSize",
                                               "aclnnRmsNormGetWorkspaceSize",
                                               "aclnnAddRmsNormGetWorkspaceSize",
                                               "aclnnAddmmGetWorkspaceSize",
                                               "aclnnMmGetWorkspaceSize",
                                               "aclnnSplitWithSizeGetWorkspaceSize",
                                               "aclnnApplyRotaryPosEmbGetWorkspaceSize",
                                               "aclnnScatterPaKvCacheGetWorkspaceSize",
                                               "aclnnFusedInferAttentionScoreV3GetWorkspaceSize",
                                               "aclnnSwiGluGetWorkspaceSize",
                                               "aclnnInplaceAddGetWorkspaceSize",
                                               "aclnnIndexSelectGetWorkspaceSize",
                                               "aclnnArgMaxGetWorkspaceSize",
                                               "aclnnEmbedding",
                                               "aclnnAddmm",
                                               "aclnnMm",
                                               "aclnnAddRmsNorm",
                                               "aclnnScatterPaKvCache",
                                               "aclnnFusedInferAttentionScoreV3",
                                               "aclnnSwiGlu",
                                               "aclnnArgMax"};
  return all;
}

}  // namespace

TEST("opening without a fault, twice") {
  for (int i = 0; i < 2; ++i) {
    CHECK(!open_and_close(options()).failed);
    check_nothing_kept("close");
  }
  CLEAN();
}

TEST("memory that runs out at any allocation is an error that says so, and what was taken is given back") {
  int failures = 0;
  for (uint64_t nth = 1; nth < 200; ++nth) {
    const emulator::Faults faults;
    EMU(emu_fail_alloc)(nth);
    const Failure failure = open_and_close(options());
    check_nothing_kept("allocation " + std::to_string(nth));
    if (!failure.failed) break;
    ++failures;
    CHECK(failure.code == ErrorCode::kOutOfMemory);
    CHECK(failure.message.find("MiB") != std::string::npos);
    CHECK(failure.message.find("207001") != std::string::npos);
  }
  CHECK(failures > 30 && failures < 190);
  CLEAN();
}

TEST("any call that fails while an engine opens is an error that names it") {
  for (const char* call : calls())
    for (const uint64_t nth : {1, 5}) {
      const emulator::Faults faults;
      EMU(emu_fail_call)(call, nth, 107000, 0);
      const Failure failure = open_and_close(options());
      check_nothing_kept(call);
      if (!failure.failed) continue;  // not called so often
      CHECK(failure.code == ErrorCode::kDevice);
    }
  CLEAN();
}

TEST("any call that fails in a step fails its sequences with the call and the code, and blocks come back") {
  for (const char* call : calls()) {
    LoadedEngine loaded(options());
    Engine& engine = loaded.engine();
    const int64_t free = engine.pool().free_count();
    engine.add(request(1));
    engine.add(request(2));
    CHECK_EQ(stepped(engine, {1, 2}, 4), "");
    const emulator::Faults faults;
    EMU(emu_fail_call)(call, 1, 107000, 0);
    engine.add(request(3));
    const std::string error = stepped(engine, {1, 2, 3}, 1);
    if (!error.empty()) CHECK(error.find("ERR_DEVICE") == 0);
    for (const int id : {1, 2, 3}) engine.remove(id);
    engine.check();
    CHECK(engine.pool().free_count() + engine.pool().cached_count() == free);
  }
  check_nothing_kept("steps");
  CLEAN();
}

TEST("memory that runs out at any allocation of a step fails that step alone: the next one takes it") {
  int failures = 0;
  for (uint64_t nth = 1; nth < 100; ++nth) {
    LoadedEngine loaded(options());
    const auto run = [&](int greedy, int drawn) {  // the highest logit, and the highest five
      SequenceSpec sampled = request(drawn);
      sampled.sampling.temperature = 1;
      sampled.sampling.top_k = 5;
      loaded.engine().add(request(greedy));
      loaded.engine().add(sampled);
      return stepped(loaded.engine(), {greedy, drawn}, 4);
    };
    const emulator::Faults faults;
    EMU(emu_fail_alloc)(nth);
    const std::string error = run(1, 2);
    if (error.empty()) break;
    ++failures;
    CHECK(error.find("ERR_OUT_OF_MEMORY") == 0);
    CHECK_EQ(run(3, 4), "");
  }
  CHECK(failures >= 8 && failures < 90);
  check_nothing_kept("steps");
  CLEAN();
}

TEST("a task that fails, a lost device: the engine says why and stays closed to work; others live") {
  for (const int code : {507015, 507035, 507010, 507901}) {
    const emulator::Faults faults;
    {
      Threaded loaded(options()), other(options("npu:1"));
      loaded.add(1);
      other.add(1);
      CHECK_EQ(loaded.step(1, 4), "");
      if (code < 507900 && code != 507010)
        EMU(emu_fail_task)(0, 7, code);
      else
        EMU(emu_lose_device)(0, code);
      std::string error = loaded.step(1, 1);
      CHECK(error.find("ERR_DEVICE") == 0);
      CHECK(error.find(std::to_string(code)) != std::string::npos);
      loaded.add(2);
      error = loaded.step(2, 4);
      CHECK(error.find("ERR_DEVICE") == 0);
      CHECK_EQ(other.step(1, 4), "");
      loaded.check_blocks();
      EMU(emu_restore_device)(0);
    }
    check_nothing_kept(std::to_string(code));
  }
}

TEST("a task that never ends: an error within the time limit, and closing does not wait for it") {
  const emulator::Faults faults;
  const auto start = std::chrono::steady_clock::now();
  {
    Threaded loaded(options("npu:2", 700)), other(options("npu:3"));
    loaded.add(1);
    other.add(1);
    CHECK_EQ(loaded.step(1, 4), "");
    EMU(emu_hang_task)(2, 3);
    const std::string error = loaded.step(1, 1);
    CHECK(error.find("ERR_DEVICE") == 0);
    CHECK(error.find("700 ms") != std::string::npos);
    CHECK_EQ(other.step(1, 4), "");
    loaded.check_blocks();
  }
  check_nothing_kept("a task that never ends");
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (seconds > 20) check::report(__FILE__, __LINE__, "took " + std::to_string(seconds) + " s");
}

TEST("of two devices one is lost, or a sum never completes: an error on time, and closing works") {
  for (const bool lost : {true, false}) {
    const emulator::Faults faults;
    const auto start = std::chrono::steady_clock::now();
    {
      Threaded loaded(options("npu:4,5", 1500)), other(options("npu:6,7"));
      loaded.add(1);
      other.add(1);
      CHECK_EQ(loaded.step(1, 4), "");
      if (lost)
        EMU(emu_lose_device)(5, 507010);
      else
        EMU(emu_hang_collective)(3);
      const std::string error = loaded.step(1, 1);
      CHECK(error.find("ERR_DEVICE") == 0);
      if (lost) CHECK(error.find("507010") != std::string::npos);
      EMU(emu_clear_faults)();
      CHECK_EQ(other.step(1, 4), "");
      loaded.add(2);
      CHECK(loaded.step(2, 4).find("ERR_DEVICE") == 0);
      loaded.check_blocks();
      if (lost) EMU(emu_restore_device)(5);
    }
    check_nothing_kept(lost ? "one of two devices lost" : "a sum that never completes");
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (seconds > 60) check::report(__FILE__, __LINE__, "took " + std::to_string(seconds) + " s");
  }
  EMU(emu_clear_violations)();
}

// What a card gets wrong in silence. V of one sequence's block turns to NaN, as a flipped bit may do.
TEST("logits that are not finite end their request with its position; the others go on") {
  for (const float temperature : {0.0f, 1.0f}) {
    const auto spec = [&](int id) {
      SequenceSpec made = request(id);
      made.tokens[0] = 40 + id;
      made.sampling.temperature = temperature;
      made.sampling.top_k = 20;
      return made;
    };
    LoadedEngine loaded(options());
    Engine& engine = loaded.engine();
    const int64_t free = engine.pool().free_count();
    engine.add(spec(1));
    CHECK_EQ(stepped(engine, {1}, 4), "");
    const auto& cache = static_cast<const AscendKvCache&>(loaded.decoder().decoder(0).cache());
    int poisoned = 0;
    for (int32_t block = 0; block < cache.blocks; ++block) {
      uint16_t value = 0;
      const void* at = cache.parts[0].v.at(cache.offset(block));
      CHECK_EQ(EMU(emu_peek)(at, &value, sizeof value), 0);
      if (value == 0) continue;
      value = 0x7fc0;
      CHECK_EQ(EMU(emu_poke)(const_cast<void*>(at), &value, sizeof value), 0);
      ++poisoned;
    }
    CHECK_EQ(poisoned, 1);
    engine.add(spec(2));
    StepPlan plan;
    plan.rows = {1, 1, 0, 2, 4, 0};
    const StepResult result = engine.step(plan);
    engine.check();
    CHECK_EQ(result.errors.size(), 1u);
    CHECK_EQ(result.errors[0].code, "ERR_DEVICE");
    CHECK(result.errors[0].message.find("position 5") != std::string::npos);
    CHECK(result.unhealthy.empty());
    CHECK_EQ(result.outcomes[1], static_cast<int32_t>(OutcomeKind::kFailed));
    CHECK_EQ(result.outcomes[kOutcome.size() + 1], static_cast<int32_t>(OutcomeKind::kCommitted));
    CHECK_EQ(result.tokens.size(), 1u);
    CHECK_EQ(stepped(engine, {2}, 1), "");
    engine.remove(2);
    engine.check();
    CHECK_EQ(engine.pool().free_count() + engine.pool().cached_count(), free);
  }
  CLEAN();
}

TEST("two engines on one device; one on a device that is not there") {
  Threaded a(options()), b(options());
  a.add(1);
  b.add(1);
  CHECK_EQ(a.step(1, 4), "");
  CHECK_EQ(b.step(1, 4), "");
  const Failure failure = open_and_close(options("npu:8"));
  CHECK(failure.failed && failure.code == ErrorCode::kDevice);
  CHECK(failure.message.find("8 devices") != std::string::npos);
  CLEAN();
}

CHECK_MAIN
