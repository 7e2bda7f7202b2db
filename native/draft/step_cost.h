#pragma once
// How long a step takes: T(rows), and what reading the KV context adds (ContextCost). The engine measures
// both on the running backend at start (a few row counts); every step then refines T. T never falls as rows
// grow: noise is ironed out by isotonic regression (pool adjacent violators).
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

// Seconds per token of KV context: once for each sequence of a step, and once for each row. A device that
// reads a sequence's context once for all its rows has next to no `per_row`; where attention is bound by
// arithmetic it is all there is, and verifying a draft over a long context is dear.
struct ContextCost {
  double per_sequence = 0, per_row = 0;
};

class StepCost {
 public:
  // `profile`: measured points in any order, one for each number of tokens. Throws kInvalidArgument: no
  // points, a repeated count, seconds or tokens not positive, context cost negative, anything not finite.
  explicit StepCost(std::vector<CostPoint> profile, ContextCost context = {});

  // A step of `tokens` rows took `seconds`, of which its context should have taken `beside`. One outlier
  // moves little.
  void observe(int tokens, double beside, double seconds);

  std::span<const CostPoint> curve() const { return curve_; }
  const ContextCost& context() const { return context_; }
  double at(int tokens) const { return cost_at(curve_, tokens); }

 private:
  // What turns the profile into times as they are now: seconds = scale * profile + offset, by least squares
  // with fading weights. A device that others use, or waiting for its threads, adds to every step; and the
  // profile was measured on parts of the model.
  struct Fit {
    double weight = 0, x = 0, y = 0, xx = 0, xy = 0;
    void add(double profile, double seconds);
    double scale = 1, offset = 0;
  };
  void locate(int tokens, double seconds);
  void iron();

  std::vector<CostPoint> profile_;  // as given, ironed
  std::vector<double> factors_;     // how far each point is from the fit
  std::vector<CostPoint> curve_;    // monotone
  ContextCost context_;
  Fit fit_;
};

}  // namespace agentinfer
