#include "tensor/elements.h"

#include <cstring>

#include "tensor/check.h"

namespace agentinfer {
namespace {

template <typename T>
T element(const TensorView& tensor, int64_t index) {
  T value;
  std::memcpy(&value, tensor.data.data() + static_cast<size_t>(index) * sizeof(T), sizeof(T));
  return value;
}

}  // namespace

float read_element(const TensorView& tensor, int64_t index) {
  switch (tensor.dtype) {
    case DType::kBF16:
      return f32_from_bf16(element<uint16_t>(tensor, index));
    case DType::kF16:
      return f32_from_f16(element<uint16_t>(tensor, index));
    case DType::kF32:
      return element<float>(tensor, index);
    default:
      fail(ErrorCode::kModelInvalid, tensor.name, ": expected a floating type, got ",
           dtype_name(tensor.dtype));
  }
}

void read_bf16(const TensorView& tensor, int64_t begin, int64_t count, uint16_t* out) {
  if (tensor.dtype == DType::kBF16) {
    std::memcpy(out, tensor.data.data() + static_cast<size_t>(begin) * 2, static_cast<size_t>(count) * 2);
    return;
  }
  for (int64_t i = 0; i < count; ++i) out[i] = bf16_from_f32(read_element(tensor, begin + i));
}

}  // namespace agentinfer
