#include "model/config.h"

#include <cmath>

#include "check.h"
#include "temp_folder.h"

namespace agentinfer {
namespace {

constexpr ErrorCode kBad = ErrorCode::kModelInvalid;
constexpr ErrorCode kRefused = ErrorCode::kModelUnsupported;

// What openPangu-Embedded-7B publishes.
const std::string kPangu =
    R"({"architectures": ["PanguEmbeddedForCausalLM"], "auto_map": {"AutoConfig": "x.Y"},
  "attention_dropout": 0.0, "bias": true, "bos_token_id": 1, "eos_token_id": 45892, "hidden_act": "silu",
  "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 12800, "max_position_embeddings": 32768,
  "model_type": "PanguEmbedded", "num_attention_heads": 32, "num_hidden_layers": 34, "num_key_value_heads": 8,
  "pad_token_id": 0, "rms_norm_eps": 1e-05, "rope_theta": 16000000.0, "tie_word_embeddings": false,
  "torch_dtype": "bfloat16", "transformers_version": "4.53.2", "use_cache": true, "vocab_size": 153376})";

// Small configurations of the others, in the writers' own shape.
const std::string kSizes = R"("hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
  "num_key_value_heads": 2, "intermediate_size": 96, "vocab_size": 320, "max_position_embeddings": 512,
  "rms_norm_eps": 1e-6)";
const std::string kLlama =
    R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "rope_theta": 500000.0, )" + kSizes +
    "}";
const std::string kQwen2 =
    R"({"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "rope_theta": 1000000.0,
  "use_sliding_window": false, "sliding_window": 131072, "max_window_layers": 28, )" +
    kSizes + "}";
const std::string kQwen3 =
    R"({"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "head_dim": 32, "attention_bias": false,
  "rope_parameters": {"rope_type": "default", "rope_theta": 1000000}, "dtype": "float16", "sliding_window": null,
  "layer_types": ["full_attention", "full_attention"], )" +
    kSizes + "}";

// `base` with `fields` put in front; a key of `base` that `fields` repeats is dropped first.
std::string with(const std::string& base, const std::string& fields) {
  std::string text = base;
  for (size_t at = 0; (at = fields.find("\": ", at)) != std::string::npos; ++at) {
    const size_t start = fields.rfind('"', at - 1);
    const std::string key = fields.substr(start, at - start + 1);
    size_t found = text.find(key + ":");
    if (found == std::string::npos) continue;
    size_t end = found;
    for (int depth = 0; depth > 0 || (text[end] != ',' && text[end] != '}'); ++end)
      depth += text[end] == '[' || text[end] == '{' ? 1 : text[end] == ']' || text[end] == '}' ? -1 : 0;
    if (text[end] == ',') {
      ++end;
    } else {
      found = text.rfind(',', found);
    }
    text.erase(found, end - found);
  }
  return "{" + fields + ", " + text.substr(1);
}

ModelConfig parse(const std::string& text, const std::string& generation = "") {
  return parse_model_config(text, generation);
}

TEST("openPangu Embedded 7B as published") {
  const ModelConfig config = parse(kPangu);
  CHECK(config.architecture == Architecture::kPanguEmbedded);
  CHECK_EQ(config.hidden_size, 4096);
  CHECK_EQ(config.num_hidden_layers, 34);
  CHECK_EQ(config.num_attention_heads, 32);
  CHECK_EQ(config.num_key_value_heads, 8);
  CHECK_EQ(config.head_dim, 128);
  CHECK_EQ(config.intermediate_size, 12800);
  CHECK_EQ(config.vocab_size, 153376);
  CHECK_EQ(config.max_position_embeddings, 32768);
  CHECK_EQ(config.rms_norm_eps, 1e-5);
  CHECK_EQ(config.rope_theta, 16e6);
  CHECK(!config.rope_scaling);
  CHECK(config.qkv_bias && config.o_bias && !config.mlp_bias && !config.qk_norm && !config.sandwich_norm);
  CHECK(!config.tie_word_embeddings && !config.quantized_w8a8);
  CHECK(config.torch_dtype == DType::kBF16);
  CHECK_EQ(config.bos_token_id, 1);
  CHECK_EQ(config.pad_token_id, 0);
  CHECK(config.eos_token_ids == std::vector<int32_t>{45892});
}

