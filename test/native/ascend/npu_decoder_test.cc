// The forward pass on an NPU against PyTorch and against the CPU, on tiny checkpoints of every architecture.
//
// The rule for tokens: activations are rounded to bf16 after every operator, so a logit may be off by kBound
// of the largest; where the reference's two highest are further apart than twice that, the highest must be
// the same.

#include "model/decoder.h"

#include <algorithm>

#include "../model/runner.h"
#include "backend/ascend/ascend_backend.h"
#include "backend/ascend/objects.h"
#include "check.h"
#include "emulator.h"
#include "engine/first_layers.h"
#include "engine/self_check.h"
#include "parallel/npu_ranks.h"

using namespace agentinfer;
using golden::Runner;
using golden::RunnerOptions;

namespace {

constexpr double kBound = 0.05;
const char* const kCheckpoints[] = {"llama",         "llama-tied",     "qwen2", "qwen3",
                                    "pangu-sharded", "pangu-sandwich", "pangu", "pangu-npu"};

RunnerOptions on_npu(WeightFormat format = WeightFormat::kBF16, std::vector<int> devices = {0},
                     bool nz = false) {
  RunnerOptions options;
  options.format = format;
  options.kv = DType::kBF16;
  options.block_size = 128;
  options.ranks = static_cast<int>(devices.size());
  options.devices = [devices, nz] { return std::make_unique<NpuRanks>(devices, 20000, true, nz); };
  return options;
}

// Largest difference relative to the largest logit; and the rule for tokens.
double compare(const std::vector<float>& got, const std::vector<float>& expected) {
  double worst = 0, scale = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    worst = std::max(worst, std::fabs(static_cast<double>(got[i]) - expected[i]));
    scale = std::max(scale, std::fabs(static_cast<double>(expected[i])));
  }
  std::vector<float> sorted = expected;
  std::partial_sort(sorted.begin(), sorted.begin() + 2, sorted.end(), std::greater<>());
  if (sorted[0] - sorted[1] > 2 * kBound * scale) CHECK_EQ(golden::argmax(got), golden::argmax(expected));
  return got.size() == expected.size() ? worst / scale : 1e9;
}

}  // namespace

TEST("logits agree with PyTorch's for every architecture") {
  const emulator::Lenient heads("head_dim");
  for (const char* name : kCheckpoints) {
    const golden::Golden golden = golden::read(name);
    Runner runner(name, on_npu());
    double worst = 0;
    for (size_t i = 0; i < golden.prompts.size(); ++i) {
      Runner::Sequence sequence;
      // The prompt and half of what follows it: every position's logits are those the reference continued
      // from.
      std::vector<int32_t> tokens = golden.prompts[i];
      const size_t prompt = tokens.size();
      tokens.insert(tokens.end(), golden.greedy[i].begin(), golden.greedy[i].begin() + 32);
      const auto logits = runner.run(sequence, tokens, 100);
      worst = std::max(worst, compare(logits[prompt - 1], golden.logits[i]));
      for (const auto& inner : golden.inner)
        if (inner.prompt == static_cast<int>(i))
          worst = std::max(worst, compare(logits[static_cast<size_t>(inner.position)], inner.logits));
    }
    if (worst > kBound) check::report(name, 0, "off by " + std::to_string(worst) + " of the largest logit");
  }
  CLEAN();
}

// Quantised values flip between levels at the slightest rounding, so the two are compared by how far each is
// from unquantised weights.
TEST("int8 weights: as near to 16-bit weights as the CPU's") {
  const emulator::Lenient heads("head_dim");
  for (const char* name : {"pangu-npu", "pangu-sandwich", "qwen3"}) {
    RunnerOptions int8, exact;
    int8.format = WeightFormat::kW8A8;
    Runner npu(name, on_npu(WeightFormat::kW8A8)), cpu(name, int8), reference(name, exact);
    double npu_off = 0, cpu_off = 0, scale = 0;
    for (const auto& prompt : golden::read(name).prompts) {
      Runner::Sequence a, b, c;
      const auto got = npu.run(a, prompt, 70), twin = cpu.run(b, prompt), expected = reference.run(c, prompt);
      for (size_t i = 0; i < expected.size(); ++i)
        for (size_t j = 0; j < expected[i].size(); ++j) {
          npu_off += std::pow(got[i][j] - expected[i][j], 2);
          cpu_off += std::pow(twin[i][j] - expected[i][j], 2);
          scale += std::pow(expected[i][j], 2);
        }
    }
    npu_off = std::sqrt(npu_off / scale);
    cpu_off = std::sqrt(cpu_off / scale);
    if (!(npu_off < 1.1 * cpu_off + 0.01))
      check::report(name, 0, "off by " + std::to_string(npu_off) + ", the CPU by " + std::to_string(cpu_off));
  }
  CLEAN();
}

TEST("chunks, company and blocks change logits by rounding alone") {
  std::mt19937 random(7);
  const auto prompts = golden::read("pangu-npu").prompts;
  Runner alone("pangu-npu", on_npu());
  Runner::Sequence whole;
  const auto expected = alone.run(whole, prompts[3], 1);
  for (uint32_t round = 0; round < 3; ++round) {
    RunnerOptions options = on_npu();
    options.seed = round;
    Runner runner("pangu-npu", options);
    const auto got = golden::run_in_company(runner, prompts[3], random);
    double worst = 0;
    for (size_t i = 0; i < expected.size(); ++i) worst = std::max(worst, compare(got[i], expected[i]));
    CHECK(worst <= kBound);
  }
  CLEAN();
}

