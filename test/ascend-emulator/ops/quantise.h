#pragma once
// Symmetric int8 quantisation of rows, shared by every operator that does it.

#include "meta/executor.h"
#include "ops/values.h"

namespace emu {

// t = x * smooth (when not empty); scale = max|t| / 127; y = round-half-even(t / scale). A row of zeros:
// scale 0, y 0.
void quantise_rows(const Floats& x, const Floats& smooth, int64_t width, Operand& y, Operand& scale);
// Round half to even and clamp to [-128, 127].
int64_t to_int8(float value);

}  // namespace emu
