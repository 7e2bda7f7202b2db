#include "model/weights.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "model/shards.h"
#include "tensor/check.h"

namespace agentinfer {
namespace {

class Loader {
 public:
  Loader(const ModelConfig& config, const Checkpoint& checkpoint, Backend& backend, const Group& group,
         const LoadOptions& options)
      : config_(config), checkpoint_(checkpoint), backend_(backend), group_(group), options_(options) {
    check_shards(config, group.size());
    for (const std::string& name : checkpoint.names()) total_ += checkpoint.find(name)->data.size();
  }

  Weights load() {
    Weights weights;
    const bool tied = config_.tie_word_embeddings;
    const char* head_name = tied ? "model.embed_tokens.weight" : "lm_head.weight";
    weights.head = linear({{head_name, mine(config_.vocab_size), all_columns()}}, {}, WeightFormat::kBF16);
    weights.embedding =
        tied ? backend_.make_tied_embedding(*weights.head, mine(config_.vocab_size).begin, config_.vocab_size)
             : embedding();
    weights.final_norm = vector("model.norm.weight");
    for (int64_t index = 0; index < config_.num_hidden_layers; ++index)
      weights.layers.push_back(layer("model.layers." + std::to_string(index) + "."));
    weights.bytes = bytes_;
    return weights;
  }

 private:
  // One matrix and the rectangle of it that this rank holds. Columns {0, 0} means all.
  struct Part {
    std::string name;  // with ".weight"
    Range rows;
    Range columns;
  };

  LayerWeights layer(const std::string& prefix) {
    const int64_t q_width = config_.num_attention_heads * config_.head_dim;
    const Range kv_rows = kv_rows_of_rank(config_, group_.rank(), group_.size());
    const std::string attention = prefix + "self_attn.", mlp = prefix + "mlp.";
    const WeightFormat format = config_.quantized_w8a8 ? WeightFormat::kW8A8 : options_.format;

    LayerWeights made;
    made.input_norm = vector(prefix + "input_layernorm.weight");
    made.post_attention_norm = vector(prefix + "post_attention_layernorm.weight");
    if (config_.sandwich_norm) {
      made.pre_mlp_norm = vector(prefix + "pre_mlp_layernorm.weight");
      made.post_mlp_norm = vector(prefix + "post_mlp_layernorm.weight");
    }
    if (config_.qk_norm) {
      made.q_norm = vector(attention + "q_norm.weight");
      made.k_norm = vector(attention + "k_norm.weight");
    }
    made.qkv = linear({{attention + "q_proj.weight", mine(q_width), all_columns()},
                       {attention + "k_proj.weight", kv_rows, all_columns()},
                       {attention + "v_proj.weight", kv_rows, all_columns()}},
                      bias_names(config_.qkv_bias, {attention + "q_proj.bias", attention + "k_proj.bias",
                                                    attention + "v_proj.bias"}),
                      format);
    // Row-parallel products are summed over ranks, so their bias is added on one rank only.
    const bool first_rank = group_.rank() == 0;
    made.o = linear({{attention + "o_proj.weight", {0, config_.hidden_size}, mine(q_width)}},
                    bias_names(config_.o_bias && first_rank, {attention + "o_proj.bias"}), format);
    made.gate_up =
        linear({{mlp + "gate_proj.weight", mine(config_.intermediate_size), all_columns()},
                {mlp + "up_proj.weight", mine(config_.intermediate_size), all_columns()}},
               bias_names(config_.mlp_bias, {mlp + "gate_proj.bias", mlp + "up_proj.bias"}), format, true);
    made.down =
        linear({{mlp + "down_proj.weight", {0, config_.hidden_size}, mine(config_.intermediate_size)}},
               bias_names(config_.mlp_bias && first_rank, {mlp + "down_proj.bias"}), format);
    return made;
  }

  std::unique_ptr<Linear> linear(const std::vector<Part>& parts, const std::vector<std::string>& bias,
                                 WeightFormat format, bool gated = false) {
    LinearSource source{
        .parts = {}, .bias = {}, .format = format, .name = parts.front().name, .gated = gated};
    for (const Part& part : parts) source.parts.push_back(slice(part));
    for (size_t i = 0; i < bias.size(); ++i) {
      const TensorView& tensor = tensor_named(bias[i]);
      source.bias.push_back(
          {.tensor = &tensor, .row_begin = parts[i].rows.begin, .row_end = parts[i].rows.end});
    }
    auto made = backend_.make_linear(source);
    bytes_ += made->bytes;
    for (const Part& part : parts) consumed(part.name);
    for (const std::string& name : bias) consumed(name);
    return made;
  }

  std::unique_ptr<Vector> vector(const std::string& name) {
    const TensorView& tensor = tensor_named(name);
    auto made = backend_.make_vector({.tensor = &tensor, .row_begin = 0, .row_end = tensor.shape.at(0)});
    bytes_ += made->bytes;
    consumed(name);
    return made;
  }

  std::unique_ptr<Embedding> embedding() {
    const std::string name = "model.embed_tokens.weight";
    auto made = backend_.make_embedding(slice({name, mine(config_.vocab_size), all_columns()}));
    bytes_ += made->bytes;
    consumed(name);
    return made;
  }

  Slice slice(const Part& part) {
    const TensorView& tensor = tensor_named(part.name);
    const bool whole = part.columns.end == 0;
    Slice made{.tensor = &tensor,
               .row_begin = part.rows.begin,
               .row_end = part.rows.end,
               .col_begin = whole ? 0 : part.columns.begin,
               .col_end = whole ? tensor.shape.at(1) : part.columns.end};
    if (tensor.dtype == DType::kI8) made.row_scale = &tensor_named(part.name + "_scale");
    return made;
  }

  const TensorView& tensor_named(const std::string& name) const {
    const TensorView* tensor = checkpoint_.find(name);
    ensure(tensor != nullptr, "tensor ", name, " vanished after the shape check");
    return *tensor;
  }

  // Frees the mapped pages behind a tensor that has been copied, reports progress and looks for an abort.
  void consumed(const std::string& name) {
    const TensorView& tensor = tensor_named(name);
    checkpoint_.release(tensor);
    done_ += tensor.data.size();
    if (options_.on_progress) options_.on_progress(std::min(done_, total_), total_);
    if (options_.aborted != nullptr && options_.aborted->load(std::memory_order_relaxed))
      fail(ErrorCode::kAborted, "loading was aborted");
  }

  Range mine(int64_t extent) const { return part_of_rank(extent, group_.rank(), group_.size()); }
  static Range all_columns() { return {0, 0}; }

  static std::vector<std::string> bias_names(bool present, std::vector<std::string> names) {
    return present ? std::move(names) : std::vector<std::string>{};
  }

  const ModelConfig& config_;
  const Checkpoint& checkpoint_;
  Backend& backend_;
  const Group& group_;
  const LoadOptions& options_;
  size_t total_ = 0, done_ = 0, bytes_ = 0;
};

}  // namespace

Weights load_weights(const ModelConfig& config, const Checkpoint& checkpoint, Backend& backend,
                     const Group& group, const LoadOptions& options) {
  return Loader(config, checkpoint, backend, group, options).load();
}

}  // namespace agentinfer
