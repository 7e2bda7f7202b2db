#pragma once
// The matrix product behind every linear operator: fp32 accumulation, no rounding inside.

#include <cstdint>
#include <vector>

#include "ops/op.h"
#include "ops/values.h"

namespace emu {

// rows[n * k + i] = view(i, n): the columns of a (K, N) operand as contiguous rows, whatever its strides or
// format.
Floats columns_as_rows(const Operand& operand);
// c[m * n + j] = sum_i a[m * k + i] * b[j * k + i]
Floats multiply_rows(const Floats& a, const Floats& b, int64_t m, int64_t n, int64_t k);
// The same on int8 values with int32 accumulation.
std::vector<int32_t> multiply_rows(const std::vector<int8_t>& a, const std::vector<int8_t>& b, int64_t m,
                                   int64_t n, int64_t k);

// FRACTAL_NZ rules of a 2-D weight view: storage (C/c0, R/16, 16, c0) for the stored matrix or its transpose.
void expect_nz(const aclTensor* weight, const char* name);
Dims nz_storage(int64_t rows, int64_t columns, aclDataType dtype);

}  // namespace emu
