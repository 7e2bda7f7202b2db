#include "model/config_keys.h"

#include <algorithm>
#include <iterator>
#include <span>
#include <string>
#include <string_view>

namespace agentinfer {

namespace {

using Keys = std::span<const std::string_view>;

bool contains(Keys keys, std::string_view key) {
  return std::find(keys.begin(), keys.end(), key) != keys.end();
}

// Read by config.cc and config_rope.cc, for every architecture.
constexpr std::string_view kUnderstood[] = {"agentinfer",          "architectures",
                                            "bos_token_id",        "dtype",
                                            "eos_token_id",        "head_dim",
                                            "hidden_act",          "hidden_size",
                                            "intermediate_size",   "max_position_embeddings",
                                            "model_type",          "num_attention_heads",
                                            "num_hidden_layers",   "num_key_value_heads",
                                            "pad_token_id",        "quantize",
                                            "rms_norm_eps",        "rope_parameters",
                                            "rope_scaling",        "rope_theta",
                                            "tie_word_embeddings", "torch_dtype",
                                            "vocab_size"};

constexpr std::string_view kPanguOnly[] = {"attention_bias", "bias", "mlp_bias", "qkv_bias", "sandwich_norm"};
constexpr std::string_view kLlamaOnly[] = {"attention_bias", "mlp_bias"};
// Without use_sliding_window (refused when true) the other two have no effect.
constexpr std::string_view kQwen2Only[] = {"max_window_layers", "sliding_window"};
constexpr std::string_view kQwen3Only[] = {"attention_bias", "max_window_layers", "sliding_window"};

// Training, bookkeeping and Python-side settings; none reaches the forward pass of inference.
constexpr std::string_view kHarmless[] = {"_attn_implementation",
                                          "_attn_implementation_autoset",
                                          "_name_or_path",
                                          "attention_dropout",
                                          "attn_implementation",
                                          "auto_map",
                                          "chunk_size_feed_forward",
                                          "finetuning_task",
                                          "gradient_checkpointing",
                                          "id2label",
                                          "initializer_range",
                                          "is_decoder",
                                          "label2id",
                                          "name_or_path",
                                          "output_attentions",
                                          "output_hidden_states",
                                          "output_scores",
                                          "pretraining_tp",
                                          "problem_type",
                                          "return_dict",
                                          "return_dict_in_generate",
                                          "sep_token_id",
                                          "task_specific_params",
                                          "tf_legacy_loss",
                                          "tokenizer_class",
                                          "torchscript",
                                          "transformers_version",
                                          "unsloth_fixed",
                                          "unsloth_version",
                                          "use_bfloat16",
                                          "use_cache"};

// Generation defaults that older writers put into config.json; sampling is the caller's business.
constexpr std::string_view kGeneration[] = {"bad_words_ids",
                                            "begin_suppress_tokens",
                                            "decoder_start_token_id",
                                            "diversity_penalty",
                                            "do_sample",
                                            "early_stopping",
                                            "encoder_no_repeat_ngram_size",
                                            "exponential_decay_length_penalty",
                                            "forced_bos_token_id",
                                            "forced_eos_token_id",
                                            "length_penalty",
                                            "max_length",
                                            "max_new_tokens",
                                            "min_length",
                                            "no_repeat_ngram_size",
                                            "num_beam_groups",
                                            "num_beams",
                                            "num_return_sequences",
                                            "prefix",
                                            "remove_invalid_values",
                                            "repetition_penalty",
                                            "suppress_tokens",
                                            "temperature",
                                            "top_k",
                                            "top_p",
                                            "typical_p"};

// Harmless at this value alone (as Json::describe spells it); any other value means another network.
struct Neutral {
  std::string_view key, value;
};
constexpr Neutral kNeutral[] = {
    {"add_cross_attention", "false"}, {"is_causal", "true"},
    {"is_encoder_decoder", "false"},  {"num_nextn_predict_layers", "0"},
    {"param_sink_number", "0"},       {"partial_rotary_factor", "1"},
    {"pruned_heads", "{}"},           {"rotary_percent", "1"},
    {"tie_encoder_decoder", "false"}, {"use_mhc", "false"},
    {"use_mrope", "false"},           {"use_sliding_window", "false"},
};

// Keys of openPangu-R-7B-2512, which carries openPangu Embedded's architecture name.
constexpr std::string_view kPanguR[] = {
    "layer_types", "num_nextn_predict_layers", "param_sink_number", "qk_nope_dim",
    "qk_rope_dim", "rotary_percent",           "sliding_window",    "v_channels"};

Keys keys_of(Architecture architecture) {
  switch (architecture) {
    case Architecture::kPanguEmbedded:
      return kPanguOnly;
    case Architecture::kLlama:
      return kLlamaOnly;
    case Architecture::kQwen2:
      return kQwen2Only;
    case Architecture::kQwen3:
      return kQwen3Only;
  }
  return {};
}

bool all_full_attention(const Json& layer_types) {
  if (!layer_types.is_array()) return false;
  return std::all_of(layer_types.items().begin(), layer_types.items().end(), [](const Json& type) {
    return type.is_string() && type.as_string() == "full_attention";
  });
}

bool is_known(const JsonMember& member, Architecture architecture) {
  if (member.value.is_null()) return true;  // the same as absent
  for (const Keys keys : {Keys(kUnderstood), Keys(kHarmless), Keys(kGeneration), keys_of(architecture)})
    if (contains(keys, member.key)) return true;
  if (member.key == "layer_types") return all_full_attention(member.value);
  return std::any_of(std::begin(kNeutral), std::end(kNeutral), [&](const Neutral& neutral) {
    return neutral.key == member.key && neutral.value == member.value.describe();
  });
}

}  // namespace

void refuse_unknown_keys(const ConfigValues& config, Architecture architecture) {
  std::string unknown;
  int count = 0;
  bool pangu_r = false;
  for (const JsonMember& member : config.object().members()) {
    if (is_known(member, architecture)) continue;
    pangu_r |= architecture == Architecture::kPanguEmbedded && contains(kPanguR, member.key);
    if (++count > 12) continue;
    unknown +=
        (count == 1 ? "" : ", ") + json_quote(member.key.substr(0, 80)) + ": " + member.value.describe();
  }
  if (count == 0) return;
  if (count > 12) unknown += " and " + std::to_string(count - 12) + " more";
  if (pangu_r)
    fail(ErrorCode::kModelUnsupported, config.what(),
         ": this is openPangu-R-7B-2512 or a relative of it (sliding-window attention, sink parameters, "
         "partial rotary "
         "embedding); it shares the architecture name of openPangu Embedded but is another network, which is "
         "not "
         "supported: ",
         unknown);
  fail(ErrorCode::kModelUnsupported, config.what(),
       ": not understood for this architecture, and might change the network: ", unknown);
}

}  // namespace agentinfer
