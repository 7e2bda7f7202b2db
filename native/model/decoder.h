#pragma once
// The forward pass of a dense decoder, written once for every backend: embedding, layers of attention and SwiGLU, head.
// Covers openPangu Embedded, Llama, Qwen2 and Qwen3; the differences are in the config and in which weights exist.
//
// One Decoder belongs to one rank's thread. It owns the activations (taken once, at construction) and the KV cache.

#include <functional>
#include <memory>

#include "backend/backend.h"
#include "model/config.h"
#include "model/weights.h"
#include "parallel/group.h"

namespace agentinfer {

struct DecoderOptions {
  StepShape shape;
  DType kv_dtype = DType::kF16;
  int block_size = 32;   // tokens in a KV block
  int blocks = 0;        // device blocks
  int host_blocks = 0;   // host tier blocks
};

class Decoder {
 public:
  // `config`, `weights`, `backend` and `group` are borrowed and outlive the decoder.
  Decoder(const ModelConfig& config, const Weights& weights, Backend& backend, Group& group,
          const DecoderOptions& options);

  // Gets logits rows [first, first + count) of the step's logit rows, as rows 0..count of `logits` (whole vocabulary, f32).
  using LogitsSink = std::function<void(int first, int count, const Activation& logits)>;

  // Runs one step over the cache and hands its logits to `sink` in order, at most shape.max_logit_rows at a time.
  // Every row's K and V is in the cache afterwards. Throws what the backend throws; the cache slots of this step's rows are
  // then undefined, all others untouched.
  void forward(const StepInputs& inputs, const LogitsSink& sink);

  // Runs the work of the first `layers` layers, or their attention alone, on this rank alone, for its time: results mean
  // nothing, K and V are written at the inputs' slots. Returns when it is done.
  void rehearse(const StepInputs& inputs, int layers);
  void rehearse_attention(const StepInputs& inputs, int layers);

  Backend& backend() { return backend_; }
  KvCache& cache() { return *cache_; }
  const KvCache& cache() const { return *cache_; }
  const DecoderOptions& options() const { return options_; }
  // Bytes of the activations; the KV cache's are cache().bytes.
  size_t workspace_bytes() const { return workspace_bytes_; }

 private:
  void layer(int index, int rows);
  void attention_block(int index, const LayerWeights& weights, int rows);
  void mlp_block(const LayerWeights& weights, int rows);
  void head(int first, int count, const LogitsSink& sink);
  std::unique_ptr<Activation> activation(int64_t rows, int64_t cols, Feeds feeds);

  const ModelConfig& config_;
  const Weights& weights_;
  Backend& backend_;
  Group& group_;
  const DecoderOptions options_;
  const float eps_;
  size_t workspace_bytes_ = 0;

  std::unique_ptr<Activation> residual_;     // [rows, hidden] the residual stream
  std::unique_ptr<Activation> normed_;       // [rows, hidden] input of qkv and gate_up
  std::unique_ptr<Activation> qkv_;          // [rows, (heads + 2 kv_heads) * head_dim]
  std::unique_ptr<Activation> attended_;     // [rows, heads * head_dim]
  std::unique_ptr<Activation> branch_;       // [rows, hidden] output of o or down
  std::unique_ptr<Activation> branch_normed_;  // [rows, hidden] sandwich norm only
  std::unique_ptr<Activation> gate_up_;      // [rows, 2 * ffn]
  std::unique_ptr<Activation> gated_;        // [rows, ffn]
  std::unique_ptr<Activation> picked_;       // [logit rows, hidden]
  std::unique_ptr<Activation> picked_normed_;
  std::unique_ptr<Activation> logits_part_;  // [logit rows, vocab / group size]; absent in a group of one
  std::unique_ptr<Activation> logits_;       // [logit rows, vocab]
  std::unique_ptr<KvCache> cache_;
};

}  // namespace agentinfer
