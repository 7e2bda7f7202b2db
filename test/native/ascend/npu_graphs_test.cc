// Captured steps are the eager ones, at a fraction of the launches; and what a step costs in launches, first
// phases, copies and memory is fixed here.

#include <algorithm>
#include <map>

#include "../model/runner.h"
#include "backend/ascend/ascend_backend.h"
#include "backend/ascend/graphs.h"
#include "check.h"
#include "emulator.h"
#include "parallel/npu_ranks.h"

using namespace agentinfer;
using golden::Runner;
using golden::RunnerOptions;

namespace {

RunnerOptions on_npu(bool graphs, std::vector<int> devices = {0}, WeightFormat format = WeightFormat::kBF16) {
  RunnerOptions options;
  options.format = format;
  options.kv = DType::kBF16;
  options.block_size = 128;
  options.ranks = static_cast<int>(devices.size());
  options.devices = [devices, graphs] { return std::make_unique<NpuRanks>(devices, 20000, graphs); };
  return options;
}

// Sequences come, are prefilled, decode, verify drafts of any length, and go, at random but the same for
// every runner.
std::vector<std::vector<float>> workload(Runner& runner, uint32_t seed, int steps) {
  std::mt19937 random(seed);
  std::vector<std::unique_ptr<Runner::Sequence>> live;
  std::vector<std::vector<float>> all;
  for (int step = 0; step < steps; ++step) {
    if (live.size() < 9 && random() % 2 == 0) live.push_back(std::make_unique<Runner::Sequence>());
    std::shuffle(live.begin(), live.end(), random);
    std::vector<Runner::Part> parts;
    size_t rows = 0;
    const size_t count = live.empty() ? 0 : 1 + random() % live.size();
    for (size_t i = 0; i < count; ++i) {
      const size_t length = random() % 3 == 0 ? 1 + random() % 7 : 1;
      if (rows + length > 24 || live[i]->computed + 20 > 250) continue;
      std::vector<int32_t> tokens(length);
      for (int32_t& token : tokens) token = static_cast<int32_t>(3 + random() % 4000);
      rows += length;
      parts.push_back({live[i].get(), tokens});
    }
    if (parts.empty()) continue;
    runner.step(parts);
    for (const Runner::Part& part : parts) all.insert(all.end(), part.logits.begin(), part.logits.end());
  }
  return all;
}

// The layers of the checkpoint, over and over: a model as deep as the 7B.
struct Deep {
  static constexpr int kLayers = 34;
  explicit Deep(bool graphs, WeightFormat format)
      : backend(make_ascend_backend({.device = 0, .timeout_ms = 20000, .graphs = graphs})) {
    config = read_model_config(golden::folder("pangu-npu"));
    const Checkpoint checkpoint(golden::folder("pangu-npu"));
    const LoadOptions load{.format = format, .on_progress = {}};
    weights = load_weights(config, checkpoint, *backend, group, load);
    while (weights.layers.size() < kLayers) {
      Weights more = load_weights(config, checkpoint, *backend, group, load);
      for (LayerWeights& layer : more.layers) weights.layers.push_back(std::move(layer));
    }
    config.num_hidden_layers = kLayers;
    DecoderOptions options;
    options.shape = {.max_rows = 64, .max_sequences = 8, .max_logit_rows = 32, .max_context = 256};
    options.kv_dtype = DType::kBF16;
    options.block_size = 128;
    options.blocks = 9;
    decoder = std::make_unique<Decoder>(config, weights, *backend, group, options);
  }
  // Row i of four sequences at `position`; the tokens chosen.
  std::vector<int32_t> decode(int position) {
    std::vector<int32_t> tokens, positions, slots, rows, chosen(4);
    std::vector<std::vector<int32_t>> tables;
    std::vector<StepSequence> sequences;
    for (int i = 0; i < 4; ++i) {
      tokens.push_back(7 + i);
      positions.push_back(position);
      slots.push_back(i * 128 + position);
      rows.push_back(i);
      tables.push_back({i});
    }
    for (int i = 0; i < 4; ++i) sequences.push_back({i, i + 1, position + 1, tables[static_cast<size_t>(i)]});
    decoder->forward(
        {tokens, positions, slots, sequences, rows},
        [&](int, int count, const Activation& logits) { backend->argmax(logits, count, chosen); });
    return chosen;
  }

  ModelConfig config;
  SoloGroup group;
  std::unique_ptr<AscendBackend> backend;
  Weights weights;
  std::unique_ptr<Decoder> decoder;
};

EmuCounters step_counters(Deep& deep, int position) {
  EMU(emu_reset_counters)();
  deep.decode(position);
  return emulator::counters();
}

}  // namespace

TEST("shapes that steps are padded to") {
  const StepShape shape{.max_rows = 128, .max_sequences = 64, .max_logit_rows = 128, .max_context = 100};
  const auto bucket = [&](const std::vector<int>& lengths, bool all_logits = true) {
    std::vector<int32_t> tokens, logits;
    std::vector<StepSequence> sequences;
    for (const int length : lengths) {
      const int begin = static_cast<int>(tokens.size());
      tokens.resize(tokens.size() + static_cast<size_t>(length));
      sequences.push_back({begin, static_cast<int>(tokens.size()), length, {}});
    }
    if (all_logits) logits.resize(tokens.size());
    return bucket_for({tokens, {}, {}, sequences, logits}, shape);
  };
  CHECK(bucket({1}) == (StepBucket{1, 1}));
  CHECK(bucket({1, 1, 1}) == (StepBucket{4, 4}));
  CHECK(bucket(std::vector<int>(9, 1)) == (StepBucket{16, 16}));
  CHECK(bucket({2}) == (StepBucket{3, 2}));
  CHECK(bucket({1, 5}) == (StepBucket{17, 3}));
  CHECK(bucket({16}) == (StepBucket{17, 2}));
  CHECK(!bucket({17}));
  CHECK(!bucket({1, 1}, false));
  CHECK(!bucket(std::vector<int>(8, 16)));  // 129 rows
  CHECK(!bucket({}));
}

