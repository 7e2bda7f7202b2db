#pragma once
// Weights from the stored tensors into the kernels' panels (layouts: kernels.h). Work is spread over the pool
// by panel.

#include "backend/backend.h"
#include "backend/cpu/memory.h"
#include "backend/cpu/thread_pool.h"

namespace agentinfer {

struct PackedWeights {
  WeightFormat format = WeightFormat::kBF16;
  int64_t k = 0, columns = 0, panels = 0;
  Memory weights;     // as kernels.h has them
  Memory bias;        // f32 [panels * kPanelColumns], zero where there is none
  Memory scale;       // int8: f32 [panels * kPanelColumns]
  Memory column_sum;  // int8: int32 [panels * kPanelColumns]

  // Panels of the gate and of what it gates in turn, each part with panels of its own.
  bool gated = false;

  // The output column at `inside` of a panel; `columns` where there is none.
  int64_t column(int64_t panel, int64_t inside) const;
  int64_t k4() const { return (k + 3) / 4; }
  size_t bytes() const { return weights.bytes() + bias.bytes() + scale.bytes() + column_sum.bytes(); }
};

// Takes its memory from `arena`. Throws kOutOfMemory; kModelInvalid for a weight that is not finite where it
// must be quantised (names tensor and row); kInvalidArgument for a source that contradicts itself.
PackedWeights pack(const LinearSource& source, ThreadPool& pool, Arena& arena);

}  // namespace agentinfer
