#include "engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "engine/logit_scan.h"
#include "engine/random.h"
#include "tensor/check.h"

namespace agentinfer {
namespace {

constexpr float kLowest = -std::numeric_limits<float>::infinity();
constexpr float kFirstReach =
    8;  // candidates of top-p: first those within e^-8 of the highest, then e^-16 ...
constexpr float kFullReach = 88;  // below that, a weight is 0
constexpr size_t kSmall = 32;     // a range this short is sorted rather than bisected

}  // namespace

Sampler::Sampler(int vocabulary)
    : vocabulary_(vocabulary),
      unit_(weight_unit(static_cast<size_t>(vocabulary))),
      adjusted_(static_cast<size_t>(vocabulary)),
      maxima_(logit_groups(static_cast<size_t>(vocabulary))),
      ranked_maxima_(maxima_.size()),
      sums_(maxima_.size()) {
  candidates_.reserve(static_cast<size_t>(vocabulary));
  top_.reserve(kMaxTopLogprobs);
}

SampleResult Sampler::sample(std::span<const float> logits, const SamplingParams& params,
                             const TokenHistory& history, int64_t position) {
  ensure(logits.size() == static_cast<size_t>(vocabulary_), "sampler for ", vocabulary_, " tokens got ",
         logits.size(), " logits");
  const float raw_highest = group_maxima(logits, maxima_);
  if (!std::isfinite(raw_highest))
    fail(ErrorCode::kDevice, "no finite highest logit for position ", position, ": it is ", raw_highest);
  SampleResult result;
  if (params.logprobs) report_logprobs(logits, raw_highest, params, result);

  const std::span<const float> adjusted = adjust(logits, params, history);
  const float highest = adjusted.data() == logits.data() ? raw_highest : group_maxima(adjusted, maxima_);
  if (highest == kLowest)
    fail(ErrorCode::kInvalidArgument, "the sampling options leave no token to choose at position ", position);
  if (params.greedy() || std::isinf(highest)) {
    result.token = first_of(adjusted, highest);
  } else {
    result.token = draw(Row{adjusted, highest, 1.0f / params.temperature}, params,
                        uniform(params.seed, static_cast<uint64_t>(position)));
  }
  if (params.logprobs) result.logprob = logprob(logits, result.token);
  return result;
}

// Steps 2 to 5. Without any, the logits themselves.
std::span<const float> Sampler::adjust(std::span<const float> logits, const SamplingParams& params,
                                       const TokenHistory& history) {
  const bool too_early = history.output_tokens() < params.min_tokens && !params.stop_ids.empty();
  if (params.allowed_ids.empty() && params.logit_bias.empty() && !params.penalised() && !too_early)
    return logits;
  if (params.allowed_ids.empty()) {
    std::copy(logits.begin(), logits.end(), adjusted_.begin());
  } else {
    std::fill(adjusted_.begin(), adjusted_.end(), kLowest);
    for (int32_t id : params.allowed_ids)
      adjusted_[static_cast<size_t>(id)] = logits[static_cast<size_t>(id)];
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

// The first id with the highest logit; the group maxima lead there.
int32_t Sampler::first_of(std::span<const float> logits, float highest) const {
  const size_t group =
      static_cast<size_t>(std::find(maxima_.begin(), maxima_.end(), highest) - maxima_.begin());
  const auto begin = logits.begin() + static_cast<ptrdiff_t>(group * kLogitGroup);
  return static_cast<int32_t>(std::find(begin, logits.end(), highest) - logits.begin());
}

// Steps 7 to 10. Each step leaves in candidates_ the tokens that are kept, in no particular order; the draw
// then walks over the same tokens in the order of their ids, so that the order in which they were found does
// not matter.
int32_t Sampler::draw(const Row& row, const SamplingParams& params, double u) {
  const bool top_k = params.top_k > 0 && params.top_k < vocabulary_;
  const float floor = params.min_p > 0 ? row.highest + std::log(params.min_p) * params.temperature : kLowest;
  if (!top_k && params.top_p >= 1 && params.min_p <= 0) return draw_all(row, u);
  double total = 0;
  if (top_k) {
    gather_top(row.logits, static_cast<size_t>(params.top_k));
    std::erase_if(candidates_, [floor](const Candidate& candidate) { return candidate.logit < floor; });
    total = weigh(row);
  } else if (params.min_p > 0) {
    gather(row.logits, {floor, vocabulary_});
    total = weigh(row);
  } else {
    total = group_weights(row.logits, row.highest, row.inverse_temperature, unit_, sums_);
    double mass = 0;
    for (float reach = kFirstReach; mass < params.top_p * total && reach < 2 * kFullReach; reach *= 2) {
      gather(row.logits, {row.highest - reach * params.temperature, vocabulary_});
      mass = weigh(row);
    }
  }
  if (params.top_p < 1) cut_top_p(params.top_p * total);
  return draw_kept(row, *std::max_element(candidates_.begin(), candidates_.end(), before), u);
}

// candidates_ = the tokens from `last` upwards in rank, in order of their ids.
void Sampler::gather(std::span<const float> logits, Candidate last) {
  candidates_.clear();
  for (size_t group = 0; group < maxima_.size(); ++group) {
    if (!(maxima_[group] >= last.logit)) continue;
    const size_t begin = group * kLogitGroup, end = std::min(begin + kLogitGroup, logits.size());
    for (size_t i = begin; i < end; ++i) {
      const Candidate candidate = {logits[i], static_cast<int32_t>(i), 0};
      if (candidate.logit > last.logit || (candidate.logit == last.logit && candidate.token <= last.token))
        candidates_.push_back(candidate);
    }
  }
}

// candidates_ = the `count` highest, or fewer if fewer are above -inf. With as many groups as that, the
// count-th highest group maximum bounds the count-th highest logit from below.
void Sampler::gather_top(std::span<const float> logits, size_t count) {
  float bound = kLowest;
  if (count < maxima_.size()) {
    std::copy(maxima_.begin(), maxima_.end(), ranked_maxima_.begin());
    const auto nth = ranked_maxima_.begin() + static_cast<ptrdiff_t>(count) - 1;
    std::nth_element(ranked_maxima_.begin(), nth, ranked_maxima_.end(), std::greater<float>());
    bound = *nth;
  }
  gather(logits, {bound, vocabulary_});
  if (count >= candidates_.size()) return;
  std::nth_element(candidates_.begin(), candidates_.begin() + static_cast<ptrdiff_t>(count),
                   candidates_.end(), before);
  candidates_.resize(count);
}

double Sampler::weigh(const Row& row) {
  double total = 0;
  for (Candidate& candidate : candidates_) {
    candidate.weight = weight_of((candidate.logit - row.highest) * row.inverse_temperature, unit_);
    total += candidate.weight;
  }
  return total;
}

// Keeps the fewest highest candidates that together weigh at least `mass`, by bisection: O(candidates)
// expected.
void Sampler::cut_top_p(double mass) {
  size_t low = 0, high = candidates_.size();
  double above = 0;  // weight of [0, low), which is kept
  const auto at = [this](size_t i) { return candidates_.begin() + static_cast<ptrdiff_t>(i); };
  while (high - low > kSmall) {
    const size_t middle = (low + high) / 2;
    std::nth_element(at(low), at(middle), at(high), before);
    double half = 0;
    for (size_t i = low; i < middle; ++i) half += candidates_[i].weight;
    if (above + half >= mass) {
      high = middle;
    } else {
      above += half;
      low = middle;
    }
  }
  std::sort(at(low), at(high), before);
  while (low < high && above < mass) above += candidates_[low++].weight;
  candidates_.resize(std::max<size_t>(low, 1));
}

// Inverse CDF over the tokens from `last` upwards in rank, by id.
int32_t Sampler::draw_kept(const Row& row, Candidate last, double u) {
  gather(row.logits, last);
  double left = std::floor(u * weigh(row));
  for (const Candidate& candidate : candidates_) {
    left -= candidate.weight;
    if (left < 0) return candidate.token;
  }
  return first_of(row.logits, row.highest);  // not reached: u < 1 and sums are exact
}

// The same over all tokens: first the group, then the token in it.
int32_t Sampler::draw_all(const Row& row, double u) {
  double left = std::floor(u * group_weights(row.logits, row.highest, row.inverse_temperature, unit_, sums_));
  size_t group = 0;
  for (; group + 1 < sums_.size() && left >= sums_[group]; ++group) left -= sums_[group];
  const size_t begin = group * kLogitGroup, end = std::min(begin + kLogitGroup, row.logits.size());
  for (size_t i = begin; i < end; ++i) {
    left -= weight_of((row.logits[i] - row.highest) * row.inverse_temperature, unit_);
    if (left < 0) return static_cast<int32_t>(i);
  }
  return first_of(row.logits, row.highest);  // not reached
}

float Sampler::logprob(std::span<const float> logits, int32_t token) const {
  const float logit = logits[static_cast<size_t>(token)];
  return std::isnan(logit) ? kLowest : static_cast<float>(logit - log_sum_);
}

// Of the model's own distribution, before steps 2 to 10. Expects the group maxima of `logits`.
void Sampler::report_logprobs(std::span<const float> logits, float highest, const SamplingParams& params,
                              SampleResult& result) {
  log_sum_ = highest + std::log(group_weights(logits, highest, 1, unit_, sums_) / unit_);
  top_.clear();
  chosen_.clear();
  if (params.top_logprobs > 0) {
    gather_top(logits, static_cast<size_t>(params.top_logprobs));
    std::sort(candidates_.begin(), candidates_.end(), before);
    for (const Candidate& candidate : candidates_)
      top_.push_back({candidate.token, logprob(logits, candidate.token)});
  }
  for (int32_t id : params.logprob_ids) chosen_.push_back({id, logprob(logits, id)});
  result.top = top_;
  result.chosen = chosen_;
}

}  // namespace agentinfer
