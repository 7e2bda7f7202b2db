// The int8 product with arm64's dot product instructions (optional from ARMv8.2).

#include <cstdint>

#include "backend/cpu/kernels.h"

#if defined(__ARM_FEATURE_DOTPROD)
#include <arm_neon.h>

namespace agentinfer {
namespace {

#include "backend/cpu/vec_neon.h"

#include "backend/cpu/body_math.h"

constexpr int kOffset = 0;
constexpr int kSmallRows = 6, kSmallVecs = 4, kLargeRows = 6, kLargeVecs = 4;

inline VecI dot4(VecI sum, VecI w, int32_t x) {
  return vdotq_s32(sum, vreinterpretq_s8_s32(w), vreinterpretq_s8_s32(vdupq_n_s32(x)));
}

#include "backend/cpu/body_int8.h"

}  // namespace

const Int8Kernels* dotprod_int8_kernels() { return &kInt8Table; }

}  // namespace agentinfer
#else
namespace agentinfer {
const Int8Kernels* dotprod_int8_kernels() { return nullptr; }
}  // namespace agentinfer
#endif
