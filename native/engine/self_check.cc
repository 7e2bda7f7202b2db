#include "engine/self_check.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <deque>
#include <sstream>
#include <vector>

#include "backend/cpu/cpu_backend.h"
#include "model/decoder.h"
#include "parallel/group.h"
#include "tensor/dtype.h"

namespace agentinfer {
namespace {

constexpr int64_t kHidden = 256, kFfn = 256, kVocabulary = 512;
constexpr int kHeads = 4, kKvHeads = 2, kLayers = 2, kTokens = 48, kChunk = 33;
// Roundings to bf16 after every operator; with int8, values that fall on the other side of a level.
constexpr double kAllowed = 0.05, kAllowedInt8 = 0.15;

// Stored tensors with values from a fixed sequence.
class Tensors {
 public:
  const TensorView& matrix(int64_t rows, int64_t cols, float deviation) {
    return made({rows, cols}, [&] { return deviation * uniform(); });
  }
  const TensorView& norm(int64_t size) {
    return made({size}, [&] { return 1 + 0.2f * uniform(); });
  }
  const TensorView& bias(int64_t size) {
    return made({size}, [&] { return 0.2f * uniform(); });
  }

 private:
  struct Owned {
    std::vector<std::byte> bytes;
    TensorView view;
  };
  float uniform() {  // of deviation 1
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return (static_cast<float>(state_ >> 40) / static_cast<float>(1 << 24) - 0.5f) * 3.46f;
  }
  const TensorView& made(std::vector<int64_t> shape, const auto& value) {
    size_t count = 1;
    for (const int64_t size : shape) count *= static_cast<size_t>(size);
    Owned& owned = all_.emplace_back();
    owned.bytes.resize(count * sizeof(uint16_t));
    for (size_t i = 0; i < count; ++i) {
      const uint16_t stored = bf16_from_f32(value());
      std::memcpy(owned.bytes.data() + i * sizeof stored, &stored, sizeof stored);
    }
    owned.view = {"self-check", DType::kBF16, std::move(shape), owned.bytes};
    return owned.view;
  }
  std::deque<Owned> all_;  // views stay where they are
  uint64_t state_ = 42;
};

Slice whole(const TensorView& tensor) {
  return {.tensor = &tensor,
          .row_begin = 0,
          .row_end = tensor.shape[0],
          .col_begin = 0,
          .col_end = tensor.shape.size() > 1 ? tensor.shape[1] : 0};
}

ModelConfig small_kin(const ModelConfig& config) {
  ModelConfig small = config;
  small.hidden_size = kHidden;
  small.intermediate_size = kFfn;
  small.vocab_size = kVocabulary;
  small.num_hidden_layers = kLayers;
  small.num_attention_heads = kHeads;
  small.num_key_value_heads = kKvHeads;
  small.tie_word_embeddings = false;
  return small;
}

// The same weights for whichever backend.
Weights made_weights(const ModelConfig& config, WeightFormat format, Backend& backend) {
  Tensors tensors;
  const auto vector = [&](int64_t size) { return backend.make_vector(whole(tensors.norm(size))); };
  const auto linear = [&](std::vector<int64_t> outputs, int64_t inputs, bool biased, WeightFormat as,
                          bool gated = false) {
    LinearSource source{.parts = {}, .bias = {}, .format = as, .name = "self-check", .gated = gated};
    const float deviation = 1.5f / std::sqrt(static_cast<float>(inputs));
    for (const int64_t rows : outputs) {
      source.parts.push_back(whole(tensors.matrix(rows, inputs, deviation)));
      if (biased) source.bias.push_back(whole(tensors.bias(rows)));
    }
    return backend.make_linear(source);
  };
  const int64_t dim = config.head_dim, q = kHeads * dim, kv = kKvHeads * dim;
  Weights weights;
  weights.head = linear({kVocabulary}, kHidden, false, WeightFormat::kBF16);
  weights.embedding = backend.make_embedding(whole(tensors.matrix(kVocabulary, kHidden, 1)));
  weights.final_norm = vector(kHidden);
  for (int i = 0; i < kLayers; ++i) {
    LayerWeights& layer = weights.layers.emplace_back();
    layer.input_norm = vector(kHidden);
    layer.post_attention_norm = vector(kHidden);
    if (config.sandwich_norm) {
      layer.pre_mlp_norm = vector(kHidden);
      layer.post_mlp_norm = vector(kHidden);
    }
    if (config.qk_norm) {
      layer.q_norm = vector(dim);
      layer.k_norm = vector(dim);
    }
    layer.qkv = linear({q, kv, kv}, kHidden, config.qkv_bias, format);
    layer.o = linear({kHidden}, q, config.o_bias, format);
    layer.gate_up = linear({kFfn, kFfn}, kHidden, config.mlp_bias, format, true);
    layer.down = linear({kHidden}, kFfn, config.mlp_bias, format);
  }
  return weights;
}

}  // namespace

std::vector<float> self_check_logits(const ModelConfig& config, const Weights& weights, Backend& backend,
                                     Group& group, DType kv_dtype, int block_size, int64_t vocabulary) {
  DecoderOptions options;
  options.shape = {
      .max_rows = kTokens, .max_sequences = 1, .max_logit_rows = kTokens, .max_context = kTokens};
  options.kv_dtype = kv_dtype;
  options.block_size = block_size;
  options.blocks = (kTokens + block_size - 1) / block_size;
  Decoder decoder(config, weights, backend, group, options);
  std::vector<int32_t> blocks(static_cast<size_t>(options.blocks));
  for (size_t i = 0; i < blocks.size(); ++i) blocks[i] = static_cast<int32_t>(i);
  std::vector<float> all;
  for (int begin = 0; begin < kTokens;) {
    const int count = begin == 0 ? kChunk : 1;
    std::vector<int32_t> tokens, positions, rows;
    for (int i = 0; i < count; ++i) {
      tokens.push_back((begin + i) * 37 % static_cast<int>(vocabulary));
      positions.push_back(begin + i);  // and the slot, blocks being in order
      rows.push_back(i);
    }
    const StepSequence sequence{0, count, begin + count, blocks};
    decoder.forward({tokens, positions, positions, std::span(&sequence, 1), rows},
                    [&](int, int done, const Activation& logits) {
                      for (int row = 0; row < done; ++row) {
                        const auto values =
                            backend.logits(logits, row).first(static_cast<size_t>(vocabulary));
                        all.insert(all.end(), values.begin(), values.end());
                      }
                    });
    begin += count;
  }
  return all;
}

SelfCheckResult compare_logits(const std::vector<float>& got, const std::vector<float>& expected,
                               WeightFormat format, const std::string& what) {
  SelfCheckResult result;
  result.allowed = format == WeightFormat::kW8A8 ? kAllowedInt8 : kAllowed;
  double scale = 0;
  bool finite = true;
  for (size_t i = 0; i < expected.size(); ++i) {
    finite &= std::isfinite(got[i]);
    scale = std::max(scale, std::fabs(static_cast<double>(expected[i])));
    result.worst = std::max(result.worst, std::fabs(static_cast<double>(got[i]) - expected[i]));
  }
  result.worst /= scale;
  std::ostringstream text;
  if (!finite)
    text << what << " logits on the device that are not finite";
  else if (result.worst > result.allowed)
    text << what << " other logits on the device than on the CPU: off by " << result.worst
         << " of the largest, " << result.allowed << " is rounding";
  result.problem = text.str();
  return result;
}

SelfCheckResult self_check(const ModelConfig& config, WeightFormat format, Backend& device, int block_size,
                           const ModelConfig* device_config) {
  const auto run = [&](const ModelConfig& model, Backend& backend, DType kv, int block) {
    const Weights weights = made_weights(model, format, backend);
    SoloGroup group;
    return self_check_logits(model, weights, backend, group, kv, block, kVocabulary);
  };
  const auto cpu = make_cpu_backend({.threads = 1, .isa = ""});
  const std::vector<float> expected = run(small_kin(config), *cpu, DType::kF32, 16);
  const std::vector<float> got =
      run(small_kin(device_config != nullptr ? *device_config : config), device, DType::kBF16, block_size);
  return compare_logits(got, expected, format, "a small model of this kind gives");
}

}  // namespace agentinfer
