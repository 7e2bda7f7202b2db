#pragma once
// Rows of a stored matrix to int8, on several threads. Part of quantize_folder; nobody else includes this.

#include <cstdint>
#include <span>

#include "tensor/tensor.h"

namespace agentinfer {

// Quantises rows [begin, begin + scales.size()) into `out` (rows x columns) and `scales`. Throws
// kModelInvalid naming tensor and row for a value that is not finite. The result does not depend on
// `threads`.
void quantize_rows(const TensorView& matrix, int64_t begin, std::span<int8_t> out, std::span<float> scales,
                   int threads);

}  // namespace agentinfer
