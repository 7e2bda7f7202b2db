#pragma once
// The answer to silent wrong output: before a model is trusted to a device, a small one of its kind runs on
// it and on the CPU, and their logits are compared. It has the model's head size, rotation, biases and norms,
// prefill and decode, 16-bit or int8 weights, and takes a fraction of a second: a device that is no good is
// known before the weights are read. What the loaded model itself computes: engine/first_layers.h.

#include <string>
#include <vector>

#include "backend/backend.h"
#include "model/config.h"
#include "model/weights.h"
#include "parallel/group.h"

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

// Of every token of a fixed text, the logits of the first `vocabulary` tokens: a chunk of prefill, then
// decode steps, which a device may capture and replay. The text is made of tokens below `vocabulary`.
std::vector<float> self_check_logits(const ModelConfig& config, const Weights& weights, Backend& backend,
                                     Group& group, DType kv_dtype, int block_size, int64_t vocabulary);

// `what` begins the sentence of the problem: "the first 2 layers give".
SelfCheckResult compare_logits(const std::vector<float>& got, const std::vector<float>& expected,
                               WeightFormat format, const std::string& what);

}  // namespace agentinfer
