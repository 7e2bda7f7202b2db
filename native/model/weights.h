#pragma once
// The weights of one rank, in the backend's own form, made from a checkpoint folder.

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

#include "backend/backend.h"
#include "model/checkpoint.h"
#include "model/config.h"
#include "parallel/group.h"

namespace agentinfer {

struct LayerWeights {
  std::unique_ptr<Vector> input_norm;
  std::unique_ptr<Vector>
      post_attention_norm;               // with sandwich_norm: on the attention's output; else before the MLP
  std::unique_ptr<Vector> pre_mlp_norm;  // sandwich_norm only
  std::unique_ptr<Vector> post_mlp_norm;   // sandwich_norm only
  std::unique_ptr<Vector> q_norm, k_norm;  // qk_norm only
  std::unique_ptr<Linear> qkv;             // hidden -> [q | k | v] of this rank's heads
  std::unique_ptr<Linear> o;               // this rank's heads -> hidden; its bias lives on rank 0 alone
  std::unique_ptr<Linear> gate_up;         // hidden -> [gate | up] of this rank's part
  std::unique_ptr<Linear> down;            // this rank's part -> hidden
};

struct Weights {
  // Destroyed in reverse order: the tied embedding borrows the head.
  std::unique_ptr<Linear> head;          // hidden -> this rank's part of the vocabulary, always 16-bit
  std::unique_ptr<Embedding> embedding;  // this rank's part of the vocabulary
  std::unique_ptr<Vector> final_norm;
  std::vector<LayerWeights> layers;
  size_t bytes = 0;
};

struct LoadOptions {
  WeightFormat format = WeightFormat::kBF16;  // ignored for folders that are already int8
  // Called after each tensor group on the loading thread with source bytes read so far and in total.
  std::function<void(size_t done, size_t total)> on_progress;
  const std::atomic<bool>* aborted = nullptr;  // polled between tensor groups; throws kAborted
};

// REQUIRES: check_tensors(config, checkpoint) has passed. Throws kInvalidArgument where the network does not
// divide by the group's size (model/shards.h). Pages of the mapped files are released as they are consumed.
Weights load_weights(const ModelConfig& config, const Checkpoint& checkpoint, Backend& backend,
                     const Group& group, const LoadOptions& options);

}  // namespace agentinfer
