// The forward pass against PyTorch on tiny checkpoints of every architecture, and against itself in every
// batch.

#include "model/decoder.h"

#include <algorithm>

#include "backend/cpu/cpu_backend.h"
#include "check.h"
#include "runner.h"

using namespace agentinfer;
using golden::Runner;
using golden::RunnerOptions;

namespace {

const char* const kCheckpoints[] = {"llama",         "llama-tied",     "qwen2", "qwen3",
                                    "pangu-sharded", "pangu-sandwich", "pangu"};

void check_logits(const std::string& name, const RunnerOptions& options, double bound) {
  const golden::Golden golden = golden::read(name);
  Runner runner(name, options);
  double worst = 0;
  for (size_t i = 0; i < golden.prompts.size(); ++i) {
    Runner::Sequence sequence;
    const auto logits = runner.run(sequence, golden.prompts[i]);
    worst = std::max(worst, golden::distance(logits.back(), golden.logits[i]));
    for (const auto& inner : golden.inner)
      if (inner.prompt == static_cast<int>(i))
        worst = std::max(worst, golden::distance(logits[static_cast<size_t>(inner.position)], inner.logits));
  }
  std::printf("  %s on %s: worst relative difference %.2e\n", name.c_str(), options.isa.c_str(), worst);
  if (!(worst <= bound))
    check::report(__FILE__, __LINE__, name + " on " + options.isa + ": " + std::to_string(worst));
}

}  // namespace

TEST("logits agree with PyTorch, every architecture, every instruction set") {
  for (const std::string& isa : available_isas())
    for (const char* name : kCheckpoints) check_logits(name, {.isa = isa}, 2e-4);
}

TEST("16-bit KV keeps logits within 2e-3") {
  for (const char* name : kCheckpoints)
    check_logits(name, {.isa = available_isas().front(), .kv = DType::kF16}, 2e-3);
}

// W8A8 rounds weights to 1/254 of a row's range and activations to 1/254 of a token's: with random weights of
// so small a network errors do not average out.
TEST("int8 stays within 0.15 of the largest logit") {
  for (const std::string& isa : available_isas())
    for (const char* name : kCheckpoints)
      check_logits(name, {.isa = isa, .format = WeightFormat::kW8A8}, 0.15);
}

TEST("64 greedy tokens equal PyTorch's") {
  for (const char* name : kCheckpoints) {
    const golden::Golden golden = golden::read(name);
    Runner runner(name, {.isa = available_isas().front()});
    for (size_t i = 0; i < golden.prompts.size(); ++i) {
      Runner::Sequence sequence;
      std::vector<int32_t> tokens;
      int32_t next = golden::argmax(runner.run(sequence, golden.prompts[i]).back());
      while (true) {
        tokens.push_back(next);
        if (tokens.size() == golden.greedy[i].size()) break;
        next = golden::argmax(runner.run(sequence, {next}).back());
      }
      CHECK(tokens == golden.greedy[i]);
    }
  }
}

// Every token's logits must be the same bits however the work is cut: chunks of a prompt, company in the
// batch, threads, the blocks that happen to hold its KV, their size.
TEST("logits do not depend on batch, chunking, threads or blocks") {
  std::mt19937 random(7);
  for (const std::string& isa : available_isas())
    for (const WeightFormat format : {WeightFormat::kBF16, WeightFormat::kW8A8}) {
      const auto prompts = golden::read("pangu-sandwich").prompts;
      Runner alone("pangu-sandwich", {.isa = isa, .threads = 1, .format = format, .kv = DType::kF16});
      Runner::Sequence whole;
      const auto expected = alone.run(whole, prompts[3], 1);
      for (int round = 0; round < 4; ++round) {
        const int threads = 1 + round % 3;
        Runner runner("pangu-sandwich", {.isa = isa,
                                         .threads = threads,
                                         .format = format,
                                         .kv = DType::kF16,
                                         .block_size = 16,
                                         .seed = static_cast<uint32_t>(round)});
        const auto got = golden::run_in_company(runner, prompts[3], random);
        CHECK(got == expected);
      }
    }
}

CHECK_MAIN
