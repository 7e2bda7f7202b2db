#include "model/decoder.h"

#include <algorithm>
#include <cmath>

#include "model/shards.h"
#include "tensor/check.h"

namespace agentinfer {

Decoder::Decoder(const ModelConfig& config, const Weights& weights, Backend& backend, Group& group,
                 const DecoderOptions& options)
    : config_(config),
      weights_(weights),
      backend_(backend),
      group_(group),
      options_(options),
      eps_(static_cast<float>(config.rms_norm_eps)) {
  const int ranks = group.size();
  const AttentionShape attention{
      .heads = static_cast<int>(config.num_attention_heads) / ranks,
      .kv_heads = static_cast<int>(kv_heads_of_rank(config, ranks)),
      .head_dim = static_cast<int>(config.head_dim),
      .scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(config.head_dim))),
  };
  workspace_bytes_ = backend_.prepare(options.shape, attention, RopeTable{rope_inv_freq(config)});

  const int64_t rows = options.shape.max_rows, hidden = config.hidden_size;
  const int64_t ffn = config.intermediate_size / ranks, head_width = config.head_dim;
  residual_ = activation(rows, hidden, Feeds::kOther);
  normed_ = activation(rows, hidden, Feeds::kLinear);
  qkv_ = activation(rows, (attention.heads + 2 * attention.kv_heads) * head_width, Feeds::kOther);
  attended_ = activation(rows, attention.heads * head_width, Feeds::kLinear);
  branch_ = activation(rows, hidden, Feeds::kOther);
  if (config.sandwich_norm) branch_normed_ = activation(rows, hidden, Feeds::kOther);
  gate_up_ = activation(rows, 2 * ffn, Feeds::kGate);
  gated_ = activation(rows, ffn, Feeds::kLinear);

  const int64_t logit_rows = options.shape.max_logit_rows;
  picked_ = activation(logit_rows, hidden, Feeds::kOther);
  picked_normed_ = activation(logit_rows, hidden, Feeds::kOther);
  if (ranks > 1) logits_part_ = activation(logit_rows, config.vocab_size / ranks, Feeds::kOther);
  logits_ = activation(logit_rows, config.vocab_size, Feeds::kOther);

  const KvLayout layout{.layers = static_cast<int>(config.num_hidden_layers),
                        .kv_heads = attention.kv_heads,
                        .head_dim = attention.head_dim,
                        .block_size = options.block_size,
                        .dtype = options.kv_dtype};
  cache_ = backend_.make_kv_cache(layout, options.blocks, options.host_blocks);
}

std::unique_ptr<Activation> Decoder::activation(int64_t rows, int64_t cols, Feeds feeds) {
  auto made = backend_.make_activation(rows, cols, feeds);
  workspace_bytes_ += made->bytes;
  return made;
}

void Decoder::forward(const StepInputs& inputs, const LogitsSink& sink) {
  const int rows = static_cast<int>(inputs.tokens.size());
  ensure(rows > 0 && rows <= options_.shape.max_rows, "step of ", rows, " rows, room for ",
         options_.shape.max_rows);
  backend_.begin_step(inputs, *cache_);
  backend_.embed(*weights_.embedding, *residual_);
  group_.all_reduce(backend_, *residual_, rows);
  backend_.rms_norm(*residual_, *weights_.layers.front().input_norm, eps_, rows, *normed_);
  for (int index = 0; index < static_cast<int>(weights_.layers.size()); ++index) layer(index, rows);

  const int wanted = static_cast<int>(inputs.logit_rows.size());
  for (int first = 0; first < wanted; first += options_.shape.max_logit_rows)
    head(first, std::min(options_.shape.max_logit_rows, wanted - first), sink);
  if (wanted == 0) backend_.synchronize();
}

// On entry normed_ holds this layer's normalised input; on exit the next layer's, or after the last layer
// nothing of use.
void Decoder::layer(int index, int rows) {
  const LayerWeights& weights = weights_.layers[static_cast<size_t>(index)];
  attention_block(index, weights, rows);
  mlp_block(weights, rows);
  const Activation& branch = config_.sandwich_norm ? *branch_normed_ : *branch_;
  if (index + 1 == static_cast<int>(weights_.layers.size())) {
    backend_.add(*residual_, branch, rows);
  } else {
    const LayerWeights& next = weights_.layers[static_cast<size_t>(index) + 1];
    backend_.add_rms_norm(*residual_, branch, *next.input_norm, eps_, rows, *normed_);
  }
}

// Attention, its residual addition and the norm before the MLP.
void Decoder::attention_block(int index, const LayerWeights& weights, int rows) {
  backend_.linear(*normed_, *weights.qkv, rows, *qkv_);
  backend_.write_kv(index, *qkv_, weights.q_norm.get(), weights.k_norm.get(), eps_);
  backend_.attention(index, *qkv_, *attended_);
  backend_.linear(*attended_, *weights.o, rows, *branch_);
  group_.all_reduce(backend_, *branch_, rows);
  if (config_.sandwich_norm) {
    backend_.rms_norm(*branch_, *weights.post_attention_norm, eps_, rows, *branch_normed_);
    backend_.add_rms_norm(*residual_, *branch_normed_, *weights.pre_mlp_norm, eps_, rows, *normed_);
  } else {
    backend_.add_rms_norm(*residual_, *branch_, *weights.post_attention_norm, eps_, rows, *normed_);
  }
}

// Leaves the branch's value in branch_, or with sandwich norm in branch_normed_; the caller adds it.
void Decoder::mlp_block(const LayerWeights& weights, int rows) {
  backend_.gated_linear(*normed_, *weights.gate_up, rows, *gate_up_, *gated_);
  backend_.linear(*gated_, *weights.down, rows, *branch_);
  group_.all_reduce(backend_, *branch_, rows);
  if (config_.sandwich_norm) backend_.rms_norm(*branch_, *weights.post_mlp_norm, eps_, rows, *branch_normed_);
}

void Decoder::head(int first, int count, const LogitsSink& sink) {
  backend_.gather_rows(*residual_, first, count, *picked_);
  backend_.rms_norm(*picked_, *weights_.final_norm, eps_, count, *picked_normed_);
  if (group_.size() == 1) {
    backend_.linear(*picked_normed_, *weights_.head, count, *logits_);
  } else {
    backend_.linear(*picked_normed_, *weights_.head, count, *logits_part_);
    group_.all_gather(backend_, *logits_part_, count, *logits_);
  }
  sink(first, count, *logits_);
}

}  // namespace agentinfer
