#pragma once
// The answer to silent wrong output: before a model is trusted to a device, a small one of its kind runs on
// it and on the CPU, and their logits are compared. It has the model's head size, rotation, biases and norms,
// prefill and decode, 16-bit or int8 weights, and takes a fraction of a second.

#include <string>

#include "backend/backend.h"
#include "model/config.h"

namespace agentinfer {

struct SelfCheckResult {
  double worst = 0;  // largest difference of a logit, of the largest logit
  double allowed = 0;
  std::string problem;  // empty: the device computes what the CPU does
};

// `device` is a backend of its own, unused before and after; on its thread. Throws what the device throws.
// `device_config`: for tests, what the device is made to compute instead.
SelfCheckResult self_check(const ModelConfig& config, WeightFormat format, Backend& device, int block_size,
                           const ModelConfig* device_config = nullptr);

}  // namespace agentinfer