TEST("biases follow each architecture's own rule") {
  const auto biases = [](const std::string& text) {
    const ModelConfig c = parse(text);
    return std::string(c.qkv_bias ? "q" : "-") + (c.o_bias ? "o" : "-") + (c.mlp_bias ? "m" : "-");
  };
  CHECK_EQ(biases(with(kPangu, R"("bias": false)")), "---");
  CHECK_EQ(biases(with(kPangu, R"("bias": null)")), "qo-");
  CHECK_EQ(biases(with(kPangu, R"("bias": null, "attention_bias": false)")), "---");
  CHECK_EQ(biases(with(kPangu, R"("bias": false, "attention_bias": true)")), "qo-");
  CHECK_EQ(biases(with(kPangu, R"("bias": false, "qkv_bias": true)")), "q--");
  CHECK_EQ(biases(with(kPangu, R"("qkv_bias": false, "mlp_bias": true)")), "-om");
  CHECK_EQ(biases(kLlama), "---");
  CHECK_EQ(biases(with(kLlama, R"("attention_bias": true, "mlp_bias": true)")), "qom");
  CHECK_EQ(biases(kQwen2), "q--");
  CHECK_EQ(biases(kQwen3), "---");
  CHECK_EQ(biases(with(kQwen3, R"("attention_bias": true)")), "qo-");
  CHECK(parse(kQwen3).qk_norm && !parse(kQwen2).qk_norm && !parse(kLlama).qk_norm);
  CHECK(parse(with(kPangu, R"("sandwich_norm": true)")).sandwich_norm);
}

TEST("head_dim is the key, else hidden / heads; Qwen3 must say it") {
  CHECK_EQ(parse(kQwen3).head_dim, 32);
  CHECK_EQ(parse(kLlama).head_dim, 16);
  CHECK_EQ(parse(with(kLlama, R"("head_dim": 24)")).head_dim, 24);
  CHECK_THROWS(parse(with(kQwen3, R"("head_dim": null)")), kBad, "\"head_dim\" is missing");
  CHECK_THROWS(parse(with(kLlama, R"("head_dim": 15)")), kBad, "must be even");
  CHECK_THROWS(parse(with(kLlama, R"("hidden_size": 66)")), kBad, "multiple of num_attention_heads 4");
  CHECK_EQ(parse(with(kLlama, R"("num_key_value_heads": null)")).num_key_value_heads, 4);
}

TEST("rope_theta is read in both spellings, and contradictions are refused") {
  CHECK_EQ(parse(kQwen3).rope_theta, 1e6);
  CHECK_EQ(parse(with(kLlama, R"("rope_theta": null)")).rope_theta, 10000.0);
  CHECK_THROWS(parse(with(kPangu, R"("rope_theta": null)")), kBad, "\"rope_theta\" is missing");
  CHECK_THROWS(parse(with(kPangu, R"("rope_theta": 0)")), kBad, "\"rope_theta\" must be a number above 0");
  CHECK_THROWS(parse(with(kPangu, R"("rope_theta": -1.5)")), kBad, "got number -1.5");
  CHECK_THROWS(parse(with(kPangu, R"("rope_theta": "1e6")")), kBad, "got string \"1e6\"");
  CHECK_THROWS(parse(R"({"rope_theta": 5.0, )" + kQwen3.substr(1)), kBad, "given twice");
  CHECK_EQ(parse(R"({"rope_theta": 1e6, )" + kQwen3.substr(1)).rope_theta, 1e6);
}

const std::string kLlama3 =
    R"({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
  "original_max_position_embeddings": 8192})";

