// x86-64 with AVX-512 F, BW, DQ and VL.
#include <immintrin.h>

#include "backend/cpu/kernels.h"

namespace agentinfer {
namespace {

#include "backend/cpu/vec_avx512.h"
//
#include "backend/cpu/float_kernels.h"

}  // namespace

extern const FloatKernels kFloatAvx512;
const FloatKernels kFloatAvx512 = kFloatTable;

}  // namespace agentinfer