TEST("captured steps give the bits of eager ones, in random workloads") {
  for (const WeightFormat format : {WeightFormat::kBF16, WeightFormat::kW8A8})
    for (uint32_t seed = 1; seed <= 2; ++seed) {
      std::vector<std::vector<float>> eager, captured;
      {
        Runner runner("pangu-npu", on_npu(false, {0}, format));
        eager = workload(runner, seed, 90);
      }
      EMU(emu_reset_counters)();
      Runner runner("pangu-npu", on_npu(true, {0}, format));
      captured = workload(runner, seed, 90);
      CHECK(eager == captured);
      CHECK(emulator::counters().graph_replays > 8);
    }
  CLEAN();
}

TEST("captured steps of two devices, collectives included") {
  std::vector<std::vector<float>> eager, captured;
  {
    Runner runner("pangu-npu", on_npu(false, {0, 1}));
    eager = workload(runner, 3, 90);
  }
  EMU(emu_reset_counters)();
  {
    Runner runner("pangu-npu", on_npu(true, {0, 1}));
    captured = workload(runner, 3, 90);
  }
  CHECK(eager == captured);
  CHECK(emulator::counters().graph_replays > 8);
  CLEAN();
}

TEST("where nothing can be captured, steps stay eager") {
  for (const char* call :
       {"aclmdlRICaptureBegin", "aclmdlRICaptureTaskGrpBegin", "aclmdlRICaptureTaskGrpEnd"}) {
    const emulator::Faults faults;
    Runner runner("pangu-npu", on_npu(true));
    Runner::Sequence sequence;
    EMU(emu_fail_call)(call, 1, 207000, 1);
    for (int i = 0; i < 4; ++i) runner.run(sequence, {7});
    EMU(emu_clear_faults)();
    EMU(emu_reset_counters)();
    runner.run(sequence, {7});
    CHECK_EQ(emulator::counters().graph_replays, 0u);
    CHECK(emulator::counters().launches > 20);
  }
  EMU(emu_clear_violations)();  // a capture that was begun is ended, as it must be
}

TEST("graphs that cannot be updated are given up without losing a step") {
  for (const char* call :
       {"aclmdlRICaptureTaskUpdateBegin", "aclmdlRICaptureTaskUpdateEnd", "aclrtRecordEvent"}) {
    std::vector<std::vector<float>> expected;
    {
      Runner eager("pangu-npu", on_npu(false));
      Runner::Sequence sequence;
      for (int i = 0; i < 5; ++i) expected.push_back(eager.run(sequence, {7 + i}).back());
    }
    const emulator::Faults faults;
    Runner runner("pangu-npu", on_npu(true));
    Runner::Sequence sequence;
    for (int i = 0; i < 5; ++i) {
      if (i == 2) EMU(emu_fail_call)(call, 1, 207000, 0);
      CHECK(runner.run(sequence, {7 + i}).back() == expected[static_cast<size_t>(i)]);
    }
  }
  EMU(emu_clear_violations)();
}

TEST("a decode step of 34 layers: launches, first phases, copies, no memory") {
  for (const WeightFormat format : {WeightFormat::kBF16, WeightFormat::kW8A8}) {
    std::vector<int32_t> expected;
    {
      Deep eager(false, format);
      for (int position = 0; position < 3; ++position) eager.decode(position);
      const EmuCounters counters = step_counters(eager, 3);
      // Embedding, two gathers of rotary rows and the first norm; 11 calls a layer; gather, norm, head;
      // argmax and its value. With int8 weights the inputs of o, down and the first layer are quantised by
      // calls of their own.
      CHECK_EQ(counters.launches, format == WeightFormat::kBF16 ? 383u : 452u);
      CHECK_EQ(counters.phase1, 1u);
      CHECK_EQ(counters.graph_replays, 0u);
      CHECK_EQ(counters.h2d_copies, 1u);
      CHECK(counters.h2d_bytes < 4096);
      CHECK_EQ(counters.d2h_copies, 2u);
      CHECK(counters.d2h_bytes <= 64);
      CHECK_EQ(counters.pageable_copies, 0u);
      CHECK_EQ(counters.device_allocs + counters.host_allocs, 0u);
      expected = eager.decode(4);
    }
    Deep captured(true, format);
    for (int position = 0; position < 3; ++position) captured.decode(position);
    const EmuCounters counters = step_counters(captured, 3);
    CHECK_EQ(counters.launches, 2u);
    CHECK_EQ(counters.graph_replays, 1u);
    CHECK_EQ(counters.task_updates, static_cast<uint64_t>(Deep::kLayers));
    CHECK_EQ(counters.phase1, 1u);
    CHECK_EQ(counters.h2d_copies, 1u);
    CHECK_EQ(counters.d2h_copies, 2u);
    CHECK_EQ(counters.device_allocs + counters.host_allocs, 0u);
    CHECK(captured.decode(4) == expected);
  }
  CLEAN();
}

CHECK_MAIN
