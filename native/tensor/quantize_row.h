#pragma once
// Symmetric int8 quantisation of one weight row: the one definition, used when a folder is quantised on disk
// and when weights are quantised at load, so that both give the same bits.

#include <cstdint>
#include <span>

#include "tensor/tensor.h"

namespace agentinfer {

// scale = max|row| / 127; out[i] = row[i] * (1 / scale) rounded to nearest even, within [-127, 127]; returns
// the scale. A row whose scale would be below float's normal range (max|row| < 1.5e-36) becomes zeros with
// scale 0. Any value that is not finite: returns NaN, `out` is unspecified. REQUIRES: out.size() ==
// row.size(); the default rounding mode. The result depends on neither compiler flags nor instruction set.
// Thread safe.
float quantize_row(std::span<const float> row, std::span<int8_t> out);

// Elements [begin, begin + out.size()) of an F32, F16 or BF16 tensor as float, exactly. REQUIRES: the range
// lies within it.
void read_floats(const TensorView& tensor, int64_t begin, std::span<float> out);

}  // namespace agentinfer