TEST("llama3 scaling: both homes, every field demanded and checked; other kinds refused by name") {
  const ModelConfig config = parse(with(kLlama, "\"rope_scaling\": " + kLlama3));
  CHECK(config.rope_scaling.has_value());
  CHECK_EQ(config.rope_scaling->factor, 8.0);
  CHECK_EQ(config.rope_scaling->original_max_position_embeddings, 8192);
  std::string parameters = kLlama3;
  parameters.insert(1, R"("rope_theta": 500000.0, )");
  const std::string both = with(kLlama, "\"rope_parameters\": " + parameters);
  CHECK_EQ(parse(both).rope_scaling->high_freq_factor, 4.0);
  CHECK_THROWS(parse(with(both, R"("rope_scaling": {"type": "default"})")), kBad, "contradicts");
  const auto scaled = [](const std::string& value) {
    return parse("{\"rope_scaling\": " + value + ", " + kLlama.substr(1));
  };
  for (const char* type : {"linear", "dynamic", "yarn", "longrope"})
    CHECK_THROWS(scaled("{\"type\": \"" + std::string(type) + "\", \"factor\": 4.0}"), kRefused, type);
  CHECK_THROWS(scaled(R"({"type": "llama3", "rope_type": "default"})"), kBad, "\"rope_type\" is");
  CHECK_THROWS(scaled(R"({"rope_type": "llama3", "factor": 8.0})"), kBad, "\"low_freq_factor\" is missing");
  CHECK_THROWS(scaled(R"({"rope_type": "default", "factor": 8.0})"), kRefused,
               "\"factor\" is not understood");
  CHECK_THROWS(scaled(R"({"partial_rotary_factor": 0.5})"), kRefused, "partial_rotary_factor");
  CHECK_THROWS(scaled("[]"), kBad, "expected an object");
  CHECK_THROWS(
      scaled(R"({"rope_type": "llama3", "factor": 0.5, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                       "original_max_position_embeddings": 8192})"),
      kBad, "at least 1");
  CHECK_THROWS(scaled(R"({"rope_type": "llama3", "factor": 8, "low_freq_factor": 4.0, "high_freq_factor": 4.0,
                       "original_max_position_embeddings": 8192})"),
               kBad, "above low_freq_factor");
}

TEST("rotary frequencies: plain powers, and llama3's three regions by wavelength") {
  ModelConfig config = parse(kPangu);
  const std::vector<float> plain = rope_inv_freq(config);
  CHECK_EQ(plain.size(), 64u);
  CHECK_EQ(plain[0], 1.0f);
  for (size_t i = 0; i < 64; ++i)
    CHECK_NEAR(std::log(plain[i]), -std::log(16e6) * static_cast<double>(i) / 64, 1e-5);
  config.rope_scaling = Llama3RopeScaling{8, 1, 4, 8192};
  const std::vector<float> scaled = rope_inv_freq(config);
  int kept = 0, blended = 0, stretched = 0;
  for (size_t i = 0; i < 64; ++i) {
    const double wavelength = 2 * M_PI / plain[i];
    const double ratio = static_cast<double>(scaled[i]) / plain[i];
    if (wavelength < 8192.0 / 4) {
      ++kept;
      CHECK_EQ(scaled[i], plain[i]);
    } else if (wavelength > 8192.0 / 1) {
      ++stretched;
      CHECK_NEAR(ratio, 1.0 / 8, 1e-6);
    } else {
      ++blended;
      const double smooth = (8192 / wavelength - 1) / (4 - 1);
      CHECK_NEAR(ratio, (1 - smooth) / 8 + smooth, 1e-5);
    }
  }
  CHECK(kept > 10 && blended > 2 && stretched > 10);
}

TEST("openPangu-R-7B-2512 is refused for what it is") {
  for (const char* field :
       {R"("qk_nope_dim": 96)", R"("v_channels": 128)", R"("param_sink_number": 128)",
        R"("sliding_window": 128)", R"("rotary_percent": 0.25)",
        R"("layer_types": ["full_attention", "sliding_attention"])", R"("num_nextn_predict_layers": 1)"}) {
    CHECK_THROWS(parse(with(kPangu, field)), kRefused, "openPangu-R-7B-2512");
    CHECK_THROWS(parse(with(kPangu, field)), kRefused, std::string(field).substr(0, 10).c_str());
  }
}

