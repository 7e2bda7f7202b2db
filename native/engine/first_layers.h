#pragma once
// The self-check of the model itself: its first layers with the weights as they lie on the devices, cut over
// the ranks, beside the same layers on the CPU. Every opened device is checked, with its collectives. A wrong
// upload, a wrong cut, a card that computes something else show here.
//
// What it takes: on the host the first layers in the CPU's form until the devices have been checked (one
// layer of 7B: 400 MB; at most kHostBytes, at least one layer), of the vocabulary only what the text needs;
// on each device the activations of 48 rows.

#include <mutex>
#include <vector>

#include "engine/self_check.h"
#include "model/checkpoint.h"

namespace agentinfer {

class FirstLayers {
 public:
  static constexpr size_t kHostBytes = size_t{1} << 30;
  static constexpr int kMostLayers = 2;

  // Computes on the CPU what the devices must give. REQUIRES: check_tensors has passed.
  FirstLayers(const ModelConfig& config, const Checkpoint& checkpoint, WeightFormat format);

  // A WeightsLook: on each rank's thread, with its whole weights, which are as before when it returns, and
  // worth nothing when it throws.
  void check(int rank, Weights& weights, Backend& backend, Group& group, int block_size);

  // Of the worst rank, which the problem names. Behind all of check().
  const SelfCheckResult& result() const { return result_; }
  int layers() const { return static_cast<int>(first_.num_hidden_layers); }

 private:
  ModelConfig first_;  // of the first layers alone
  const WeightFormat format_;
  int64_t vocabulary_;
  std::vector<float> expected_;
  std::mutex mutex_;
  SelfCheckResult result_;
};

}  // namespace agentinfer
