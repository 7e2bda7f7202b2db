#include "engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/random.h"
#include "tensor/check.h"

namespace agentinfer {
namespace {

constexpr float kLowest = -std::numeric_limits<float>::infinity();
constexpr float kNegligible = -24.26f;  // ln 2^-35
constexpr size_t kFirstNucleus = 64;    // candidates that are sorted before it is known whether they reach top_p

void require(bool condition, const char* field, const char* expected, double got) {
  if (!condition) fail(ErrorCode::kInvalidArgument, field, ": expected ", expected, ", got ", got);
}

void require_ids(const std::vector<int32_t>& ids, const char* field, int vocabulary) {
  for (int32_t id : ids)
    if (id < 0 || id >= vocabulary)
      fail(ErrorCode::kInvalidArgument, field, ": expected ids in [0, ", vocabulary, "), got ", id);
}

// The highest logit; NaN counts as -inf.
float highest_of(std::span<const float> logits) {
  float highest = kLowest;
  for (float logit : logits) highest = logit > highest ? logit : highest;
  return highest;
}

int32_t first_index_of(std::span<const float> logits, float value) {
  return static_cast<int32_t>(std::find(logits.begin(), logits.end(), value) - logits.begin());
}

double log_sum_exp(std::span<const float> logits, float highest) {
  double sum = 0;
  for (float logit : logits)
    if (logit - highest > kNegligible) sum += std::exp(logit - highest);
  return std::log(sum) + highest;
}

}  // namespace

void validate(const SamplingParams& params, int vocabulary) {
  require(params.temperature >= 0 && std::isfinite(params.temperature), "temperature", "a finite value >= 0", params.temperature);
  require(params.top_k >= 0, "top_k", ">= 0", params.top_k);
  require(params.top_p > 0 && params.top_p <= 1, "top_p", "(0, 1]", params.top_p);
  require(params.min_p >= 0 && params.min_p <= 1, "min_p", "[0, 1]", params.min_p);
  require(params.repetition_penalty > 0 && std::isfinite(params.repetition_penalty), "repetition_penalty", "a finite value > 0",
          params.repetition_penalty);
  require(std::isfinite(params.presence_penalty), "presence_penalty", "a finite value", params.presence_penalty);
  require(std::isfinite(params.frequency_penalty), "frequency_penalty", "a finite value", params.frequency_penalty);
  require(params.min_tokens >= 0, "min_tokens", ">= 0", static_cast<double>(params.min_tokens));
  require(params.top_logprobs >= 0 && params.top_logprobs <= kMaxTopLogprobs, "top_logprobs", "0 to 20", params.top_logprobs);
  require_ids(params.allowed_ids, "allowed_ids", vocabulary);
  require_ids(params.stop_ids, "stop_ids", vocabulary);
  require_ids(params.logprob_ids, "logprob_ids", vocabulary);
  for (const LogitBias& bias : params.logit_bias) {
    require_ids({bias.token}, "logit_bias", vocabulary);
    require(std::isfinite(bias.bias) || bias.bias == kLowest, "logit_bias", "finite values or -infinity", bias.bias);
  }
}

Sampler::Sampler(int vocabulary) : vocabulary_(vocabulary), adjusted_(static_cast<size_t>(vocabulary)) {
  candidates_.reserve(static_cast<size_t>(vocabulary));
  top_.reserve(kMaxTopLogprobs);
}

SampleResult Sampler::sample(std::span<const float> logits, const SamplingParams& params, const TokenHistory& history,
                             int64_t position) {
  ensure(logits.size() == static_cast<size_t>(vocabulary_), "sampler for ", vocabulary_, " tokens got ", logits.size(), " logits");
  if (!std::isfinite(highest_of(logits)))
    fail(ErrorCode::kDevice, "no finite logit for position ", position);
  const std::span<const float> adjusted = adjust(logits, params, history);
  const float highest = highest_of(adjusted);
  if (highest == kLowest)
    fail(ErrorCode::kInvalidArgument, "the sampling options leave no token to choose at position ", position);

  SampleResult result;
  if (params.greedy()) {
    result.token = first_index_of(adjusted, highest);
  } else {
    gather(adjusted, params, highest);
    if (params.top_k > 0 && static_cast<size_t>(params.top_k) < candidates_.size()) {
      sort_first(static_cast<size_t>(params.top_k));
      candidates_.resize(static_cast<size_t>(params.top_k));
    }
    if (params.top_p < 1) cut_top_p(params.top_p);
    result.token = draw(uniform(params.seed, static_cast<uint64_t>(position)));
  }
  if (params.logprobs) report_logprobs(logits, params, result);
  return result;
}

// Steps 2 to 5. Without any, the logits themselves.
std::span<const float> Sampler::adjust(std::span<const float> logits, const SamplingParams& params, const TokenHistory& history) {
  const bool too_early = history.output_tokens() < params.min_tokens && !params.stop_ids.empty();
  if (params.allowed_ids.empty() && params.logit_bias.empty() && !params.penalised() && !too_early) return logits;
  if (params.allowed_ids.empty()) {
    std::copy(logits.begin(), logits.end(), adjusted_.begin());
  } else {
    std::fill(adjusted_.begin(), adjusted_.end(), kLowest);
    for (int32_t id : params.allowed_ids) adjusted_[static_cast<size_t>(id)] = logits[static_cast<size_t>(id)];
  }
  if (too_early)
    for (int32_t id : params.stop_ids) adjusted_[static_cast<size_t>(id)] = kLowest;
  for (const LogitBias& bias : params.logit_bias) adjusted_[static_cast<size_t>(bias.token)] += bias.bias;
  if (params.penalised()) penalise(params, history);
  return adjusted_;
}

void Sampler::penalise(const SamplingParams& params, const TokenHistory& history) {
  for (const TokenHistory::Entry& entry : history.entries()) {
    float& logit = adjusted_[static_cast<size_t>(entry.token)];
    logit = logit > 0 ? logit / params.repetition_penalty : logit * params.repetition_penalty;
    logit -= params.frequency_penalty * static_cast<float>(entry.output);
    if (entry.output > 0) logit -= params.presence_penalty;
  }
}

// Candidates in order of their ids: those that min-p leaves and whose probability is not negligible.
void Sampler::gather(std::span<const float> logits, const SamplingParams& params, float highest) {
  const float floor = params.min_p > 0 ? std::max(kNegligible, std::log(params.min_p)) : kNegligible;
  const float inverse = 1.0f / params.temperature;
  candidates_.clear();
  for (size_t i = 0; i < logits.size(); ++i) {
    const float scaled = (logits[i] - highest) * inverse;
    if (scaled >= floor) candidates_.push_back({logits[i], static_cast<int32_t>(i), std::exp(scaled)});
  }
}

// Brings the `count` highest to the front, in order.
void Sampler::sort_first(size_t count) {
  const auto middle = candidates_.begin() + static_cast<int64_t>(count);
  if (count < candidates_.size()) std::nth_element(candidates_.begin(), middle, candidates_.end(), before);
  std::sort(candidates_.begin(), middle, before);
}

void Sampler::cut_top_p(float top_p) {
  double total = 0;
  for (const Candidate& candidate : candidates_) total += candidate.weight;
  for (size_t sorted = kFirstNucleus;; sorted *= 4) {
    sort_first(std::min(sorted, candidates_.size()));
    double mass = 0;
    for (size_t i = 0; i < std::min(sorted, candidates_.size()); ++i) {
      mass += candidates_[i].weight;
      if (mass >= top_p * total) return candidates_.resize(i + 1);
    }
    if (sorted >= candidates_.size()) return;  // rounding kept the sum below the mark: all stay
  }
}

int32_t Sampler::draw(double u) const {
  double total = 0;
  for (const Candidate& candidate : candidates_) total += candidate.weight;
  double left = u * total;
  for (const Candidate& candidate : candidates_) {
    left -= candidate.weight;
    if (left < 0) return candidate.token;
  }
  return candidates_.back().token;
}

// Of the model's own distribution, before steps 2 to 10.
void Sampler::report_logprobs(std::span<const float> logits, const SamplingParams& params, SampleResult& result) {
  const double sum = log_sum_exp(logits, highest_of(logits));
  const auto logprob = [&](int32_t token) { return static_cast<float>(logits[static_cast<size_t>(token)] - sum); };
  result.logprob = logprob(result.token);
  top_.clear();
  chosen_.clear();
  if (params.top_logprobs > 0) {
    candidates_.clear();
    for (size_t i = 0; i < logits.size(); ++i)
      if (!std::isnan(logits[i])) candidates_.push_back({logits[i], static_cast<int32_t>(i), 0});
    const size_t count = std::min(candidates_.size(), static_cast<size_t>(params.top_logprobs));
    sort_first(count);
    for (size_t i = 0; i < count; ++i) top_.push_back({candidates_[i].token, logprob(candidates_[i].token)});
  }
  for (int32_t id : params.logprob_ids) chosen_.push_back({id, logprob(id)});
  result.top = top_;
  result.chosen = chosen_;
}

}  // namespace agentinfer
