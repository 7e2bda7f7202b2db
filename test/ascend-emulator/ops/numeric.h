#pragma once
// Number formats, bit by bit.

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace emu {

inline float bf16_to_float(uint16_t value) {
  return std::bit_cast<float>(static_cast<uint32_t>(value) << 16);
}

// To nearest, ties to even; NaN stays a quiet NaN.
inline uint16_t float_to_bf16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if (value != value) return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// To nearest, ties away from zero (the rotary kernel's conversion).
inline uint16_t float_to_bf16_away(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if (value != value) return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x8000) >> 16);
}

inline float half_to_float(uint16_t value) {
  const uint32_t sign = static_cast<uint32_t>(value & 0x8000) << 16, exponent = value >> 10 & 31,
                 mantissa = value & 1023;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | mantissa << 13);
  if (exponent == 0) {
    const float magnitude = static_cast<float>(mantissa) * 5.9604644775390625e-8f;  // 2^-24
    return sign ? -magnitude : magnitude;
  }
  return std::bit_cast<float>(sign | (exponent + 112) << 23 | mantissa << 13);
}

inline uint16_t float_to_half(float value, bool away = false) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = bits >> 16 & 0x8000;
  if (value != value) return static_cast<uint16_t>(sign | 0x7e00);
  const float magnitude = std::fabs(value);
  if (magnitude >= 65520.0f) return static_cast<uint16_t>(sign | 0x7c00);
  if (magnitude < 6.103515625e-5f) {  // below 2^-14: a multiple of 2^-24
    const float units = magnitude * 16777216.0f;
    return static_cast<uint16_t>(sign |
                                 static_cast<uint32_t>(away ? std::round(units) : std::nearbyint(units)));
  }
  const uint32_t shifted = (bits & 0x7fffffff) - (112u << 23);
  const uint32_t half = away ? shifted + 0x1000 : shifted + 0xfff + (shifted >> 13 & 1);
  return static_cast<uint16_t>(sign | half >> 13);
}

inline float round_bf16(float value) {
  return bf16_to_float(float_to_bf16(value));
}

}  // namespace emu
