// Tensor parallelism against PyTorch, against one rank, and against itself.
//
// The rule for tokens: sums over ranks are rounded in another order than on one rank, so logits agree within
// kSameLogits (of the largest) and a greedy token must be the same wherever one rank's best two logits are
// further apart than twice that.

#include "model/ranked_decoder.h"

#include <algorithm>

#include "backend/cpu/cpu_backend.h"
#include "check.h"
#include "model/shards.h"
#include "runner.h"

using namespace agentinfer;
using golden::Runner;
using golden::RunnerOptions;

namespace {

const char* const kCheckpoints[] = {"llama",         "llama-tied",     "qwen2", "qwen3",
                                    "pangu-sharded", "pangu-sandwich", "pangu"};
constexpr double kSameLogits = 2e-5;  // f32 KV
constexpr int kSizes[] = {2, 4};      // 4 ranks share the checkpoints' 2 KV heads

// The best two logits' distance, relative to the largest magnitude.
double margin(const std::vector<float>& logits) {
  std::vector<float> best(logits);
  std::partial_sort(best.begin(), best.begin() + 2, best.end(), std::greater<>());
  float scale = 0;
  for (const float value : logits) scale = std::max(scale, std::fabs(value));
  return (best[0] - best[1]) / scale;
}

}  // namespace

TEST("logits agree with PyTorch and with one rank, on 2 and 4 ranks, every architecture") {
  for (const char* name : kCheckpoints) {
    const golden::Golden golden = golden::read(name);
    Runner one(name, {});
    for (const int ranks : kSizes) {
      Runner runner(name, {.ranks = ranks});
      double to_reference = 0, to_one = 0;
      for (size_t i = 0; i < golden.prompts.size(); ++i) {
        Runner::Sequence mine, its;
        const auto got = runner.run(mine, golden.prompts[i]), expected = one.run(its, golden.prompts[i]);
        to_reference = std::max(to_reference, golden::distance(got.back(), golden.logits[i]));
        for (size_t row = 0; row < got.size(); ++row)
          to_one = std::max(to_one, golden::distance(got[row], expected[row]));
      }
      std::printf("  %s on %d ranks: %.2e from PyTorch, %.2e from one rank\n", name, ranks, to_reference,
                  to_one);
      CHECK(to_reference <= 2e-4);
      CHECK(to_one <= kSameLogits);
    }
  }
}

TEST("greedy tokens are one rank's wherever its margin allows") {
  int decided = 0, close = 0;
  for (const char* name : kCheckpoints) {
    const golden::Golden golden = golden::read(name);
    Runner one(name, {});
    for (const int ranks : kSizes) {
      Runner runner(name, {.ranks = ranks});
      for (size_t i = 0; i < std::min<size_t>(golden.prompts.size(), 2); ++i) {
        // Both read one rank's tokens, so a close call does not part them.
        Runner::Sequence mine, its;
        std::vector<float> expected = one.run(its, golden.prompts[i]).back(),
                           got = runner.run(mine, golden.prompts[i]).back();
        for (int step = 0; step < 24; ++step) {
          const int token = golden::argmax(expected);
          const bool clear = margin(expected) > 2 * kSameLogits;
          clear ? ++decided : ++close;
          if (clear) CHECK_EQ(golden::argmax(got), token);
          expected = one.run(its, {token}).back();
          got = runner.run(mine, {token}).back();
        }
      }
    }
  }
  std::printf("  %d tokens decided, %d too close to call\n", decided, close);
  CHECK(decided > 20 * close);
}

// Weights are cut after they are rounded, so they are the same on any number of ranks; activations are
// rounded to a scale of the part a rank holds, hence the wider bound.
TEST("int8 on ranks stays as near to PyTorch as on one") {
  for (const char* name : kCheckpoints) {
    const golden::Golden golden = golden::read(name);
    for (const int ranks : kSizes) {
      Runner runner(name, {.ranks = ranks, .format = WeightFormat::kW8A8});
      double worst = 0;
      for (size_t i = 0; i < golden.prompts.size(); ++i) {
        Runner::Sequence sequence;
        worst = std::max(worst,
                         golden::distance(runner.run(sequence, golden.prompts[i]).back(), golden.logits[i]));
      }
      CHECK(worst <= 0.15);
    }
  }
}

TEST("within one number of ranks logits do not depend on batch, chunking, threads or blocks") {
  std::mt19937 random(11);
  for (const int ranks : kSizes)
    for (const WeightFormat format : {WeightFormat::kBF16, WeightFormat::kW8A8}) {
      const auto prompts = golden::read("pangu-sandwich").prompts;
      Runner alone("pangu-sandwich", {.threads = ranks, .ranks = ranks, .format = format, .kv = DType::kF16});
      Runner::Sequence whole;
      const auto expected = alone.run(whole, prompts[3], 1);
      for (uint32_t round = 0; round < 3; ++round) {
        Runner runner("pangu-sandwich", {.threads = ranks + static_cast<int>(round) * 2,
                                         .ranks = ranks,
                                         .format = format,
                                         .kv = DType::kF16,
                                         .seed = round});
        const auto got = golden::run_in_company(runner, prompts[3], random);
        CHECK(got == expected);
      }
    }
}

TEST("ranks hold the network once between them, but for norms and for KV heads fewer than ranks") {
  Runner one("llama", {}), two("llama", {.ranks = 2}), four("llama", {.ranks = 4});
  CHECK_EQ(two.decoder().kv_bytes(), one.decoder().kv_bytes());
  CHECK_EQ(four.decoder().kv_bytes(), 2 * one.decoder().kv_bytes());
  CHECK(two.decoder().weight_bytes() < one.decoder().weight_bytes() * 5 / 4);  // tiny matrices are padded
}

TEST("a rank's query heads find their KV heads among its own, for every shape that divides") {
  for (int64_t kv = 1; kv <= 16; ++kv)
    for (int64_t group = 1; group <= 6; ++group)
      for (int ranks = 1; ranks <= 16; ++ranks) {
        ModelConfig config;
        config.num_key_value_heads = kv;
        config.num_attention_heads = kv * group;
        config.head_dim = 8;
        config.intermediate_size = config.vocab_size = 720720;  // divides by 1 to 16
        const bool fits = kv * group % ranks == 0 && (kv % ranks == 0 || ranks % kv == 0);
        if (!fits) {
          CHECK_THROWS(check_shards(config, ranks), ErrorCode::kInvalidArgument, "heads");
          continue;
        }
        check_shards(config, ranks);
        for (int rank = 0; rank < ranks; ++rank) {
          const Range heads = part_of_rank(kv * group, rank, ranks),
                      rows = kv_rows_of_rank(config, rank, ranks);
          const int64_t local = kv_heads_of_rank(config, ranks), shared = (heads.end - heads.begin) / local;
          CHECK_EQ(rows.end - rows.begin, local * 8);
          for (int64_t head = heads.begin; head < heads.end; ++head)
            CHECK_EQ(rows.begin / 8 + (head - heads.begin) / shared, head / group);
        }
      }
}

TEST("a network that does not divide is refused by the key that does not") {
  CHECK_THROWS(Runner("llama", {.ranks = 3}), ErrorCode::kInvalidArgument, "num_attention_heads");
  ModelConfig config;
  config.num_attention_heads = config.num_key_value_heads = config.intermediate_size = 6;
  config.vocab_size = 8;
  CHECK_THROWS(check_shards(config, 3), ErrorCode::kInvalidArgument, "vocab_size to divide by it, got 8");
}

CHECK_MAIN
