// The engine on one, two and four NPUs: the random workloads of the CPU's tests, with scripted drafts and
// with AgentSAM's. The emulator's sums do not depend on the batch, so a request's tokens must be exactly
// those it gets alone on the same devices, whatever is drafted, cached, preempted or copied to the host and
// back. Beside the CPU the rule is that of npu_decoder_test: the same token wherever the CPU's margin decides
// it.

#include <cmath>
#include <cstring>

#include "../engine/random_workload.h"
#include "emulator.h"
#include "model/ranked_decoder.h"
#include "parallel/npu_ranks.h"
#include "parallel/thread_group.h"

using namespace agentinfer;
using namespace harness;

namespace {

const char* const kModel = "pangu-npu";
constexpr int kModelVocabulary = 4240;
const std::vector<std::vector<int>> kDevices = {{0}, {2, 1}, {4, 5, 6, 7}};
// Of log probabilities: twice what rounding to bf16 after every operator moves a logit of this checkpoint.
constexpr float kMargin = 0.08f;
constexpr int kTimeoutMs = 120000;  // other work may hold the machine

DecoderOptions decoder_options(int block_size, int blocks, int host_blocks, DType kv) {
  DecoderOptions options;
  options.shape = {.max_rows = 64, .max_sequences = 16, .max_logit_rows = 24, .max_context = 200};
  options.kv_dtype = kv;
  options.block_size = block_size;
  options.blocks = blocks;
  options.host_blocks = host_blocks;
  return options;
}

// The checkpoint on the CPU, or on NPUs.
class World {
 public:
  World(std::unique_ptr<RankDevices> devices, const DecoderOptions& options, WeightFormat format)
      : config_(read_model_config(golden::folder(kModel))), devices_(std::move(devices)) {
    const Checkpoint checkpoint(golden::folder(kModel));
    decoder_ = std::make_unique<RankedDecoder>(config_, checkpoint, *devices_,
                                               LoadOptions{.format = format, .on_progress = {}}, options);
  }
  RankedDecoder& decoder() { return *decoder_; }
  Place place() {
    return {*decoder_, kModelVocabulary,
            [this](const SequenceSpec& request) { return alone(*decoder_, request, kModelVocabulary); }};
  }

 private:
  ModelConfig config_;
  std::unique_ptr<RankDevices> devices_;
  std::unique_ptr<RankedDecoder> decoder_;
};

// A context takes two blocks: five are one context, a copy, and room to quarrel about.
World npus(const std::vector<int>& devices, int blocks = 5, WeightFormat format = WeightFormat::kBF16) {
  return {std::make_unique<NpuRanks>(devices, kTimeoutMs), decoder_options(128, blocks, 6, DType::kBF16),
          format};
}

struct Scored {
  std::vector<int32_t> prompt, tokens;
  std::vector<bool> decided;  // whether the margin decides the token
};

// Greedy on the CPU, with the distance of the two highest log probabilities behind each token.
Scored scored(ForwardPass& decoder, SequenceSpec request) {
  request.sampling.logprobs = true;
  request.sampling.top_logprobs = 2;
  Scored found{.prompt = request.tokens, .tokens = {}, .decided = {}};
  Engine engine(decoder, kModelVocabulary, nullptr);
  engine.add(std::move(request));
  for (int finish = 0; finish == 0;) {
    const Stepped stepped = step(engine, {{{1, 64, 0}}});
    const auto& top = stepped.result.top_logprobs;
    if (const auto tokens = stepped.tokens.find(1); tokens != stepped.tokens.end()) {
      found.tokens.push_back(tokens->second.front());
      found.decided.push_back(top[0] - top[1] >= kMargin);
    }
    finish = stepped.outcomes.at(1).finish;
  }
  return found;
}

}  // namespace

TEST("random workloads are lossless on 1, 2 and 4 devices, in the smallest pool and in a large one") {
  int accepted = 0;
  uint32_t seed = 1;  // of the pair: sampled and greedy
  for (const auto& devices : kDevices)
    for (const int blocks : {5, 24}) {
      if ((kSanitized || devices.size() > 1) && (blocks == 5) == (devices.size() == 2)) continue;
      World world = npus(devices, blocks);
      std::mt19937 random(++seed);
      accepted += scripted_workload(world.place(), random, seed);
    }
  CHECK(accepted > 10);
  CLEAN();
}

TEST("random workloads with AgentSAM's drafts are lossless on 1 and 4 devices") {
  int accepted = 0;
  for (const auto& devices : kDevices) {
    if (devices.size() == 2) continue;
    World world = npus(devices, 24);
    for (const uint32_t seed : {1u, 2u}) {
      if (devices.size() > 1 && seed > 1) continue;
      std::mt19937 random(seed);
      accepted += speculating_workload(world.place(), random, seed);
    }
  }
  std::printf("  %d drafted tokens accepted\n", accepted);
  CHECK(accepted > 0);
  CLEAN();
}

TEST("int8 weights: lossless too") {
  World world = npus({3}, 8, WeightFormat::kW8A8);
  std::mt19937 random(2);
  CHECK(scripted_workload(world.place(), random, 2) > 0);
  CLEAN();
}

// Behind each beginning of the CPU's text: its next token. What the beginnings share is cached.
TEST("greedy tokens are the CPU's wherever its margin decides them") {
  std::mt19937 random(11);
  std::vector<Scored> expected;
  size_t decided = 0;
  {
    World cpu(std::make_unique<CpuRanks>(CpuRanksOptions{.size = 1, .threads = 2}),
              decoder_options(16, 16, 0, DType::kF32), WeightFormat::kBF16);
    for (int i = 0; i < (kSanitized ? 3 : 6); ++i) {
      const auto prompt = random_tokens(random, 5 + static_cast<int>(random() % 100));
      expected.push_back(scored(cpu.decoder(), spec(1, prompt, 24, 1, 0)));
      decided += static_cast<size_t>(
          std::count(expected.back().decided.begin(), expected.back().decided.end(), true));
    }
  }
  CHECK(decided > (kSanitized ? 15 : 30));
  for (const auto& devices : kDevices) {
    World world = npus(devices);
    Engine engine(world.decoder(), kModelVocabulary, nullptr);
    int id = 0;
    for (const Scored& one : expected)
      for (size_t i = 0; i < one.tokens.size(); ++i) {
        if (!one.decided[i]) continue;
        std::vector<int32_t> tokens = one.prompt;
        tokens.insert(tokens.end(), one.tokens.begin(), one.tokens.begin() + static_cast<int64_t>(i));
        engine.add(spec(++id, tokens, 1, 1, 0));
        std::vector<int32_t> got;
        while (got.empty()) {
          const Stepped stepped = step(engine, {{{id, 64, 0}}});
          if (stepped.outcomes.at(id).kind == OutcomeKind::kFailed) break;
          if (stepped.tokens.contains(id)) got = stepped.tokens.at(id);
        }
        CHECK(got == std::vector{one.tokens[i]});
      }
    CHECK_EQ(engine.pool().used_count(), 0);
  }
  CLEAN();
}

CHECK_MAIN