TEST("a key that might change the network is refused by name and value; null and neutral values are not") {
  const auto refused = [](const std::string& base, const char* field, const char* needle) {
    CHECK_THROWS(parse(with(base, field)), kRefused, needle);
  };
  refused(kPangu, R"("n_routed_experts": 64)", "\"n_routed_experts\": 64");
  refused(kPangu, R"("kv_lora_rank": 512)", "\"kv_lora_rank\": 512");
  refused(kPangu, R"("use_mhc": true)", "\"use_mhc\": true");
  refused(kPangu, R"("is_causal": false)", "\"is_causal\": false");
  refused(kPangu, R"("interleaved_sliding_window": 4096)", "interleaved_sliding_window");
  refused(kPangu, R"("quantization_config": {"quant_method": "awq"})",
          "\"quantization_config\": {\"quant_method\": \"awq\"}");
  refused(kLlama, R"("bias": true)", "\"bias\": true");
  refused(kLlama, R"("sandwich_norm": true)", "\"sandwich_norm\"");
  refused(kLlama, R"("sliding_window": 4096)", "\"sliding_window\": 4096");
  refused(kLlama, R"("num_local_experts": 8)", "num_local_experts");
  refused(kLlama, R"("embedding_multiplier": 12.0)", "embedding_multiplier");
  refused(kLlama, R"("partial_rotary_factor": 0.5)", "partial_rotary_factor");
  refused(kQwen2, R"("use_sliding_window": true)", "\"use_sliding_window\": true");
  refused(kQwen2, R"("dual_chunk_attention_config": {"chunk_size": 262144})", "dual_chunk_attention_config");
  refused(kQwen3, R"("layer_types": ["full_attention", "sliding_attention"])", "layer_types");
  refused(kQwen3, R"("hidden_act": "gelu")", "\"hidden_act\" is \"gelu\"");
  CHECK_EQ(
      parse(with(kLlama, R"("quantization_config": null, "sliding_window": null, "n_routed_experts": null)"))
          .head_dim,
      16);
  CHECK_EQ(
      parse(with(kLlama, R"("is_causal": true, "partial_rotary_factor": 1.0, "pruned_heads": {})")).head_dim,
      16);
  CHECK_EQ(parse(with(kLlama, R"("temperature": 0.6, "pretraining_tp": 1, "_name_or_path": "x")")).head_dim,
           16);
}

TEST("an architecture that we do not run is refused, a contradictory one is invalid") {
  CHECK_THROWS(parse(with(kPangu, R"("architectures": ["OpenPanguV2ForCausalLM"])")), kRefused,
               "OpenPanguV2ForCausalLM");
  CHECK_THROWS(parse(with(kLlama, R"("architectures": ["Qwen3MoeForCausalLM"])")), kRefused,
               "Qwen3MoeForCausalLM");
  CHECK_THROWS(parse(with(kLlama, R"("architectures": [])")), kBad, "array of one string");
  CHECK_THROWS(parse(with(kLlama, R"("architectures": "LlamaForCausalLM")")), kBad, "array of one string");
  CHECK_THROWS(parse(with(kLlama, R"("architectures": null)")), kBad, "\"architectures\" is missing");
  CHECK_THROWS(parse(with(kLlama, R"("model_type": "mistral")")), kBad, "must be \"llama\"");
  CHECK_THROWS(parse("[]"), kBad, "expected an object, got []");
  CHECK_THROWS(parse(""), kBad, "config.json: line 1");
  CHECK_THROWS(parse("{}"), kBad, "\"architectures\" is missing");
}

