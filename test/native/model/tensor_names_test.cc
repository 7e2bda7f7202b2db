#include "model/tensor_names.h"

#include <functional>
#include <map>
#include <set>

#include "check.h"
#include "temp_folder.h"
#include "tensor/safetensors_writer.h"

namespace agentinfer {
namespace {

constexpr ErrorCode kBad = ErrorCode::kModelInvalid;

ModelConfig small_config() {
  ModelConfig config;
  config.hidden_size = 8;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 4;
  config.num_key_value_heads = 2;
  config.head_dim = 4;
  config.intermediate_size = 12;
  config.vocab_size = 20;
  config.rope_theta = 10000;
  config.qkv_bias = config.o_bias = true;
  return config;
}

struct Stored {
  TensorSpec spec;
  std::string bytes;
};
using Folder = std::map<std::string, Stored>;

Stored stored(const std::string& name, DType dtype, std::vector<int64_t> shape, std::string bytes = "") {
  Stored result{{name, dtype, std::move(shape)}, std::move(bytes)};
  result.bytes.resize(result.spec.bytes());
  return result;
}

std::string floats(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

// What the config implies, zeros for values and true frequencies, without the optional tensors but inv_freq.
Folder right(const ModelConfig& config) {
  Folder folder;
  for (const ExpectedTensor& expected : expected_tensors(config)) {
    if (expected.optional && expected.role != TensorRole::kInvFreq) continue;
    const bool int8 = config.quantized_w8a8 && expected.role == TensorRole::kMatrix;
    const bool f32 = expected.role == TensorRole::kScale || expected.role == TensorRole::kInvFreq;
    folder[expected.name] =
        stored(expected.name,
               int8  ? DType::kI8
               : f32 ? DType::kF32
                     : DType::kBF16,
               expected.shape, expected.role == TensorRole::kInvFreq ? floats(rope_inv_freq(config)) : "");
  }
  return folder;
}

void check_folder(const ModelConfig& config, const Folder& folder) {
  const check::TempFolder place;
  std::vector<TensorSpec> specs;
  for (const auto& [name, entry] : folder) specs.push_back(entry.spec);
  SafetensorsWriter writer(place / "model.safetensors", specs);
  size_t i = 0;
  for (const auto& [name, entry] : folder) writer.write(i++, std::as_bytes(std::span(entry.bytes)));
  writer.finish();
  check_tensors(config, Checkpoint(place.path()));
}

void check_edited(const ModelConfig& config, const std::function<void(Folder&)>& edit) {
  Folder folder = right(config);
  edit(folder);
  check_folder(config, folder);
}

TEST("openPangu-Embedded-7B implies the 479 tensors that its index lists") {
  ModelConfig config = small_config();
  config.num_hidden_layers = 34;
  size_t names = 0;
  for (const ExpectedTensor& tensor : expected_tensors(config))
    names += tensor.name != "model.rotary_emb.inv_freq";  // a newer writer's place, not in that index
  CHECK_EQ(names, 479u);
  config.num_hidden_layers = 26;  // 1B: tied, 13 tensors a block and 2 more without inv_freq
  config.tie_word_embeddings = true;
  size_t required = 0;
  for (const ExpectedTensor& tensor : expected_tensors(config)) required += !tensor.optional;
  CHECK_EQ(required, 340u);
}

TEST("shapes follow from the config") {
  std::map<std::string, std::vector<int64_t>> shapes;
  ModelConfig config = small_config();
  config.head_dim = 6;  // heads * head_dim is not hidden_size
  config.qk_norm = config.sandwich_norm = config.mlp_bias = true;
  for (const ExpectedTensor& tensor : expected_tensors(config)) shapes[tensor.name] = tensor.shape;
  const std::string layer = "model.layers.1.";
  CHECK(shapes[layer + "self_attn.q_proj.weight"] == (std::vector<int64_t>{24, 8}));
  CHECK(shapes[layer + "self_attn.k_proj.weight"] == (std::vector<int64_t>{12, 8}));
  CHECK(shapes[layer + "self_attn.o_proj.weight"] == (std::vector<int64_t>{8, 24}));
  CHECK(shapes[layer + "self_attn.o_proj.bias"] == (std::vector<int64_t>{8}));
  CHECK(shapes[layer + "self_attn.k_norm.weight"] == (std::vector<int64_t>{6}));
  CHECK(shapes[layer + "mlp.gate_proj.weight"] == (std::vector<int64_t>{12, 8}));
  CHECK(shapes[layer + "mlp.down_proj.weight"] == (std::vector<int64_t>{8, 12}));
  CHECK(shapes[layer + "mlp.down_proj.bias"] == (std::vector<int64_t>{8}));
  CHECK(shapes[layer + "post_mlp_layernorm.weight"] == (std::vector<int64_t>{8}));
  CHECK(shapes["lm_head.weight"] == (std::vector<int64_t>{20, 8}));
}

TEST("the right tensors pass, for every combination of flags, in every float type") {
  for (int flags = 0; flags < 128; ++flags) {
    ModelConfig config = small_config();
    config.qkv_bias = flags & 1;
    config.o_bias = flags & 2;
    config.mlp_bias = flags & 4;
    config.qk_norm = flags & 8;
    config.sandwich_norm = flags & 16;
    config.tie_word_embeddings = flags & 32;
    config.quantized_w8a8 = flags & 64;
    check_edited(config, [](Folder&) {});
  }
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16})
    check_edited(small_config(), [&](Folder& folder) {
      for (auto& [name, entry] : folder)
        if (!name.ends_with("inv_freq")) entry = stored(name, dtype, entry.spec.shape);
    });
}

TEST("any tensor missing, extra, misshapen or of a wrong type is named") {
  const ModelConfig config = small_config();
  for (const auto& [key, unused] : right(config)) {
    const std::string name = key;
    if (name.ends_with("inv_freq")) continue;
    CHECK_THROWS(check_edited(config, [&](Folder& folder) { folder.erase(name); }), kBad, name.c_str());
    CHECK_THROWS(check_edited(config,
                              [&](Folder& folder) {
                                folder[name].spec.shape[0] += 1;
                                folder[name].bytes.resize(folder[name].spec.bytes());
                              }),
                 kBad, ("tensor " + name + ": expected shape ").c_str());
    CHECK_THROWS(check_edited(config,
                              [&](Folder& folder) {
                                folder[name] = stored(name, DType::kI8, folder[name].spec.shape);
                              }),
                 kBad, ("tensor " + name + ": expected F32, F16 or BF16, got I8").c_str());
  }
  for (const char* extra :
       {"model.layers.0.mlp.up_proj.bias", "model.layers.2.mlp.up_proj.weight", "lm_head.bias", "x"})
    CHECK_THROWS(
        check_edited(config, [&](Folder& folder) { folder[extra] = stored(extra, DType::kBF16, {1}); }), kBad,
        extra);
  CHECK_THROWS(check_edited(config,
                            [](Folder& folder) {
                              folder.clear();
                              folder["x"] = stored("x", DType::kI8, {1});
                            }),
               kBad, "missing 29 of ");
}

TEST("a config whose biases do not match the tensors is refused") {
  ModelConfig without = small_config();
  without.o_bias = false;
  CHECK_THROWS(
      check_folder(without, right(small_config())), kBad,
      "2 unexpected tensors; config.json implies no such tensor: model.layers.0.self_attn.o_proj.bias");
  CHECK_THROWS(check_folder(small_config(), right(without)), kBad, "missing 2 of ");
}

TEST("tied: a redundant head is accepted; untied: it is demanded") {
  ModelConfig config = small_config();
  config.tie_word_embeddings = true;
  check_edited(config, [](Folder& folder) {
    folder["lm_head.weight"] = stored("lm_head.weight", DType::kBF16, {20, 8});
  });
  CHECK_THROWS(check_edited(config,
                            [](Folder& folder) {
                              folder["lm_head.weight"] = stored("lm_head.weight", DType::kBF16, {8, 20});
                            }),
               kBad, "expected shape [20, 8], got [8, 20]");
}

TEST("stored rotary frequencies are optional but must be the config's") {
  const ModelConfig config = small_config();
  const std::string name = "model.layers.1.self_attn.rotary_emb.inv_freq";
  check_edited(config, [&](Folder& folder) { folder.erase(name); });
  check_edited(config, [&](Folder& folder) {
    folder[name] = stored(name, DType::kF32, {2}, floats({1.0f, 0.010000001f}));
  });
  const std::string bf16 = {'\x80', '\x3f', '\x24', '\x3c'};  // 1 and 0.01001
  check_edited(config, [&](Folder& folder) { folder[name] = stored(name, DType::kBF16, {2}, bf16); });
  for (const float wrong : {0.02f, 0.0f, -0.01f, NAN, INFINITY})
    CHECK_THROWS(check_edited(config,
                              [&](Folder& folder) {
                                folder[name] = stored(name, DType::kF32, {2}, floats({1.0f, wrong}));
                              }),
                 kBad, "inv_freq: element 1: rope_theta 10000 and head_dim 4 give 0.01, got ");
  CHECK_THROWS(check_edited(config, [&](Folder& folder) { folder[name] = stored(name, DType::kF32, {4}); }),
               kBad, "expected shape [2]");
}

TEST("int8 folders: matrices I8 with good scales; ModelSlim's offsets must be zero") {
  ModelConfig config = small_config();
  config.quantized_w8a8 = true;
  const std::string q = "model.layers.0.self_attn.q_proj.weight", scale = q + "_scale",
                    offset = q + "_offset";
  check_edited(config, [&](Folder& folder) { folder[scale] = stored(scale, DType::kBF16, {16, 1}); });
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kI8, DType::kI32})
    check_edited(config, [&](Folder& folder) { folder[offset] = stored(offset, dtype, {16, 1}); });
  CHECK_THROWS(check_edited(config, [&](Folder& folder) { folder.erase(scale); }), kBad, scale.c_str());
  CHECK_THROWS(check_edited(config,
                            [&](Folder& folder) {
                              folder[scale] = stored(scale, DType::kF32, {1, 16});
                            }),
               kBad, "expected shape [16], got [1, 16]");
  CHECK_THROWS(check_edited(config,
                            [&](Folder& folder) {
                              folder[q] = stored(q, DType::kBF16, {16, 8});
                            }),
               kBad, "expected I8, got BF16");
  for (const float bad : {-1.0f, NAN, INFINITY})
    CHECK_THROWS(check_edited(config,
                              [&](Folder& folder) {
                                folder[scale] = stored(scale, DType::kF32, {16}, floats({0.0f, bad}));
                              }),
                 kBad, "row 1: expected a finite scale of at least 0");
  CHECK_THROWS(check_edited(config,
                            [&](Folder& folder) {
                              folder[offset] = stored(offset, DType::kI8, {16}, std::string("\0\0\x03", 3));
                            }),
               ErrorCode::kModelUnsupported, "row 2: expected offset 0, got 3");
  CHECK_THROWS(
      check_edited(small_config(), [&](Folder& folder) { folder[scale] = stored(scale, DType::kF32, {16}); }),
      kBad, "unexpected");
}

TEST("the fixtures of every architecture are accepted, and refused under another's rules") {
  const std::filesystem::path fixtures = std::filesystem::path(AGENTINFER_FIXTURES) / "checkpoints";
  std::set<std::string> seen;
  for (const auto& entry : std::filesystem::directory_iterator(fixtures)) {
    if (!entry.is_directory()) continue;
    ModelConfig config = read_model_config(entry.path());
    const Checkpoint checkpoint(entry.path());
    check_tensors(config, checkpoint);
    seen.insert(config.architecture_name);
    config.qkv_bias = !config.qkv_bias;
    CHECK_THROWS(check_tensors(config, checkpoint), kBad, "q_proj.bias");
  }
  CHECK_EQ(seen.size(), 4u);
}

}  // namespace
}  // namespace agentinfer

CHECK_MAIN
