#include "tensor/quantize_row.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "tensor/check.h"

namespace agentinfer {

namespace {

// Adding and subtracting 1.5 * 2^23 rounds |x| < 2^22 to the nearest integer, ties to even, in any vector
// unit.
float rounded(float x) {
  constexpr float kShift = 12582912.0f;
  return (x + kShift) - kShift;
}

template <typename Convert>
void read_halves(const TensorView& tensor, int64_t begin, std::span<float> out, Convert convert) {
  const std::byte* const from = tensor.data.data() + 2 * begin;
  for (size_t i = 0; i < out.size(); ++i) {
    uint16_t bits = 0;
    std::memcpy(&bits, from + 2 * i, 2);
    out[i] = convert(bits);
  }
}

}  // namespace

float quantize_row(std::span<const float> row, std::span<int8_t> out) {
  // Magnitudes compare as integers, NaN above infinity above all else; unlike floats, in any order, so by
  // vectors.
  int32_t highest = 0;
  for (const float value : row) {
    const auto magnitude = static_cast<int32_t>(std::bit_cast<uint32_t>(value) & 0x7fffffffu);
    highest = magnitude > highest ? magnitude : highest;
  }
  if (highest >= 0x7f800000) return std::numeric_limits<float>::quiet_NaN();
  const float largest = std::bit_cast<float>(highest);
  const float scale = largest / 127.0f;
  if (scale < std::numeric_limits<float>::min()) {
    std::fill(out.begin(), out.end(), int8_t{0});
    return 0;
  }
  const float inverse = 1.0f / scale;
  for (size_t i = 0; i < row.size(); ++i) {
    const auto level = static_cast<int32_t>(rounded(row[i] * inverse));
    out[i] = static_cast<int8_t>(level > 127 ? 127 : level < -127 ? -127 : level);
  }
  return scale;
}

void read_floats(const TensorView& tensor, int64_t begin, std::span<float> out) {
  ensure(begin >= 0 && begin + static_cast<int64_t>(out.size()) <= tensor.elements(),
         "read_floats: range outside ", tensor.name);
  switch (tensor.dtype) {
    case DType::kF32:
      std::memcpy(out.data(), tensor.data.data() + 4 * begin, out.size_bytes());
      return;
    case DType::kF16:
      read_halves(tensor, begin, out, f32_from_f16);
      return;
    case DType::kBF16:
      read_halves(tensor, begin, out,
                  [](uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); });
      return;
    default:
      fail(ErrorCode::kInternal, "read_floats: tensor ", tensor.name, " is ", dtype_name(tensor.dtype));
  }
}

}  // namespace agentinfer
