// aarch64; NEON is always there.
#include <arm_neon.h>

#include "backend/cpu/kernels.h"

namespace agentinfer {
namespace {

#include "backend/cpu/vec_neon.h"
//
#include "backend/cpu/float_kernels.h"

using Acc = int32x4_t;
using WeightVec = int8x16_t;
using Acts = int8x16_t;
constexpr int kActOffset = 0, kInt8Sums = 16, kInt8WideSums = 16, kInt8TileRows = 6;

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
  const int32x4_t low = vpaddlq_s16(vmull_s8(vget_low_s8(w), vget_low_s8(x)));
  const int32x4_t high = vpaddlq_s16(vmull_high_s8(w, x));
  return vaddq_s32(sum, vpaddq_s32(low, high));
}
inline Vec to_float(Acc sum) {
  return vcvtq_f32_s32(sum);
}

#include "backend/cpu/body_int8.h"

}  // namespace

extern const FloatKernels kFloatNeon;
extern const Int8Kernels kInt8Neon;
const FloatKernels kFloatNeon = kFloatTable;
const Int8Kernels kInt8Neon = kInt8Table;

}  // namespace agentinfer
