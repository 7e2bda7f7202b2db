#pragma once
// Reading and writing operands as plain arrays in view order.

#include <cstdint>
#include <vector>

#include "meta/executor.h"

namespace emu {

using Floats = std::vector<float>;
using Ints = std::vector<int64_t>;

enum class Rounding { kNearestEven, kAwayFromZero };

float load_float(const char* at, aclDataType dtype);
int64_t load_int(const char* at, aclDataType dtype);
void store_float(char* at, aclDataType dtype, float value, Rounding rounding = Rounding::kNearestEven);
void store_int(char* at, aclDataType dtype, int64_t value);

// Element offsets of a view, in view order.
std::vector<int64_t> offsets_of(const aclTensor& tensor);

Floats read_floats(const Operand& operand);  // any dtype, any strides, FRACTAL_NZ too
Ints read_ints(const Operand& operand);      // floats are truncated
void write_floats(Operand& operand, const Floats& values, Rounding rounding = Rounding::kNearestEven);
void write_ints(Operand& operand, const Ints& values);
// Whole rows of a contiguous operand whose last dimension is the row.
void read_row(const Operand& operand, int64_t row, int64_t width, float* out);
void write_row(Operand& operand, int64_t row, int64_t width, const float* values,
               Rounding rounding = Rounding::kNearestEven);

}  // namespace emu
