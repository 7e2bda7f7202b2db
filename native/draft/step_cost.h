#pragma once
// How long a step takes: T(tokens) + context_seconds * context tokens. The engine measures a profile on the
// running backend at start (a few token counts); every step then refines it. T never falls as tokens grow:
// noise is ironed out by isotonic regression (pool adjacent violators).
//
// Thread safety: none; the engine's thread owns it.

#include <span>
#include <vector>

namespace agentinfer {

struct CostPoint {
  int tokens = 0;  // rows of the forward pass, of all sequences together
  double seconds = 0;
};

// T at `tokens`: linear between points, extrapolated with the last slope, constant before the first.
// REQUIRES: one point at least, tokens strictly rising, seconds positive and not falling.
// lib/policy/speculate.ts computes the same bits.
double cost_at(std::span<const CostPoint> curve, int tokens);

class StepCost {
 public:
  // `profile`: measured points in any order, one for each number of tokens. `context_seconds`: what one more
  // token of KV context adds to a step, 0 if not measured. Throws kInvalidArgument: no points, a repeated
  // count, seconds or tokens not positive, not finite.
  explicit StepCost(std::vector<CostPoint> profile, double context_seconds = 0);

  // A step of `tokens` rows over `context` tokens of KV (of all its sequences together) took `seconds`. One
  // outlier moves little.
  void observe(int tokens, double context, double seconds);

  std::span<const CostPoint> curve() const { return curve_; }
  double context_seconds() const { return context_seconds_; }
  double at(int tokens, double context) const { return cost_at(curve_, tokens) + context_seconds_ * context; }

 private:
  void iron();

  std::vector<CostPoint> points_;  // as measured
  std::vector<CostPoint> curve_;   // monotone
  double context_seconds_;
};

}  // namespace agentinfer
