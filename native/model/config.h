#pragma once
// What a model folder's config.json (and generation_config.json) says, checked and resolved. Unknown keys
// that change the network are refused by name; see config.cc for the list of keys that are understood or
// known to be harmless.

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/dtype.h"

namespace agentinfer {

enum class Architecture : uint8_t { kPanguEmbedded, kLlama, kQwen2, kQwen3 };

// rope_scaling of type "llama3" (Llama 3.1 and later); std::nullopt in ModelConfig means plain RoPE.
struct Llama3RopeScaling {
  double factor = 0, low_freq_factor = 0, high_freq_factor = 0;
  int64_t original_max_position_embeddings = 0;
};

struct ModelConfig {
  Architecture architecture = Architecture::kPanguEmbedded;
  std::string architecture_name;  // as in config.json, e.g. "PanguEmbeddedForCausalLM"
  int64_t hidden_size = 0;
  int64_t num_hidden_layers = 0;
  int64_t num_attention_heads = 0;
  int64_t num_key_value_heads = 0;
  int64_t head_dim = 0;  // explicit key, else hidden_size / num_attention_heads
  int64_t intermediate_size = 0;
  int64_t vocab_size = 0;
  int64_t max_position_embeddings = 0;
  double rms_norm_eps = 0;
  double rope_theta = 0;
  std::optional<Llama3RopeScaling> rope_scaling;
  bool qkv_bias = false, o_bias = false, mlp_bias = false;
  bool qk_norm = false;  // RMSNorm over head_dim on q and k (Qwen3)
  bool sandwich_norm =
      false;  // pre_mlp_layernorm and post_mlp_layernorm exist; post norms act on branch outputs
  bool tie_word_embeddings = false;
  DType torch_dtype = DType::kBF16;  // as declared; tensors carry their own
  bool quantized_w8a8 =
      false;  // the folder holds I8 weights with scales (made by `agentinfer quantize` or ModelSlim)
  int32_t bos_token_id = -1;  // -1: none
  int32_t pad_token_id = -1;
  std::vector<int32_t> eos_token_ids;  // union of config.json and generation_config.json, without repeats
};

// Reads and checks `folder`/config.json, then generation_config.json if present.
// Throws kModelInvalid (damaged, contradictory, out of range; the key and value are named), kModelUnsupported
// (a network we do not run; names the key) or kIo.
ModelConfig read_model_config(const std::filesystem::path& folder);

// The same from text already in memory; `generation_json` may be empty. For tests, fuzzing and the planner.
ModelConfig parse_model_config(std::string_view config_json, std::string_view generation_json);

// 1/(theta^(2i/head_dim)) with the llama3 adjustment where configured; [head_dim / 2], computed in double.
std::vector<float> rope_inv_freq(const ModelConfig& config);

}  // namespace agentinfer
