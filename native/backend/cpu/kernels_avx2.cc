// x86-64 with AVX2, FMA and F16C.
#include <immintrin.h>

#include "backend/cpu/kernels.h"

namespace agentinfer {
namespace {

#include "backend/cpu/vec_avx2.h"
//
#include "backend/cpu/float_kernels.h"

// maddubs multiplies unsigned by signed bytes and saturates the sums of pairs at 16 bits. |w| <= 128 as the
// unsigned operand and x with w's sign as the other (|x| <= 127, so its negation exists) keep a pair within 2
// * 128 * 127 < 32768: exact.
using Acc = __m256i;
struct WeightVec {
  __m256i value, magnitude;
};
using Acts = __m256i;
constexpr int kActOffset = 0, kInt8Sums = 8, kInt8WideSums = 4, kInt8TileRows = 6;

inline WeightVec load_weights(const int8_t* p) {
  const __m256i value = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return {value, _mm256_abs_epi8(value)};
}
inline Acts broadcast_acts(const int8_t* p) {
  int32_t four;
  __builtin_memcpy(&four, p, sizeof(four));
  return _mm256_set1_epi32(four);
}
inline Acc first_sum(const int32_t*) {
  return _mm256_setzero_si256();
}
inline Acc dot(Acc sum, const WeightVec& w, Acts x) {
  const __m256i pairs = _mm256_maddubs_epi16(w.magnitude, _mm256_sign_epi8(x, w.value));
  return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
inline Vec to_float(Acc sum) {
  return _mm256_cvtepi32_ps(sum);
}

#include "backend/cpu/body_int8.h"

}  // namespace

extern const FloatKernels kFloatAvx2;
extern const Int8Kernels kInt8Avx2;
const FloatKernels kFloatAvx2 = kFloatTable;
const Int8Kernels kInt8Avx2 = kInt8Table;

}  // namespace agentinfer