TEST("every size is demanded, typed and bounded") {
  for (const char* key : {"hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
                          "vocab_size", "max_position_embeddings", "rms_norm_eps"}) {
    const std::string quoted = "\"" + std::string(key) + "\"";
    CHECK_THROWS(parse(with(kPangu, quoted + ": null")), kBad, (quoted + " is missing").c_str());
    for (const char* value :
         {"0", "-4", "\"32\"", "true", "[32]", "1e30", "9223372036854775807", "99999999999999999999999"})
      CHECK_THROWS(parse(with(kPangu, quoted + ": " + value)), kBad, (quoted + " must be ").c_str());
  }
  CHECK_THROWS(parse(with(kPangu, R"("hidden_size": 4096.0)")), kBad,
               "\"hidden_size\" must be an integer from 1 to 65536, got number 4096");
  CHECK_THROWS(parse(with(kPangu, R"("num_key_value_heads": 5)")), kBad,
               "must divide num_attention_heads 32, got 5");
  CHECK_THROWS(parse(with(kPangu, R"("num_key_value_heads": 64)")), kBad, "from 1 to 32");
  CHECK_THROWS(parse(with(kPangu, R"("rms_norm_eps": 0.5)")), kBad, "at most 0.01, got number 0.5");
  CHECK_THROWS(parse(with(kPangu, R"("tie_word_embeddings": 1)")), kBad,
               "must be true or false, got integer 1");
  CHECK_THROWS(parse(with(kPangu, R"("bias": "yes")")), kBad, "must be true or false, got string");
  CHECK_THROWS(parse(with(kPangu, R"("hidden_act": 3)")), kBad, "must be a string");
}

TEST("torch_dtype and dtype are one setting") {
  CHECK(parse(kQwen3).torch_dtype == DType::kF16);
  CHECK(parse(with(kPangu, R"("torch_dtype": "float32")")).torch_dtype == DType::kF32);
  CHECK(parse(with(kPangu, R"("dtype": "bfloat16")")).torch_dtype == DType::kBF16);
  CHECK_THROWS(parse(with(kPangu, R"("torch_dtype": "bfloat16", "dtype": "float16")")), kBad,
               "but \"dtype\" is");
  CHECK_THROWS(parse(with(kPangu, R"("torch_dtype": "float8_e4m3fn")")), kRefused, "float8_e4m3fn");
}

TEST("end tokens are the union of both files, each once and within the vocabulary") {
  const auto ids = [](const std::string& fields, const std::string& generation) {
    return parse(with(kPangu, fields), generation).eos_token_ids;
  };
  CHECK(ids(R"("eos_token_id": 7)", R"({"eos_token_id": [8, 7, 9], "temperature": 1.0})") ==
        (std::vector<int32_t>{7, 8, 9}));
  CHECK(ids(R"("eos_token_id": [3, 3])", "") == std::vector<int32_t>{3});
  CHECK(ids(R"("eos_token_id": null)", R"({"eos_token_id": 5})") == std::vector<int32_t>{5});
  CHECK_EQ(parse(with(kPangu, R"("bos_token_id": null, "pad_token_id": -1)"), R"({"bos_token_id": 4})")
               .bos_token_id,
           4);
  CHECK_EQ(parse(with(kPangu, R"("pad_token_id": -1)")).pad_token_id, -1);
  CHECK_THROWS(ids(R"("eos_token_id": 153376)", ""), kBad,
               "config.json: \"eos_token_id\" must be an integer from 0 to 153375");
  CHECK_THROWS(ids(R"("eos_token_id": [1, "2"])", ""), kBad, "got string \"2\"");
  CHECK_THROWS(ids(R"("eos_token_id": [-1])", ""), kBad, "got integer -1");
  CHECK_THROWS(parse(kPangu, R"({"eos_token_id": 999999})"), kBad,
               "generation_config.json: \"eos_token_id\"");
  CHECK_THROWS(parse(kPangu, "{"), kBad, "generation_config.json: line 1");
}

TEST("int8 folders announce themselves, and only the kind we know") {
  CHECK(
      parse(with(kPangu, R"("agentinfer": {"quantization": "w8a8-dynamic", "version": 1})")).quantized_w8a8);
  CHECK(parse(with(kPangu, R"("quantize": "w8a8_dynamic")")).quantized_w8a8);
  CHECK_THROWS(parse(with(kPangu, R"("quantize": "w4a8_dynamic")")), kRefused, "w4a8_dynamic");
  CHECK_THROWS(parse(with(kPangu, R"("agentinfer": {"quantization": "w4a16", "version": 1})")), kRefused,
               "w4a16");
  CHECK_THROWS(parse(with(kPangu, R"("agentinfer": {"quantization": "w8a8-dynamic", "version": 2})")),
               kRefused, "\"version\" is 2");
  CHECK_THROWS(parse(with(kPangu, R"("agentinfer": {"version": 1})")), kBad, "\"quantization\" is missing");
  CHECK_THROWS(
      parse(with(kPangu, R"("agentinfer": {"quantization": "w8a8-dynamic", "version": 1, "kv": 8})")),
      kRefused, "\"kv\"");
  CHECK_THROWS(parse(with(kPangu, R"("agentinfer": true)")), kBad, "expected an object");
}

