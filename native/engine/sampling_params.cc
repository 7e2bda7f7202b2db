#include <cmath>
#include <limits>

#include "engine/sampler.h"
#include "tensor/check.h"

namespace agentinfer {
namespace {

constexpr float kLowest = -std::numeric_limits<float>::infinity();

void require(bool condition, const char* field, const char* expected, double got) {
  if (!condition) fail(ErrorCode::kInvalidArgument, field, ": expected ", expected, ", got ", got);
}

void require_ids(const std::vector<int32_t>& ids, const char* field, int vocabulary) {
  for (int32_t id : ids)
    if (id < 0 || id >= vocabulary)
      fail(ErrorCode::kInvalidArgument, field, ": expected ids in [0, ", vocabulary, "), got ", id);
}

}  // namespace

void validate(const SamplingParams& params, int vocabulary) {
  require(params.temperature >= 0 && std::isfinite(params.temperature), "temperature", "a finite value >= 0",
          params.temperature);
  require(params.top_k >= 0, "top_k", ">= 0", params.top_k);
  require(params.top_p > 0 && params.top_p <= 1, "top_p", "(0, 1]", params.top_p);
  require(params.min_p >= 0 && params.min_p <= 1, "min_p", "[0, 1]", params.min_p);
  require(params.repetition_penalty > 0 && std::isfinite(params.repetition_penalty), "repetition_penalty",
          "a finite value > 0", params.repetition_penalty);
  require(std::isfinite(params.presence_penalty), "presence_penalty", "a finite value",
          params.presence_penalty);
  require(std::isfinite(params.frequency_penalty), "frequency_penalty", "a finite value",
          params.frequency_penalty);
  require(params.min_tokens >= 0, "min_tokens", ">= 0", static_cast<double>(params.min_tokens));
  require(params.top_logprobs >= 0 && params.top_logprobs <= kMaxTopLogprobs, "top_logprobs", "0 to 20",
          params.top_logprobs);
  require_ids(params.allowed_ids, "allowed_ids", vocabulary);
  require_ids(params.stop_ids, "stop_ids", vocabulary);
  require_ids(params.forced, "forced", vocabulary);
  if (!params.forced.empty() && params.logprobs)
    fail(ErrorCode::kInvalidArgument,
         "forced: expected no logprobs beside it: what is forced is not sampled");
  require_ids(params.logprob_ids, "logprob_ids", vocabulary);
  for (const LogitBias& bias : params.logit_bias) {
    require_ids({bias.token}, "logit_bias", vocabulary);
    require(std::isfinite(bias.bias) || bias.bias == kLowest, "logit_bias", "finite values or -infinity",
            bias.bias);
  }
}

int SamplingParams::deciding_logits(int64_t outputs) const {
  if (logprobs || penalised() || !logit_bias.empty() || !allowed_ids.empty()) return 0;
  if (!greedy() && top_k == 0) return 0;
  const int64_t suppressed = outputs < min_tokens ? static_cast<int64_t>(stop_ids.size()) : 0;
  const int64_t count = (greedy() ? 1 : top_k) + suppressed;
  return count <= std::numeric_limits<int>::max() ? static_cast<int>(count) : 0;
}

}  // namespace agentinfer
