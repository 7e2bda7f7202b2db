#pragma once
// Turns logits into emitted tokens. A sequence's logit rows belong to its last known token and to each
// drafted token after it. Row by row the sequence's own next token is computed exactly as without a draft; it
// is emitted; and as long as it equals the drafted token, the next row (which was computed on that very
// token) counts too. So output is identical to plain decoding, token for token and seed for seed (greedy or
// sampled: the draw is keyed by seed and position alone).

#include <cstdint>
#include <span>
#include <vector>

#include "backend/backend.h"
#include "engine/batch.h"
#include "engine/sampler.h"
#include "engine/step.h"

namespace agentinfer {

class Verifier {
 public:
  Verifier(int vocabulary, int max_logit_rows, int64_t max_context);

  // Takes logit rows [first, first + count) of the batch, in order over the step. Failures of one sequence
  // (no finite logit, no token left to choose) end that sequence alone: entry.error indexes result.errors.
  void take(Backend& backend, Batch& batch, int first, int count, const Activation& logits,
            StepResult& result);
  // After the last take(): writes tokens and logprobs of all entries to the result, in order.
  void finish(StepResult& result);
  // The step has failed: forgets what was taken.
  void discard();

 private:
  struct Emitted {
    int32_t token = -1;
    float logprob = 0;
    int top_begin = 0, top_count = 0;
  };
  void take_row(Batch& batch, BatchEntry& entry, int row, int32_t best, std::span<const float> logits);
  void record(const Sequence& sequence, const SampleResult& sampled);

  int64_t max_context_;
  Sampler sampler_;
  std::vector<int32_t> argmax_;
  std::vector<Emitted> emitted_;  // of all entries, in order: an entry's rows are consecutive
  std::vector<TokenLogprob> top_;
  size_t entry_ = 0;  // the entry the next row belongs to
  bool any_logprobs_ = false;
};

}  // namespace agentinfer
