// Parts of the forward pass by themselves, for their time.

#include "model/decoder.h"

namespace agentinfer {

void Decoder::rehearse(const StepInputs& inputs, int layers) {
  const int rows = static_cast<int>(inputs.tokens.size());
  backend_.begin_step(inputs, *cache_);
  backend_.embed(*weights_.embedding, *residual_);
  for (int index = 0; index < layers; ++index) {
    const LayerWeights& weights = weights_.layers[static_cast<size_t>(index)];
    backend_.rms_norm(*residual_, *weights.input_norm, eps_, rows, *normed_);
    backend_.linear(*normed_, *weights.qkv, rows, *qkv_);
    backend_.write_kv(index, *qkv_, weights.q_norm.get(), weights.k_norm.get(), eps_);
    backend_.attention(index, *qkv_, *attended_);
    backend_.linear(*attended_, *weights.o, rows, *branch_);
    backend_.gated_linear(*normed_, *weights.gate_up, rows, *gate_up_, *gated_);
    backend_.linear(*gated_, *weights.down, rows, *branch_);
  }
  backend_.synchronize();
}

void Decoder::rehearse_attention(const StepInputs& inputs, int layers) {
  backend_.begin_step(inputs, *cache_);
  for (int index = 0; index < layers; ++index) backend_.attention(index, *qkv_, *attended_);
  backend_.synchronize();
}

}  // namespace agentinfer