TEST("tensor parallel: 2, 4 and 8 devices, 16-bit and int8; more devices than KV heads") {
  const auto prompts = golden::read("pangu-npu").prompts;
  for (const WeightFormat format : {WeightFormat::kBF16, WeightFormat::kW8A8}) {
    // One after the other: this thread is bound to the device of the first rank.
    const auto expected = [&] {
      Runner one("pangu-npu", on_npu(format));
      Runner::Sequence whole;
      return one.run(whole, prompts[2]);
    }();
    for (const std::vector<int>& devices :
         {std::vector{1, 0}, std::vector{4, 5, 6, 7}, std::vector{0, 1, 2, 3, 4, 5, 6, 7}}) {
      Runner many("pangu-npu", on_npu(format, devices));
      Runner::Sequence sequence;
      const auto got = many.run(sequence, prompts[2], 30);
      double worst = 0;
      for (size_t i = 0; i < expected.size(); ++i) worst = std::max(worst, compare(got[i], expected[i]));
      // Int8 rows of a part of a matrix's input are quantised by the largest of the part.
      if (worst > (format == WeightFormat::kBF16 ? 1 : 3) * kBound)
        check::report(__FILE__, __LINE__,
                      std::to_string(devices.size()) + " devices: off by " + std::to_string(worst));
    }
  }
  CLEAN();
}

TEST("weights in FRACTAL_NZ: the same logits, whole and cut") {
  const auto prompts = golden::read("pangu-npu").prompts;
  for (const WeightFormat format : {WeightFormat::kBF16, WeightFormat::kW8A8})
    for (const std::vector<int>& devices : {std::vector{0}, std::vector{1, 0}}) {
      const auto logits = [&](bool nz) {
        Runner runner("pangu-npu", on_npu(format, devices, nz));
        Runner::Sequence sequence;
        return runner.run(sequence, prompts[2], 30);
      };
      CHECK(logits(true) == logits(false));
    }
  CLEAN();
}

TEST("the self-check passes on every kind of model, and notices a device that computes something else") {
  for (const char* name : {"pangu-npu", "pangu-sandwich", "qwen3"}) {
    ModelConfig config = read_model_config(golden::folder(name));
    config.head_dim = 64;
    for (const WeightFormat format : {WeightFormat::kBF16, WeightFormat::kW8A8}) {
      const auto device = make_ascend_backend({.device = 0, .timeout_ms = 20000});
      const SelfCheckResult result = self_check(config, format, *device, 128);
      if (!result.problem.empty()) check::report(name, 0, result.problem);
      CHECK(result.worst > 1e-4);
    }
  }
  // Another epsilon stands for whatever a device may get wrong.
  ModelConfig config = read_model_config(golden::folder("pangu-npu")), other = config;
  other.rms_norm_eps = 0.5;
  const auto device = make_ascend_backend({.device = 0, .timeout_ms = 20000});
  CHECK(self_check(config, WeightFormat::kBF16, *device, 128, &other).problem.find("other logits") !=
        std::string::npos);
  CLEAN();
}

// The loaded model's own first layers on every device; one value that a card holds wrong is noticed.
TEST("the first layers of a loaded model are the CPU's on every rank; a damaged weight is told") {
  const ModelConfig config = read_model_config(golden::folder("pangu-npu"));
  const Checkpoint checkpoint(golden::folder("pangu-npu"));
  DecoderOptions options;
  options.shape = {.max_rows = 8, .max_sequences = 2, .max_logit_rows = 8, .max_context = 128};
  options.kv_dtype = DType::kBF16;
  options.block_size = 128;
  options.blocks = 2;
  for (const WeightFormat format : {WeightFormat::kBF16, WeightFormat::kW8A8})
    for (const std::vector<int>& devices : {std::vector{0}, std::vector{1, 0}, std::vector{4, 5, 6, 7}})
      for (const bool damaged : {false, true}) {
        if (damaged && format == WeightFormat::kW8A8) continue;
        const int last = static_cast<int>(devices.size()) - 1;
        FirstLayers first(config, checkpoint, format);
        CHECK_EQ(first.layers(), 2);
        NpuRanks ranks(devices, 20000);
        RankedDecoder decoder(
            config, checkpoint, ranks, {.format = format, .on_progress = {}}, options,
            [&](int rank, Weights& weights, Backend& backend, Group& group) {
              if (damaged && rank == last) {
                const uint16_t large = 0x4300;  // 128 in bf16
                backend.synchronize();
                CHECK_EQ(EMU(emu_poke)(static_cast<AscendLinear&>(*weights.layers[1].down).weights.get(),
                                       &large, sizeof large),
                         0);
              }
              first.check(rank, weights, backend, group, 128);
            });
        const std::string& problem = first.result().problem;
        CHECK(first.result().worst > 1e-4);
        CHECK_EQ(problem.empty(), !damaged);
        if (damaged) CHECK(problem.find("the model's first 2 layers give other logits") != std::string::npos);
        // Every rank gets the sum of all, so which is told is the first of them to say so.
        if (damaged && last > 0) CHECK(problem.find("rank ") == 0);
      }
  CLEAN();
}

CHECK_MAIN
