// The int8 kernels for aarch64 with the dot product instructions (Armv8.2).
#include <arm_neon.h>

#include "backend/cpu/kernels.h"

namespace agentinfer {
namespace {

#include "backend/cpu/vec_neon.h"
//
#include "backend/cpu/body_fetch.h"
#include "backend/cpu/body_math.h"

using Acc = int32x4_t;
using WeightVec = int8x16_t;
using Acts = int8x16_t;
constexpr int kActOffset = 0, kInt8Sums = 24, kInt8WideSums = 24, kInt8TileRows = 6;

inline WeightVec load_weights(const int8_t* p) {
  return vld1q_s8(p);
}
inline Acts broadcast_acts(const int8_t* p) {
  int32_t four;
  __builtin_memcpy(&four, p, sizeof(four));
  return vreinterpretq_s8_s32(vdupq_n_s32(four));
}
inline Acc first_sum(const int32_t*) {
  return vdupq_n_s32(0);
}
inline Acc dot(Acc sum, WeightVec w, Acts x) {
  return vdotq_s32(sum, w, x);
}
inline Vec to_float(Acc sum) {
  return vcvtq_f32_s32(sum);
}

#include "backend/cpu/body_int8.h"

}  // namespace

extern const Int8Kernels kInt8NeonDotprod;
const Int8Kernels kInt8NeonDotprod = kInt8Table;

}  // namespace agentinfer
