// The engine over several ranks: random workloads are lossless within one number of ranks, and a rank's
// failure costs the step it happens in, never more than the device really lost.

#include <algorithm>
#include <array>
#include <atomic>
#include <map>
#include <random>
#include <thread>

#include "engine_harness.h"
#include "model/ranked_decoder.h"
#include "parallel/thread_group.h"
#include "random_workload.h"

using namespace agentinfer;
using namespace harness;
using std::chrono::milliseconds;

namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr uint32_t kSeeds = 3;
#else
constexpr uint32_t kSeeds = 8;
#endif
const char* const kModel = "pangu-sharded";

enum class FaultKind { kNone, kThrow, kThrowDevice, kHang, kGoApart };

// What goes wrong, where and when: on the given rank's collective number `at` from now on.
struct Fault {
  std::atomic<FaultKind> kind{FaultKind::kNone};
  int rank = 0, at = 0;
  std::atomic<int> seen{0};

  void arm(FaultKind what, int on, int collective) {
    rank = on;
    at = collective;
    seen = 0;
    kind = what;
  }
};

class FaultyGroup final : public Group {
 public:
  FaultyGroup(std::unique_ptr<Group> group, Fault& fault) : group_(std::move(group)), fault_(fault) {}
  int rank() const override { return group_->rank(); }
  int size() const override { return group_->size(); }
  void check() const override { group_->check(); }
  void all_reduce(Backend& backend, Activation& x, int rows) override {
    group_->all_reduce(backend, x, rows - strike());
  }
  void all_gather(Backend& backend, const Activation& x, int rows, Activation& out) override {
    group_->all_gather(backend, x, rows - strike(), out);
  }

 private:
  // Rows to leave out.
  int strike() {
    const FaultKind kind = fault_.kind;
    if (kind == FaultKind::kNone || rank() != fault_.rank || fault_.seen++ != fault_.at) return 0;
    if (kind == FaultKind::kThrow) fail(ErrorCode::kInternal, "struck");
    if (kind == FaultKind::kThrowDevice) fail(ErrorCode::kDevice, "lost");
    if (kind == FaultKind::kHang) std::this_thread::sleep_for(milliseconds(400));
    return kind == FaultKind::kGoApart ? 1 : 0;
  }

  std::unique_ptr<Group> group_;
  Fault& fault_;
};

class FaultyRanks final : public RankDevices {
 public:
  FaultyRanks(int size, milliseconds timeout) : ranks_({.size = size, .threads = size, .timeout = timeout}) {}
  int size() const override { return ranks_.size(); }
  DeviceInfo info() const override { return ranks_.info(); }
  std::unique_ptr<Backend> open(int rank) override {
    if (rank == refuses_) fail(ErrorCode::kOutOfMemory, "device memory ran out");
    return ranks_.open(rank);
  }
  std::unique_ptr<Group> join(int rank, Backend& backend) override {
    return std::make_unique<FaultyGroup>(ranks_.join(rank, backend), fault);
  }
  Rendezvous& rendezvous() override { return ranks_.rendezvous(); }
  bool recover() override { return ranks_.recover(); }
  void refuse(int rank) { refuses_ = rank; }

  Fault fault;

 private:
  CpuRanks ranks_;
  int refuses_ = -1;
};

class World {
 public:
  World(int ranks, int blocks, int host_blocks, milliseconds timeout = milliseconds(20000), int refuses = -1)
      : config_(read_model_config(golden::folder(kModel))), devices(ranks, timeout) {
    devices.refuse(refuses);
    const Checkpoint checkpoint(golden::folder(kModel));
    check_tensors(config_, checkpoint);
    DecoderOptions options;
    options.shape = {.max_rows = 64, .max_sequences = 16, .max_logit_rows = 24, .max_context = 200};
    options.block_size = 16;
    options.blocks = blocks;
    options.host_blocks = host_blocks;
    const LoadOptions load{.format = WeightFormat::kBF16, .on_progress = [this](size_t done, size_t total) {
                             progress.push_back(static_cast<double>(done) / static_cast<double>(total));
                           }};
    decoder_ = std::make_unique<RankedDecoder>(config_, checkpoint, devices, load, options);
  }
  ForwardPass& decoder() { return *decoder_; }

 private:
  ModelConfig config_;

 public:
  FaultyRanks devices;
  std::vector<double> progress;

 private:
  std::unique_ptr<RankedDecoder> decoder_;
};

