// The int8 kernels for x86-64 with AVX-512 VNNI.
#include <immintrin.h>

#include "backend/cpu/kernels.h"

namespace agentinfer {
namespace {

#include "backend/cpu/vec_avx512.h"
//
#include "backend/cpu/body_fetch.h"
#include "backend/cpu/body_math.h"

// vpdpbusd multiplies unsigned by signed bytes: activations are stored + 128, and sums start at -128 * (sum
// of the column). Arithmetic modulo 2^32 is exact, since the true sum fits.
using Acc = __m512i;
using WeightVec = __m512i;
using Acts = __m512i;
constexpr int kActOffset = 128, kInt8Sums = kAccumulators, kInt8WideSums = kWideAccumulators,
              kInt8TileRows = kMaxTileRows;

inline WeightVec load_weights(const int8_t* p) {
  return _mm512_loadu_si512(p);
}
inline Acts broadcast_acts(const int8_t* p) {
  int32_t four;
  __builtin_memcpy(&four, p, sizeof(four));
  return _mm512_set1_epi32(four);
}
inline Acc first_sum(const int32_t* column_sum) {
  return _mm512_mullo_epi32(_mm512_loadu_si512(column_sum), _mm512_set1_epi32(-128));
}
// Written as assembly since GCC 12 copies the sum before and after the intrinsic, which costs more than the
// product itself.
inline Acc dot(Acc sum, WeightVec w, Acts x) {
  asm("vpdpbusd\t{%2, %1, %0|%0, %1, %2}" : "+v"(sum) : "v"(x), "vm"(w));
  return sum;
}
inline Vec to_float(Acc sum) {
  return _mm512_cvtepi32_ps(sum);
}

#include "backend/cpu/body_int8.h"

}  // namespace

extern const Int8Kernels kInt8Avx512Vnni;
const Int8Kernels kInt8Avx512Vnni = kInt8Table;

}  // namespace agentinfer
