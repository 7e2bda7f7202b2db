#pragma once
// A decoder over one tiny checkpoint on one or several ranks, without engine: sequences are token lists with
// block tables of their own.

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "golden.h"
#include "model/checkpoint.h"
#include "model/config.h"
#include "model/ranked_decoder.h"
#include "model/tensor_names.h"
#include "parallel/thread_group.h"

namespace golden {

struct RunnerOptions {
  std::string isa = {};
  int threads = 2;  // of all ranks
  int ranks = 1;
  agentinfer::WeightFormat format = agentinfer::WeightFormat::kBF16;
  agentinfer::DType kv = agentinfer::DType::kF32;
  int block_size = 16;
  uint32_t seed = 1;  // order in which blocks are handed out
  std::function<std::unique_ptr<agentinfer::RankDevices>()> devices = {};  // instead of the CPU's
};

class Runner {
 public:
  Runner(const std::string& name, const RunnerOptions& options)
      : config_(agentinfer::read_model_config(folder(name))),
        block_size_(options.block_size),
        devices_(options.devices
                     ? options.devices()
                     : std::make_unique<agentinfer::CpuRanks>(agentinfer::CpuRanksOptions{
                           .size = options.ranks, .threads = options.threads, .isa = options.isa})) {
    const agentinfer::Checkpoint checkpoint(folder(name));
    agentinfer::check_tensors(config_, checkpoint);
    agentinfer::DecoderOptions decoder;
    decoder.shape = {.max_rows = 256, .max_sequences = 32, .max_logit_rows = 24, .max_context = 512};
    decoder.kv_dtype = options.kv;
    decoder.block_size = options.block_size;
    decoder.blocks = 2048 / options.block_size;
    decoder_ = std::make_unique<agentinfer::RankedDecoder>(
        config_, checkpoint, *devices_, agentinfer::LoadOptions{.format = options.format, .on_progress = {}},
        decoder);
    free_.resize(static_cast<size_t>(decoder.blocks));
    std::iota(free_.begin(), free_.end(), 0);
    std::mt19937 random(options.seed);
    std::shuffle(free_.begin(), free_.end(), random);
  }

  struct Sequence {
    std::vector<int32_t> blocks;
    int computed = 0;
  };

  // Tokens to compute for a sequence in one step, and the logits of every one of them.
  struct Part {
    Sequence* sequence = nullptr;
    std::vector<int32_t> tokens;
    std::vector<std::vector<float>> logits = {};
  };

  void step(std::vector<Part>& parts) {
    std::vector<int32_t> tokens, positions, slots, logit_rows;
    std::vector<agentinfer::StepSequence> sequences;
    for (Part& part : parts) {
      Sequence& sequence = *part.sequence;
      const int begin = static_cast<int>(tokens.size());
      for (int32_t token : part.tokens) {
        const int position = sequence.computed++;
        if (position % block_size_ == 0) {
          sequence.blocks.push_back(free_.back());
          free_.pop_back();
        }
        tokens.push_back(token);
        positions.push_back(position);
        slots.push_back(sequence.blocks.back() * block_size_ + position % block_size_);
        logit_rows.push_back(static_cast<int32_t>(logit_rows.size()));
      }
      sequences.push_back({begin, static_cast<int>(tokens.size()), sequence.computed, sequence.blocks});
    }
    size_t part = 0;
    decoder_->forward({tokens, positions, slots, sequences, logit_rows},
                      [&](int, int count, const agentinfer::Activation& logits) {
                        for (int row = 0; row < count; ++row) {
                          while (parts[part].logits.size() == parts[part].tokens.size()) ++part;
                          const auto values = decoder_->backend().logits(logits, row);
                          parts[part].logits.emplace_back(values.begin(), values.end());
                        }
                      });
  }

  // All of a prompt in chunks of `chunk` tokens; the logits behind each token.
  std::vector<std::vector<float>> run(Sequence& sequence, const std::vector<int32_t>& tokens,
                                      int chunk = 256) {
    std::vector<std::vector<float>> all;
    for (size_t begin = 0; begin < tokens.size(); begin += static_cast<size_t>(chunk)) {
      const size_t end = std::min(tokens.size(), begin + static_cast<size_t>(chunk));
      std::vector<Part> parts{
          {&sequence,
           {tokens.begin() + static_cast<int64_t>(begin), tokens.begin() + static_cast<int64_t>(end)}}};
      step(parts);
      all.insert(all.end(), parts[0].logits.begin(), parts[0].logits.end());
    }
    return all;
  }

  const agentinfer::RankedDecoder& decoder() const { return *decoder_; }

 private:
  agentinfer::ModelConfig config_;
  int block_size_;
  std::unique_ptr<agentinfer::RankDevices> devices_;
  std::unique_ptr<agentinfer::RankedDecoder> decoder_;
  std::vector<int32_t> free_;
};

// Largest difference relative to the largest expected logit.
inline double distance(const std::vector<float>& got, const std::vector<float>& expected) {
  double worst = 0, scale = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    worst = std::max(worst, std::fabs(static_cast<double>(got[i]) - expected[i]));
    scale = std::max(scale, std::fabs(static_cast<double>(expected[i])));
  }
  return got.size() == expected.size() ? worst / scale : 1e9;
}

inline int argmax(const std::vector<float>& values) {
  return static_cast<int>(std::max_element(values.begin(), values.end()) - values.begin());
}

// The logits of every token, computed in chunks of random size with another sequence in the batch, in random
// order.
inline std::vector<std::vector<float>> run_in_company(Runner& runner, const std::vector<int32_t>& tokens,
                                                      std::mt19937& random) {
  Runner::Sequence mine, other;
  std::vector<std::vector<float>> got;
  while (got.size() < tokens.size()) {
    const size_t count = std::min<size_t>(1 + random() % 60, tokens.size() - got.size());
    const auto begin = tokens.begin() + static_cast<int64_t>(got.size());
    std::vector<Runner::Part> parts{{&other, {5, 6, 7}},
                                    {&mine, {begin, begin + static_cast<int64_t>(count)}}};
    if (random() % 2 == 0) std::swap(parts[0], parts[1]);
    runner.step(parts);
    for (Runner::Part& part : parts)
      if (part.sequence == &mine) got.insert(got.end(), part.logits.begin(), part.logits.end());
  }
  return got;
}

}  // namespace golden
