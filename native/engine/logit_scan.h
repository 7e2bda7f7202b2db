#pragma once
// Passes over one row of logits, written so that compilers vectorise them. No state, any thread.
//
// Weights. A token's probability before normalisation, exp((logit - highest) / temperature) in (0, 1], is
// held as an integer multiple of 1 / unit in a double, with unit chosen so that the sum over the vocabulary
// stays below 2^53. Sums are then exact, hence the same in whatever order they are formed.

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

namespace agentinfer {

inline constexpr size_t kLogitGroup = 64;

inline size_t logit_groups(size_t vocabulary) {
  return (vocabulary + kLogitGroup - 1) / kLogitGroup;
}

// maxima[g] = the highest of logits [64 g, 64 g + 64), NaN left out (-inf if nothing is left). Returns the
// highest of all.
float group_maxima(std::span<const float> logits, std::span<float> maxima);

// exp(x) in (0, 1] for x <= 0, relative error below 2e-7; e^-87 for what is below -87, and for NaN.
inline float exp_nonpositive(float x) {
  constexpr float kRound =
      12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer, which is then in the low bits
  // Negative floats are in reverse order as integers, NaN behind -inf: clamping as integers needs no float
  // comparison, which compilers would not vectorise for fear of a trap.
  constexpr int32_t kSign = std::numeric_limits<int32_t>::min(), kBottom = std::bit_cast<int32_t>(-87.0f);
  const int32_t bits = std::bit_cast<int32_t>(x) | kSign;
  const float clamped = std::bit_cast<float>(bits < kBottom ? bits : kBottom);
  const float shifted = clamped * 1.44269504f + kRound;
  const float n = shifted - kRound;
  const float r = (clamped - n * 0.693145752f) -
                  n * 1.42860677e-6f;  // ln 2 in two parts; the first has 15 bits, n at most 7
  float p = 1.0f / 5040;
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const uint32_t exponent = (std::bit_cast<uint32_t>(shifted) + 127u)
                            << 23;  // the bits of kRound above n are shifted out
  return p * std::bit_cast<float>(exponent);
}

inline double weight_unit(size_t vocabulary) {
  return static_cast<double>(uint64_t{1} << std::min(53 - static_cast<int>(std::bit_width(vocabulary)), 50));
}

// The integer weight: exp_nonpositive times unit, rounded to the nearest integer.
inline double weight_of(float scaled, double unit) {
  constexpr double kRound = 6755399441055744.0;  // 1.5 * 2^52
  return static_cast<double>(exp_nonpositive(scaled)) * unit + kRound - kRound;
}

// sums[g] = the weights of group g; returns their sum.
double group_weights(std::span<const float> logits, float highest, float inverse_temperature, double unit,
                     std::span<double> sums);

}  // namespace agentinfer
