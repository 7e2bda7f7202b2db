#include "draft/step_cost.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "tensor/check.h"

namespace agentinfer {

namespace {

constexpr double kLocal = 0.1;         // how far one observation moves the points around it
constexpr double kFitMemory = 256;     // steps the fit remembers
constexpr double kScalePrior = 0.002;  // weight of "all scale, no offset", in squares of the mean profile
constexpr double kSettled = 8;         // from so many steps on, outliers are cut

}  // namespace

double cost_at(std::span<const CostPoint> curve, int tokens) {
  const size_t last = curve.size() - 1;
  if (last == 0 || tokens <= curve[0].tokens) return curve[0].seconds;
  size_t i = 1;
  while (i < last && curve[i].tokens < tokens) ++i;
  const CostPoint &a = curve[i - 1], &b = curve[i];
  const double along = static_cast<double>(tokens - a.tokens) / static_cast<double>(b.tokens - a.tokens);
  return a.seconds + (b.seconds - a.seconds) * along;
}

StepCost::StepCost(std::vector<CostPoint> profile, ContextCost context)
    : profile_(std::move(profile)), context_(context) {
  std::sort(profile_.begin(), profile_.end(),
            [](const CostPoint& a, const CostPoint& b) { return a.tokens < b.tokens; });
  if (profile_.empty())
    fail(ErrorCode::kInvalidArgument, "step cost: expected at least one measured step, got none");
  for (const double seconds : {context.per_sequence, context.per_row})
    if (!(seconds >= 0 && std::isfinite(seconds)))
      fail(ErrorCode::kInvalidArgument, "step cost: expected context seconds >= 0, got ", seconds);
  for (size_t i = 0; i < profile_.size(); ++i) {
    const CostPoint& point = profile_[i];
    if (point.tokens <= 0 || !(point.seconds > 0) || !std::isfinite(point.seconds))
      fail(ErrorCode::kInvalidArgument, "step cost: expected positive tokens and seconds, got ", point.tokens,
           " and ", point.seconds);
    if (i > 0 && profile_[i - 1].tokens == point.tokens)
      fail(ErrorCode::kInvalidArgument, "step cost: expected one time for ", point.tokens,
           " tokens, got two");
  }
  factors_.assign(profile_.size(), 1);
  iron();
  profile_ = curve_;
}

void StepCost::Fit::add(double profile, double seconds) {
  const double fade = weight < kFitMemory ? 1 : 1 - 1 / kFitMemory;
  weight = weight * fade + 1;
  x = x * fade + profile;
  y = y * fade + seconds;
  xx = xx * fade + profile * profile;
  xy = xy * fade + profile * seconds;
  const double mean_x = x / weight, mean_y = y / weight;
  const double prior = kScalePrior * mean_x * mean_x;
  const double covariance = xy / weight - mean_x * mean_y,
               variance = std::max(0.0, xx / weight - mean_x * mean_x);
  const double whole = mean_y / mean_x;
  scale = std::clamp((covariance + prior * whole) / (variance + prior), 0.02 * whole, whole);
  offset = mean_y - scale * mean_x;
}

void StepCost::observe(int tokens, double beside, double seconds) {
  double net = std::max(seconds - beside, 0.1 * seconds);
  if (!std::isfinite(net)) return;
  const double expected = cost_at(curve_, tokens);
  if (fit_.weight >= kSettled) net = std::clamp(net, expected / 2, expected * 2);
  net = std::max(net, 1e-9);
  fit_.add(cost_at(profile_, tokens), net);
  iron();
  locate(tokens, net);
  iron();
}

// What the fit leaves is the points' own.
void StepCost::locate(int tokens, double seconds) {
  const double ratio = std::clamp(seconds / cost_at(curve_, tokens), 0.5, 2.0);
  const size_t last = profile_.size() - 1;
  size_t right = 0;
  while (right < last && profile_[right].tokens < tokens) ++right;
  const size_t left = right > 0 && profile_[right].tokens > tokens ? right - 1 : right;
  double along = 1;
  if (left != right)
    along = static_cast<double>(tokens - profile_[left].tokens) /
            static_cast<double>(profile_[right].tokens - profile_[left].tokens);
  factors_[right] *= 1 + kLocal * along * (ratio - 1);
  if (left != right) factors_[left] *= 1 + kLocal * (1 - along) * (ratio - 1);
}

// Pool adjacent violators: the non-falling curve nearest to the points (least squares).
void StepCost::iron() {
  struct Pool {
    double sum;
    size_t count;
  };
  std::vector<Pool> pools;
  for (size_t i = 0; i < profile_.size(); ++i) {
    pools.push_back({factors_[i] * (fit_.scale * profile_[i].seconds + fit_.offset), 1});
    while (pools.size() > 1) {
      const Pool &before = pools[pools.size() - 2], &after = pools.back();
      if (before.sum * static_cast<double>(after.count) <= after.sum * static_cast<double>(before.count))
        break;
      const Pool merged{before.sum + after.sum, before.count + after.count};
      pools.pop_back();
      pools.back() = merged;
    }
  }
  curve_ = profile_;
  size_t i = 0;
  for (const Pool& pool : pools)
    for (size_t n = 0; n < pool.count; ++n) curve_[i++].seconds = pool.sum / static_cast<double>(pool.count);
}

}  // namespace agentinfer
