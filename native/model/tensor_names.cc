#include "model/tensor_names.h"

namespace agentinfer {

namespace {

class Lister {
 public:
  explicit Lister(const ModelConfig& config) : config_(config) {}

  std::vector<ExpectedTensor> list() {
    add("model.embed_tokens.weight", {config_.vocab_size, config_.hidden_size}, TensorRole::kEmbedding);
    // Some writers store one frequency table for the model, older ones one for each layer.
    add("model.rotary_emb.inv_freq", {config_.head_dim / 2}, TensorRole::kInvFreq, true);
    for (int64_t i = 0; i < config_.num_hidden_layers; ++i) layer("model.layers." + std::to_string(i) + ".");
    norm("model.norm", config_.hidden_size);
    // Tied: a redundant copy of the embedding may have been saved.
    add("lm_head.weight", {config_.vocab_size, config_.hidden_size}, TensorRole::kHead,
        config_.tie_word_embeddings);
    return std::move(list_);
  }

 private:
  void layer(const std::string& prefix) {
    const int64_t hidden = config_.hidden_size, ffn = config_.intermediate_size;
    const int64_t q = config_.num_attention_heads * config_.head_dim;
    const int64_t kv = config_.num_key_value_heads * config_.head_dim;
    norm(prefix + "input_layernorm", hidden);
    linear(prefix + "self_attn.q_proj", q, hidden, config_.qkv_bias);
    linear(prefix + "self_attn.k_proj", kv, hidden, config_.qkv_bias);
    linear(prefix + "self_attn.v_proj", kv, hidden, config_.qkv_bias);
    linear(prefix + "self_attn.o_proj", hidden, q, config_.o_bias);
    if (config_.qk_norm) {
      norm(prefix + "self_attn.q_norm", config_.head_dim);
      norm(prefix + "self_attn.k_norm", config_.head_dim);
    }
    add(prefix + "self_attn.rotary_emb.inv_freq", {config_.head_dim / 2}, TensorRole::kInvFreq, true);
    norm(prefix + "post_attention_layernorm", hidden);
    if (config_.sandwich_norm) {
      norm(prefix + "pre_mlp_layernorm", hidden);
      norm(prefix + "post_mlp_layernorm", hidden);
    }
    linear(prefix + "mlp.gate_proj", ffn, hidden, config_.mlp_bias);
    linear(prefix + "mlp.up_proj", ffn, hidden, config_.mlp_bias);
    linear(prefix + "mlp.down_proj", hidden, ffn, config_.mlp_bias);
  }

  void norm(const std::string& name, int64_t size) { add(name + ".weight", {size}, TensorRole::kNorm); }

  void linear(const std::string& name, int64_t rows, int64_t cols, bool bias) {
    add(name + ".weight", {rows, cols}, TensorRole::kMatrix);
    if (config_.quantized_w8a8) {
      add(name + ".weight_scale", {rows}, TensorRole::kScale);
      add(name + ".weight_offset", {rows}, TensorRole::kOffset, true);
    }
    if (bias) add(name + ".bias", {rows}, TensorRole::kBias);
  }

  void add(std::string name, std::vector<int64_t> shape, TensorRole role, bool optional = false) {
    list_.push_back({std::move(name), std::move(shape), role, optional});
  }

  const ModelConfig& config_;
  std::vector<ExpectedTensor> list_;
};

}  // namespace

std::vector<ExpectedTensor> expected_tensors(const ModelConfig& config) {
  return Lister(config).list();
}

}  // namespace agentinfer
