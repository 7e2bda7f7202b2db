#pragma once
// Single elements and runs of stored tensors of any floating type. Thread safe.

#include <cstdint>

#include "tensor/tensor.h"

namespace agentinfer {

// One element, exactly. REQUIRES: 0 <= index < elements(). Throws kModelInvalid (tensor and dtype named) for
// a dtype that is not floating.
float read_element(const TensorView& tensor, int64_t index);

// Elements [begin, begin + count) rounded to bf16. Requirements and errors as above.
void read_bf16(const TensorView& tensor, int64_t begin, int64_t count, uint16_t* out);

}  // namespace agentinfer
