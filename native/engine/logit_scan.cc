#include "engine/logit_scan.h"

#include <limits>

namespace agentinfer {
namespace {

constexpr size_t kLanes = 8;
constexpr float kLowest = -std::numeric_limits<float>::infinity();

float full_group_maximum(const float* logits) {
  float lane[kLanes];
  for (float& value : lane) value = kLowest;
  for (size_t i = 0; i < kLogitGroup; i += kLanes) {
    for (size_t j = 0; j < kLanes; ++j) lane[j] = logits[i + j] > lane[j] ? logits[i + j] : lane[j];
  }
  float highest = lane[0];
  for (size_t j = 1; j < kLanes; ++j) highest = lane[j] > highest ? lane[j] : highest;
  return highest;
}

double full_group_weight(const float* logits, float highest, float inverse_temperature, double unit) {
  double weights[kLogitGroup];
  for (size_t i = 0; i < kLogitGroup; ++i)
    weights[i] = weight_of((logits[i] - highest) * inverse_temperature, unit);
  double lane[kLanes] = {};
  for (size_t i = 0; i < kLogitGroup; i += kLanes) {
    for (size_t j = 0; j < kLanes; ++j) lane[j] += weights[i + j];
  }
  double sum = 0;
  for (double value : lane) sum += value;
  return sum;
}

}  // namespace

float group_maxima(std::span<const float> logits, std::span<float> maxima) {
  const size_t full = logits.size() / kLogitGroup;
  float highest = kLowest;
  for (size_t g = 0; g < full; ++g) {
    maxima[g] = full_group_maximum(logits.data() + g * kLogitGroup);
    highest = std::max(highest, maxima[g]);
  }
  if (full == maxima.size()) return highest;
  maxima[full] = kLowest;
  for (float logit : logits.subspan(full * kLogitGroup))
    maxima[full] = logit > maxima[full] ? logit : maxima[full];
  return std::max(highest, maxima[full]);
}

double group_weights(std::span<const float> logits, float highest, float inverse_temperature, double unit,
                     std::span<double> sums) {
  const size_t full = logits.size() / kLogitGroup;
  double total = 0;
  for (size_t g = 0; g < full; ++g) {
    sums[g] = full_group_weight(logits.data() + g * kLogitGroup, highest, inverse_temperature, unit);
    total += sums[g];
  }
  if (full == sums.size()) return total;
  sums[full] = 0;
  for (float logit : logits.subspan(full * kLogitGroup))
    sums[full] += weight_of((logit - highest) * inverse_temperature, unit);
  return total + sums[full];
}

}  // namespace agentinfer