// Without the sampling of harness::spec, which hangs on the seed.
SequenceSpec plain(int id, std::vector<int32_t> tokens, int max_tokens) {
  return spec(id, std::move(tokens), max_tokens, 1, 0);
}

// One request to its end, or to its failure (then the tokens so far and the error).
std::pair<std::vector<int32_t>, std::string> run(Engine& engine, const SequenceSpec& request) {
  engine.add(request);
  std::vector<int32_t> tokens;
  while (true) {
    const Stepped stepped = step(engine, {{{request.id, 64, 0}}});
    const auto& outcome = stepped.outcomes.at(request.id);
    if (const auto found = stepped.tokens.find(request.id); found != stepped.tokens.end())
      tokens.insert(tokens.end(), found->second.begin(), found->second.end());
    if (outcome.kind == OutcomeKind::kFailed)
      return {tokens, stepped.result.errors.at(static_cast<size_t>(outcome.error)).message};
    if (!stepped.result.unhealthy.empty()) return {tokens, stepped.result.unhealthy};
    if (outcome.finish != 0) return {tokens, ""};
  }
}

}  // namespace

TEST("random workloads on 2 and 4 ranks give the tokens each request gets alone, with the host tier too") {
  int accepted = 0;
  for (const int ranks : {2, 4}) {
    World reference(ranks, 16, 0);
    const auto truth = [&](const SequenceSpec& request) { return alone(reference.decoder(), request); };
    for (uint32_t seed = 1; seed <= kSeeds; ++seed) {
      std::mt19937 random(seed);
      World world(ranks, 14 + static_cast<int>(random() % 20), static_cast<int>(random() % 2) * 12);
      accepted += scripted_workload({world.decoder(), kVocabulary, truth}, random, seed);
    }
  }
  CHECK(accepted > 6 * static_cast<int>(kSeeds));
}

TEST("a rank that fails in any collective costs the step's sequences; then everything works as before") {
  std::mt19937 random(5);
  World world(2, 30, 0);
  Engine engine(world.decoder(), kVocabulary, nullptr);
  const auto prompt = random_tokens(random, 30);
  const auto expected = run(engine, plain(1, prompt, 8)).first;
  int id = 2, struck = 0;
  for (int rank = 0; rank < 2; ++rank)
    for (int at = 0; at < 8; ++at) {  // embedding, 3 layers of two, logits
      world.devices.fault.arm(FaultKind::kThrow, rank, at);
      auto other = prompt;
      other.push_back(3 + at);
      const auto [tokens, error] = run(engine, plain(id++, other, 8));
      world.devices.fault.kind = FaultKind::kNone;
      struck += error.find("rank " + std::to_string(rank) + ": struck") != std::string::npos;
      CHECK_EQ(engine.pool().used_count(), 0);
      CHECK(run(engine, plain(id++, prompt, 8)).first == expected);
    }
  CHECK_EQ(struck, 16);
}

TEST("ranks that go apart or are lost make the engine unhealthy, at once and for good") {
  for (const FaultKind kind : {FaultKind::kGoApart, FaultKind::kThrowDevice, FaultKind::kHang}) {
    std::mt19937 random(6);
    World world(2, 30, 0, milliseconds(kind == FaultKind::kHang ? 100 : 20000));
    Engine engine(world.decoder(), kVocabulary, nullptr);
    world.devices.fault.arm(kind, 1, 10);
    const std::string error = run(engine, plain(1, random_tokens(random, 30), 8)).second;
    const char* expected = kind == FaultKind::kGoApart ? "went apart"
                           : kind == FaultKind::kHang  ? "rank 1 did not come"
                                                       : "rank 1: lost";
    CHECK(error.find(expected) != std::string::npos);
    CHECK_EQ(engine.pool().used_count(), 0);
    CHECK(!run(engine, plain(2, {5, 6}, 2)).second.empty());
  }
}

TEST(
    "a rank that cannot be opened fails the opening, with its number; progress of all ranks ends at the "
    "whole") {
  for (const int rank : {0, 1, 3})
    CHECK_THROWS(World(4, 20, 0, milliseconds(20000), rank), ErrorCode::kOutOfMemory,
                 ("rank " + std::to_string(rank) + ": device memory ran out").c_str());
  World world(4, 20, 0);
  CHECK(std::is_sorted(world.progress.begin(), world.progress.end()));
  CHECK_EQ(world.progress.back(), 1.0);
}

CHECK_MAIN
