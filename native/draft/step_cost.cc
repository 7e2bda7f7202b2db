#include "draft/step_cost.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "tensor/check.h"

namespace agentinfer {

namespace {

constexpr double kLocal = 0.1;    // how far one observation moves the points around it
constexpr double kGlobal = 0.01;  // ... and all points: a machine that slows down does so everywhere

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
    : points_(std::move(profile)), context_(context) {
  std::sort(points_.begin(), points_.end(),
            [](const CostPoint& a, const CostPoint& b) { return a.tokens < b.tokens; });
  if (points_.empty())
    fail(ErrorCode::kInvalidArgument, "step cost: expected at least one measured step, got none");
  for (const double seconds : {context.per_sequence, context.per_row})
    if (!(seconds >= 0 && std::isfinite(seconds)))
      fail(ErrorCode::kInvalidArgument, "step cost: expected context seconds >= 0, got ", seconds);
  for (size_t i = 0; i < points_.size(); ++i) {
    const CostPoint& point = points_[i];
    if (point.tokens <= 0 || !(point.seconds > 0) || !std::isfinite(point.seconds))
      fail(ErrorCode::kInvalidArgument, "step cost: expected positive tokens and seconds, got ", point.tokens,
           " and ", point.seconds);
    if (i > 0 && points_[i - 1].tokens == point.tokens)
      fail(ErrorCode::kInvalidArgument, "step cost: expected one time for ", point.tokens,
           " tokens, got two");
  }
  iron();
}

void StepCost::observe(int tokens, double beside, double seconds) {
  const double net = std::max(seconds - beside, 0.1 * seconds);
  const double ratio = std::clamp(net / cost_at(curve_, tokens), 0.5, 2.0);
  if (!std::isfinite(ratio)) return;
  const size_t last = points_.size() - 1;
  size_t right = 0;
  while (right < last && points_[right].tokens < tokens) ++right;
  const size_t left = right > 0 && points_[right].tokens > tokens ? right - 1 : right;
  double along = 1;
  if (left != right)
    along = static_cast<double>(tokens - points_[left].tokens) /
            static_cast<double>(points_[right].tokens - points_[left].tokens);
  const double global = std::max(kGlobal, 1.0 / ++observed_);
  observed_ = std::min(observed_, 1 << 20);
  for (CostPoint& point : points_) point.seconds *= 1 + global * (ratio - 1);
  points_[right].seconds *= 1 + kLocal * along * (ratio - 1);
  if (left != right) points_[left].seconds *= 1 + kLocal * (1 - along) * (ratio - 1);
  iron();
}

// Pool adjacent violators: the non-falling curve nearest to the points (least squares).
void StepCost::iron() {
  struct Pool {
    double sum;
    size_t count;
  };
  std::vector<Pool> pools;
  for (const CostPoint& point : points_) {
    pools.push_back({point.seconds, 1});
    while (pools.size() > 1) {
      const Pool &before = pools[pools.size() - 2], &after = pools.back();
      if (before.sum * static_cast<double>(after.count) <= after.sum * static_cast<double>(before.count))
        break;
      const Pool merged{before.sum + after.sum, before.count + after.count};
      pools.pop_back();
      pools.back() = merged;
    }
  }
  curve_ = points_;
  size_t i = 0;
  for (const Pool& pool : pools)
    for (size_t n = 0; n < pool.count; ++n) curve_[i++].seconds = pool.sum / static_cast<double>(pool.count);
}

}  // namespace agentinfer
