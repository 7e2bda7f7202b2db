#pragma once
// From one row of logits to one token.
//
// The result depends on (logits, params, history, position) alone: the draw is inverse-CDF with uniform(seed,
// position), so batching, preemption, speculation and repetition of a step cannot change it. Order of
// operations (vLLM's V1 sampler):
//   1. raw log probabilities, if asked for: log_softmax of the model's logits, before everything below
//   2. allowed ids   all others -> -inf
//   3. min tokens    stop ids -> -inf while fewer than min_tokens were produced
//   4. logit bias    added
//   5. penalties     repetition over prompt and output (l > 0 ? l / r : l * r), then - frequency * count -
//   presence * (count > 0) over
//                    the output
//   6. temperature < 1e-5: the highest logit (greedy). Else divide by it, and
//   7. min-p         keep p >= min_p * p_max
//   8. top-k         keep the k highest
//   9. top-p         of what is left, renormalised: the fewest highest tokens whose probabilities sum to at
//   least top_p
//  10. draw
// Ties are won by the lower id, everywhere: top-k keeps exactly k. NaN counts as -inf.
// Probabilities below 2^-36 of the highest are drawn as 0 (for vocabularies below 2^18 tokens; twice that for
// each doubling). No full sort: maxima of 64-token groups bound what must be looked at, and cuts are found by
// selection.

#include <cstdint>
#include <span>
#include <vector>

#include "engine/token_history.h"

namespace agentinfer {

inline constexpr int kMaxTopLogprobs = 20;

struct LogitBias {
  int32_t token = 0;
  float bias = 0;  // finite or -infinity
};

struct SamplingParams {
  float temperature = 1;         // >= 0; below 1e-5: greedy
  int top_k = 0;                 // 0: off
  float top_p = 1;               // (0, 1]
  float min_p = 0;               // [0, 1]
  float repetition_penalty = 1;  // > 0
  float presence_penalty = 0, frequency_penalty = 0;
  std::vector<LogitBias> logit_bias;
  std::vector<int32_t> allowed_ids;  // empty: all
  std::vector<int32_t>
      stop_ids;  // end the sequence when sampled (the engine looks); suppressed before min_tokens
  int64_t min_tokens = 0;
  uint64_t seed = 0;
  bool logprobs = false;             // report the sampled token's log probability, and the two below
  int top_logprobs = 0;              // and the highest n, 0..20
  std::vector<int32_t> logprob_ids;  // and those of these ids

  // Teacher forcing: the first output tokens are these, whatever the model says; then it goes on by itself.
  std::vector<int32_t> forced;
  // How many of the highest logits decide the token of a sequence with so many output tokens; 0: any may.
  int deciding_logits(int64_t outputs) const;

  bool greedy() const { return temperature < 1e-5f; }
  bool penalised() const {
    return repetition_penalty != 1 || presence_penalty != 0 || frequency_penalty != 0;
  }
  // Plain argmax of the logits gives the token (Backend::argmax will do), while output tokens >= min_tokens.
  bool plain_argmax() const {
    return greedy() && !penalised() && logit_bias.empty() && allowed_ids.empty() && !logprobs;
  }
};

// Throws kInvalidArgument naming the field, what was expected and what came. Ids must lie in [0, vocabulary).
void validate(const SamplingParams& params, int vocabulary);

struct TokenLogprob {
  int32_t token = -1;
  float logprob = 0;
};

struct SampleResult {
  int32_t token = -1;
  float logprob = 0;                     // with params.logprobs
  std::span<const TokenLogprob> top;     // highest first, ties by lower id; valid until the next sample()
  std::span<const TokenLogprob> chosen;  // params.logprob_ids, in their order; likewise
};

// Holds the work memory. One thread at a time; one Sampler per thread.
class Sampler {
 public:
  explicit Sampler(int vocabulary);
  // REQUIRES logits.size() == vocabulary and validated params. `position` is the position the sampled token
  // will have. Throws kDevice, naming the position, if the highest logit is not finite; kInvalidArgument if
  // the params leave no token.
  SampleResult sample(std::span<const float> logits, const SamplingParams& params,
                      const TokenHistory& history, int64_t position);

 private:
  struct Candidate {
    float logit = 0;
    int32_t token = 0;
    double weight = 0;  // logit_scan.h
  };
  struct Row {
    std::span<const float> logits;
    float highest = 0, inverse_temperature = 1;
  };
  static bool before(const Candidate& a, const Candidate& b) {
    return a.logit > b.logit || (a.logit == b.logit && a.token < b.token);
  }

  std::span<const float> adjust(std::span<const float> logits, const SamplingParams& params,
                                const TokenHistory& history);
  void penalise(const SamplingParams& params, const TokenHistory& history);
  int32_t first_of(std::span<const float> logits, float highest) const;
  int32_t draw(const Row& row, const SamplingParams& params, double u);
  int32_t draw_kept(const Row& row, Candidate last, double u);
  int32_t draw_all(const Row& row, double u);
  void gather(std::span<const float> logits, Candidate last);
  void gather_top(std::span<const float> logits, size_t count);
  double weigh(const Row& row);
  void cut_top_p(double mass);
  void report_logprobs(std::span<const float> logits, float highest, const SamplingParams& params,
                       SampleResult& result);
  float logprob(std::span<const float> logits, int32_t token) const;

  int vocabulary_;
  double unit_;                  // of weights
  double log_sum_ = 0;           // log of the sum of exp of the raw logits
  std::vector<float> adjusted_;  // [vocabulary] logits after steps 2 to 5, if there are any
  std::vector<float> maxima_;    // of each group of 64 logits: of the raw ones, then of the adjusted ones
  std::vector<float> ranked_maxima_;   // work space of gather_top
  std::vector<double> sums_;           // weights of each group
  std::vector<Candidate> candidates_;  // [vocabulary] capacity
  std::vector<TokenLogprob> top_, chosen_;
};

}  // namespace agentinfer
