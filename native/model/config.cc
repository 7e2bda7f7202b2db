#include "model/config.h"

#include <algorithm>
#include <system_error>

#include "model/config_keys.h"
#include "model/config_rope.h"
#include "model/config_values.h"
#include "tensor/json.h"
#include "tensor/mapped_file.h"

namespace agentinfer {

namespace {

struct KnownArchitecture {
  std::string_view name, model_type;
  Architecture architecture;
};
constexpr KnownArchitecture kArchitectures[] = {
    {"PanguEmbeddedForCausalLM", "PanguEmbedded", Architecture::kPanguEmbedded},
    {"LlamaForCausalLM", "llama", Architecture::kLlama},
    {"Qwen2ForCausalLM", "qwen2", Architecture::kQwen2},
    {"Qwen3ForCausalLM", "qwen3", Architecture::kQwen3},
};

void read_architecture(const ConfigValues& values, ModelConfig& config) {
  const Json* const names = values.find("architectures");
  if (!names) values.invalid("architectures", "is missing");
  if (!names->is_array() || names->items().size() != 1 || !names->items()[0].is_string())
    values.invalid("architectures", "must be an array of one string, got ", names->describe());
  config.architecture_name = names->items()[0].as_string();
  const auto* const known =
      std::find_if(std::begin(kArchitectures), std::end(kArchitectures),
                   [&](const auto& entry) { return entry.name == config.architecture_name; });
  if (known == std::end(kArchitectures))
    values.unsupported("architectures", "is ", names->describe(),
                       "; supported are PanguEmbeddedForCausalLM, LlamaForCausalLM, Qwen2ForCausalLM and "
                       "Qwen3ForCausalLM");
  config.architecture = known->architecture;
  const auto type = values.string("model_type");
  if (type && *type != known->model_type)
    values.invalid("model_type", "must be ", json_quote(known->model_type), " for ", known->name, ", got ",
                   json_quote(type->substr(0, 80)));
}

void read_sizes(const ConfigValues& values, ModelConfig& config) {
  const auto size = [&](std::string_view key, int64_t most) {
    return values.required(key, values.integer(key, 1, most));
  };
  config.hidden_size = size("hidden_size", 65536);
  config.num_hidden_layers = size("num_hidden_layers", 1024);
  config.num_attention_heads = size("num_attention_heads", 1024);
  config.intermediate_size = size("intermediate_size", 1 << 20);
  config.vocab_size = size("vocab_size", 1 << 22);
  config.max_position_embeddings = size("max_position_embeddings", 1 << 30);
  const int64_t heads = config.num_attention_heads;
  config.num_key_value_heads = values.integer("num_key_value_heads", 1, heads).value_or(heads);
  if (heads % config.num_key_value_heads != 0)
    values.invalid("num_key_value_heads", "must divide num_attention_heads ", heads, ", got ",
                   config.num_key_value_heads);
  const auto head_dim = values.integer("head_dim", 1, 1024);
  // Qwen3's head_dim does not follow from the others; its class default would be a guess.
  if (!head_dim && config.architecture == Architecture::kQwen3) values.invalid("head_dim", "is missing");
  if (!head_dim && config.hidden_size % heads != 0)
    values.invalid("hidden_size", "must be a multiple of num_attention_heads ", heads,
                   " where head_dim is absent, got ", config.hidden_size);
  config.head_dim = head_dim.value_or(config.hidden_size / heads);
  if (config.head_dim % 2 != 0 || config.head_dim > 1024)
    values.invalid("head_dim", "must be even and at most 1024, got ", config.head_dim);
  config.rms_norm_eps = values.required("rms_norm_eps", values.number("rms_norm_eps", 0, 1e-2));
}

// openPangu: `bias` drives q, k, v and o (its class default is true); `attention_bias` is the same flag in
// Llama's spelling; `qkv_bias` overrides q, k, v alone; no MLP bias unless asked for. Qwen2 has q, k, v
// biases hard-wired.
void read_structure(const ConfigValues& values, ModelConfig& config) {
  const auto attention = values.boolean("attention_bias"), bias = values.boolean("bias");
  switch (config.architecture) {
    case Architecture::kPanguEmbedded:
      config.o_bias = attention.value_or(false) || bias.value_or(!attention.has_value());
      config.qkv_bias = values.boolean("qkv_bias").value_or(config.o_bias);
      config.mlp_bias = values.boolean("mlp_bias").value_or(false);
      config.sandwich_norm = values.boolean("sandwich_norm").value_or(false);
      break;
    case Architecture::kLlama:
      config.qkv_bias = config.o_bias = attention.value_or(false);
      config.mlp_bias = values.boolean("mlp_bias").value_or(false);
      break;
    case Architecture::kQwen2:
      config.qkv_bias = true;
      break;
    case Architecture::kQwen3:
      config.qkv_bias = config.o_bias = attention.value_or(false);
      config.qk_norm = true;
      break;
  }
  config.tie_word_embeddings = values.boolean("tie_word_embeddings").value_or(false);
  const auto activation = values.string("hidden_act").value_or("silu");
  if (activation != "silu" && activation != "swish")
    values.unsupported("hidden_act", "is ", json_quote(activation.substr(0, 80)), "; supported is \"silu\"");
}

void read_dtype(const ConfigValues& values, ModelConfig& config) {
  const auto old_key = values.string("torch_dtype"), new_key = values.string("dtype");
  if (old_key && new_key && *old_key != *new_key)
    values.invalid("torch_dtype", "is ", json_quote(*old_key), " but \"dtype\" is ", json_quote(*new_key));
  const std::string_view name = new_key ? *new_key : old_key.value_or("bfloat16");
  if (name == "bfloat16") {
    config.torch_dtype = DType::kBF16;
  } else if (name == "float16") {
    config.torch_dtype = DType::kF16;
  } else if (name == "float32") {
    config.torch_dtype = DType::kF32;
  } else {
    values.unsupported(new_key ? "dtype" : "torch_dtype", "is ", json_quote(name.substr(0, 80)),
                       "; supported are bfloat16, float16 and float32");
  }
}

// Int8 weights are announced by our own key, or by "quantize" as ModelSlim writes it.
void read_quantization(const ConfigValues& values, ModelConfig& config) {
  if (const auto method = values.string("quantize")) {
    if (*method != "w8a8_dynamic")
      values.unsupported("quantize", "is ", json_quote(method->substr(0, 80)),
                         "; supported is \"w8a8_dynamic\"");
    config.quantized_w8a8 = true;
  }
  const Json* const own = values.find("agentinfer");
  if (!own) return;
  const ConfigValues keys(*own, values.what() + ": agentinfer");
  for (const JsonMember& member : own->members())
    if (member.key != "quantization" && member.key != "version")
      keys.unsupported(member.key, "is not understood: ", member.value.describe());
  const int64_t version = keys.required("version", keys.integer("version", 0, 1 << 30));
  if (version != 1) keys.unsupported("version", "is ", version, "; supported is 1");
  const auto method = keys.required("quantization", keys.string("quantization"));
  if (method != "w8a8-dynamic")
    keys.unsupported("quantization", "is ", json_quote(method.substr(0, 80)),
                     "; supported is \"w8a8-dynamic\"");
  config.quantized_w8a8 = true;
}

void read_token_ids(const ConfigValues& values, ModelConfig& config) {
  if (config.bos_token_id < 0)
    config.bos_token_id = values.token_id("bos_token_id", config.vocab_size).value_or(-1);
  if (config.pad_token_id < 0)
    config.pad_token_id = values.token_id("pad_token_id", config.vocab_size).value_or(-1);
  for (const int32_t id : values.token_ids("eos_token_id", config.vocab_size))
    if (std::find(config.eos_token_ids.begin(), config.eos_token_ids.end(), id) == config.eos_token_ids.end())
      config.eos_token_ids.push_back(id);
}

constexpr size_t kMaxConfigBytes = 16 << 20;

std::string read_text(const std::filesystem::path& path) {
  const MappedFile file(path);
  if (file.size() > kMaxConfigBytes)
    fail(ErrorCode::kModelInvalid, path.string(), ": ", file.size(), " bytes; expected at most ",
         kMaxConfigBytes);
  return {reinterpret_cast<const char*>(file.bytes().data()), file.size()};
}

// ModelSlim describes each tensor's treatment in a file beside the weights; the tensors themselves are
// checked later.
bool described_as_w8a8(const std::filesystem::path& folder) {
  for (const char* name : {"quant_model_description.json", "quant_model_description_w8a8_dynamic.json"}) {
    const std::filesystem::path path = folder / name;
    std::error_code ignored;
    if (!std::filesystem::exists(path, ignored)) continue;
    const JsonDocument document = parse_json(read_text(path), name);
    const ConfigValues values(document.root(), name);
    const auto type = values.required("model_quant_type", values.string("model_quant_type"));
    if (type != "W8A8_DYNAMIC")
      values.unsupported("model_quant_type", "is ", json_quote(type.substr(0, 80)),
                         "; supported is \"W8A8_DYNAMIC\"");
    return true;
  }
  return false;
}

}  // namespace

ModelConfig parse_model_config(std::string_view config_json, std::string_view generation_json) {
  const JsonDocument document = parse_json(config_json, "config.json");
  const ConfigValues values(document.root(), "config.json");
  ModelConfig config;
  read_architecture(values, config);
  refuse_unknown_keys(values, config.architecture);
  read_sizes(values, config);
  read_rope(values, config);
  read_structure(values, config);
  read_dtype(values, config);
  read_quantization(values, config);
  read_token_ids(values, config);
  if (!generation_json.empty()) {
    const JsonDocument generation = parse_json(generation_json, "generation_config.json");
    read_token_ids(ConfigValues(generation.root(), "generation_config.json"), config);
  }
  return config;
}

ModelConfig read_model_config(const std::filesystem::path& folder) {
  const std::string text = read_text(folder / "config.json");
  const std::filesystem::path generation = folder / "generation_config.json";
  std::error_code ignored;
  const bool present = std::filesystem::exists(generation, ignored);
  ModelConfig config = parse_model_config(text, present ? read_text(generation) : std::string());
  if (described_as_w8a8(folder)) config.quantized_w8a8 = true;
  return config;
}

}  // namespace agentinfer
