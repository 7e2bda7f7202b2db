#pragma once
// The forward pass of a dense decoder, written once for every backend: embedding, layers of attention and
// SwiGLU, head. Covers openPangu Embedded, Llama, Qwen2 and Qwen3; the differences are in the config and in
// which weights exist.
//
// One Decoder belongs to one rank's thread. It owns the activations (taken once, at construction) and the KV
// cache.
//
// Tensor parallel: q, k, v, gate and up hold this rank's rows, o and down its columns (their products are
// summed over the ranks), head and embedding its part of the vocabulary. The residual stream is whole, and
// the same, on every rank.

#include <memory>

#include "backend/backend.h"
#include "model/config.h"
#include "model/forward_pass.h"
#include "model/weights.h"
#include "parallel/group.h"

namespace agentinfer {

class Decoder final : public ForwardPass {
 public:
  // `config`, `weights`, `backend` and `group` are borrowed and outlive the decoder.
  Decoder(const ModelConfig& config, const Weights& weights, Backend& backend, Group& group,
          const DecoderOptions& options);

  void forward(const StepInputs& inputs, const LogitsSink& sink) override;
  void copy_block(int32_t from, int32_t to) override { backend_.copy_block(*cache_, from, to); }
  void block_to_host(int32_t block, int32_t host_block) override {
    backend_.block_to_host(*cache_, block, host_block);
  }
  void block_from_host(int32_t host_block, int32_t block) override {
    backend_.block_from_host(*cache_, host_block, block);
  }

  // Runs the work of the first `layers` layers, or their attention alone, on this rank alone, for its time:
  // results mean nothing, K and V are written at the inputs' slots. Returns when it is done.
  void rehearse(const StepInputs& inputs, int layers);
  void rehearse_attention(const StepInputs& inputs, int layers);

  Backend& backend() override { return backend_; }
  KvCache& cache() { return *cache_; }
  const KvCache& cache() const { return *cache_; }
  const DecoderOptions& options() const override { return options_; }
  // Bytes of the activations and of the backend's work memory; the KV cache's are cache().bytes.
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

  std::unique_ptr<Activation> residual_;       // [rows, hidden] the residual stream
  std::unique_ptr<Activation> normed_;         // [rows, hidden] input of qkv and gate_up
  std::unique_ptr<Activation> qkv_;            // [rows, (heads + 2 kv_heads) * head_dim]
  std::unique_ptr<Activation> attended_;       // [rows, heads * head_dim]
  std::unique_ptr<Activation> branch_;         // [rows, hidden] output of o or down
  std::unique_ptr<Activation> branch_normed_;  // [rows, hidden] sandwich norm only
  std::unique_ptr<Activation> gate_up_;        // [rows, 2 * ffn] for gated_linear alone
  std::unique_ptr<Activation> gated_;          // [rows, ffn]
  std::unique_ptr<Activation> picked_;         // [logit rows, hidden]
  std::unique_ptr<Activation> picked_normed_;
  std::unique_ptr<Activation> logits_part_;  // [logit rows, vocab / group size]; absent in a group of one
  std::unique_ptr<Activation> logits_;       // [logit rows, vocab]
  std::unique_ptr<KvCache> cache_;
};

}  // namespace agentinfer
