#pragma once
// The forward pass as the engine sees it, whether one rank runs it (model/decoder) or several
// (model/ranked_decoder). One thread calls everything: the engine's, which is rank 0's.

#include <cstdint>
#include <functional>

#include "backend/backend.h"

namespace agentinfer {

struct DecoderOptions {
  StepShape shape;
  DType kv_dtype = DType::kF16;
  int block_size = 32;  // tokens in a KV block
  int blocks = 0;       // device blocks
  int host_blocks = 0;  // host tier blocks
};

class ForwardPass {
 public:
  virtual ~ForwardPass() = default;

  // Gets logits rows [first, first + count) of the step's logit rows, as rows 0..count of `logits` (whole
  // vocabulary, f32), to be read through backend().
  using LogitsSink = std::function<void(int first, int count, const Activation& logits)>;

  // Runs one step over the cache and hands its logits to `sink` in order, at most shape.max_logit_rows at a
  // time. Every row's K and V is in the cache afterwards. Throws what the backend throws; the cache slots of
  // this step's rows are then undefined, all others untouched. kDevice: nothing can be run any more.
  virtual void forward(const StepInputs& inputs, const LogitsSink& sink) = 0;

  // As Backend's, on every rank, in call order and before the next forward(). What they throw, forward() may
  // throw.
  virtual void copy_block(int32_t from, int32_t to) = 0;
  virtual void block_to_host(int32_t block, int32_t host_block) = 0;
  virtual void block_from_host(int32_t host_block, int32_t block) = 0;

  virtual Backend& backend() = 0;  // rank 0's: holds the logits
  virtual const DecoderOptions& options() const = 0;
};

}  // namespace agentinfer
