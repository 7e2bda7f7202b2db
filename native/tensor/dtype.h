#pragma once
// Element types of stored tensors, and exact scalar conversions between the floating ones.

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace agentinfer {

enum class DType : uint8_t { kF32, kF16, kBF16, kI8, kU8, kI32, kI64 };

size_t dtype_size(DType dtype);            // bytes an element
std::string_view dtype_name(DType dtype);  // as safetensors spells it: "F32", "BF16", "I8" ...

// Round to nearest even; NaN stays NaN (quiet), overflow becomes infinity.
uint16_t bf16_from_f32(float value);
uint16_t f16_from_f32(float value);
float f32_from_bf16(uint16_t bits);
float f32_from_f16(uint16_t bits);

}  // namespace agentinfer
