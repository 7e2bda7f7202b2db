#pragma once
// Which tensors a network has, by name and shape, decided by its config alone; and the check of a checkpoint
// against that. Names follow the Hugging Face layout: model.embed_tokens, model.layers.N.{input_layernorm,
// self_attn.{q,k,v,o}_proj, post_attention_layernorm, mlp.{gate,up,down}_proj}, model.norm, lm_head.

#include <string>
#include <vector>

#include "model/checkpoint.h"
#include "model/config.h"

namespace agentinfer {

enum class TensorRole : uint8_t {
  kEmbedding,
  kHead,
  kNorm,
  kBias,
  kMatrix,   // of attention and MLP: what int8 replaces
  kScale,    // F32 row scales of an I8 matrix, [rows] or [rows, 1]
  kOffset,   // ModelSlim's weight_offset: [rows] or [rows, 1], all zero (the quantisation is symmetric)
  kInvFreq,  // stored rotary frequencies: checked against the config, otherwise unused
};

struct ExpectedTensor {
  std::string name;
  std::vector<int64_t> shape;  // rows first; PyTorch's Linear layout [out, in]
  TensorRole role = TensorRole::kNorm;
  bool optional = false;  // may be absent; unused if present
};

// Every tensor that the folder must or may hold, in the order of the forward pass. For quantized_w8a8,
// matrices are I8 and have scales and optional offsets.
std::vector<ExpectedTensor> expected_tensors(const ModelConfig& config);

// Throws kModelInvalid, naming tensor, expected and got, for a tensor that is missing, extra, misshapen or of
// a wrong element type; for an inv_freq that does not follow from the config's theta and head_dim; for a
// scale that is negative or not finite and an offset other than zero. Values of weights are not read.
void check_tensors(const ModelConfig& config, const Checkpoint& checkpoint);

}  // namespace agentinfer