TEST("a folder: files absent, present, described by ModelSlim") {
  const check::TempFolder folder;
  CHECK_THROWS(read_model_config(folder.path()), ErrorCode::kIo, "config.json: cannot open");
  folder.write("config.json", kPangu);
  CHECK(read_model_config(folder.path()).eos_token_ids == std::vector<int32_t>{45892});
  folder.write("generation_config.json", R"({"eos_token_id": 2})");
  CHECK_EQ(read_model_config(folder.path()).eos_token_ids.size(), 2u);
  folder.write("quant_model_description.json", R"({"model_quant_type": "W8A8", "x": "W8A8"})");
  CHECK_THROWS(read_model_config(folder.path()), kRefused, "\"model_quant_type\" is \"W8A8\"");
  folder.write("quant_model_description.json", R"({"model_quant_type": "W8A8_DYNAMIC"})");
  CHECK(read_model_config(folder.path()).quantized_w8a8);
  folder.write("generation_config.json", "");
  CHECK_THROWS(read_model_config(folder.path()), ErrorCode::kIo, "generation_config.json: the file is empty");
}

TEST("thousands of damaged configurations each parse or are refused") {
  const std::string seeds[] = {kPangu, with(kLlama, "\"rope_scaling\": " + kLlama3), kQwen2, kQwen3};
  const char* tokens[] = {"0",
                          "-1",
                          "1",
                          "2.5",
                          "1e308",
                          "9223372036854775807",
                          "null",
                          "true",
                          "false",
                          "\"x\"",
                          "[]",
                          "{}",
                          "[1]",
                          "{",
                          "}",
                          "[",
                          "]",
                          ",",
                          ":",
                          "\"",
                          "\\ud800",
                          "\"llama3\"",
                          "\"rope_type\": \"yarn\"",
                          " "};
  std::mt19937 random(17);
  int parsed = 0, refused = 0;
  for (int round = 0; round < 8000; ++round) {
    std::string text = seeds[random() % 4];
    for (uint32_t edit = 1 + random() % 3; edit > 0 && !text.empty(); --edit) {
      size_t at = random() % text.size();
      switch (random() % 5) {
        case 0:
          text[at] = static_cast<char>(text[at] ^ (1 << random() % 8));
          break;
        case 1:
          text.replace(at, random() % 8, tokens[random() % std::size(tokens)]);
          break;
        case 2:
          text.insert(at, text.substr(random() % text.size(), random() % 40));
          break;
        case 3:
          if (random() % 4 == 0) text.resize(at);
          break;
        default:  // another value for a key: the text stays well formed
          at = text.find(": ", at);
          if (at == std::string::npos) break;
          text.replace(at + 2, text.find_first_of(",}", at) - at - 2, tokens[random() % 13]);
      }
    }
    try {
      const ModelConfig config = parse(text, round % 3 == 0 ? text : "");
      const std::vector<float> frequencies = rope_inv_freq(config);  // whatever parses must be usable
      CHECK_EQ(frequencies.size() * 2, static_cast<size_t>(config.head_dim));
      for (const float frequency : frequencies) CHECK(std::isfinite(frequency) && frequency >= 0);
      CHECK_EQ(config.num_attention_heads % config.num_key_value_heads, 0);
      ++parsed;
    } catch (const Error& error) {
      CHECK(error.code() == kBad || error.code() == kRefused);
      ++refused;
    }
  }
  CHECK(parsed > 300);
  CHECK(refused > 3000);
}

}  // namespace
}  // namespace agentinfer

CHECK_MAIN
