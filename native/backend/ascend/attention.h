#pragma once
// Splitting, positioning and storing of q, k and v, and attention over the paged cache: one fused call for
// prefill chunks, decode and verification alike (packed tokens, blocks of 128, causal from the bottom right).

#include <memory>
#include <vector>

#include "backend/ascend/launcher.h"
#include "backend/ascend/objects.h"
#include "backend/ascend/step_buffers.h"
#include "backend/backend.h"

namespace agentinfer {

class AscendAttention {
 public:
  // Throws kModelUnsupported when the device's operators do not take these heads (asked by a trial plan,
  // which runs nothing).
  AscendAttention(Launcher& launcher, const StepShape& shape, const AttentionShape& attention,
                  const RopeTable& rope);

  // The cache that plan_for means.
  void attend(AscendKvCache& cache) { cache_ = &cache; }
  // `rows`: of the step, padding included. Gathers the rows of the rotary tables. The attention's call is
  // planned anew at layer 0, because it depends on the sequences' lengths.
  void begin_step(const StepBuffers& buffers, AscendKvCache& cache, int rows);
  void write_kv(int layer, const AscendActivation& qkv, const Vector* q_norm, const Vector* k_norm,
                float eps);
  void run(int layer, AscendActivation& out);

  // A call for this step's lengths over the given addresses (as in Call::addresses of an earlier one). For
  // task updates.
  std::unique_ptr<Call> plan_for(const StepBuffers& buffers, int rows,
                                 std::span<const void* const> addresses) const;
  // One phase 1 a step may serve all layers.
  bool repeatable() const { return call_ == nullptr || call_->repeatable(); }
  void forget() { call_.reset(); }
  size_t bytes() const;  // on the device
  // Whether rows of slot -1 are skipped, as graphs need for their padding.
  bool takes_padding() const { return ops().scatter_kv.present(); }

 private:
  const acl::OperatorFunctions& ops() const { return launcher_.device().cann().op; }
  void split(const AscendActivation& qkv);
  void norm(const void* from, void* to, int heads, const Vector& weight, float eps);
  void rotate(void*& q, void*& k);
  void store(int layer, const void* k);
  bool rotary_in_place() const;

  struct View {
    const void *q, *k, *v, *table, *out;
    int64_t rows, sequences, width, blocks;
  };
  std::unique_ptr<Call> plan(const View& view, std::span<const int64_t> ends,
                             std::span<const int64_t> lengths) const;
  void probe();

  Launcher& launcher_;
  const AttentionShape shape_;
  const int max_rows_;
  DeviceMemory mask_;                   // int8 [2048][2048], 1 above the diagonal
  DeviceMemory cos_table_, sin_table_;  // bf16 [max_context][head_dim]
  DeviceMemory cos_, sin_;              // bf16 [rows][head_dim] of the step
  DeviceMemory q_[2], k_[2],
      v_;              // bf16 [rows][heads * head_dim]; two of each for operators that do not work in place
  DeviceMemory rstd_;  // f32 [rows * heads]: the norm's second output
  int64_t positions_ = 0;                 // rows of the tables
  const StepBuffers* buffers_ = nullptr;  // of the step
  AscendKvCache* cache_ = nullptr;
  int rows_ = 0;
  const void* query_ = nullptr;  // where this layer's q lies
  std::unique_ptr<Call> call_;
};

}  // namespace agentinfer
