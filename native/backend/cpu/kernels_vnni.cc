// The int8 product with AVX-512 VNNI: unsigned activations (offset 128) by signed weights, four products a lane.

#include <cstdint>

#include "backend/cpu/kernels.h"

#if defined(__AVX512VNNI__)
#include <immintrin.h>

namespace agentinfer {
namespace {

#include "backend/cpu/vec_avx512.h"

#include "backend/cpu/body_math.h"

constexpr int kOffset = 128;
constexpr int kSmallRows = 6, kSmallVecs = 4, kLargeRows = 12, kLargeVecs = 2;

inline VecI dot4(VecI sum, VecI w, int32_t x) { return _mm512_dpbusd_epi32(sum, _mm512_set1_epi32(x), w); }

#include "backend/cpu/body_int8.h"

}  // namespace

const Int8Kernels* vnni_int8_kernels() { return &kInt8Table; }

}  // namespace agentinfer
#else
namespace agentinfer {
const Int8Kernels* vnni_int8_kernels() { return nullptr; }
}  // namespace agentinfer
#endif
