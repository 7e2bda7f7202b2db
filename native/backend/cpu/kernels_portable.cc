// Plain C++: any machine, and the reference for the others.
#include "backend/cpu/kernels.h"

namespace agentinfer {
namespace {

#include "backend/cpu/vec_portable.h"
//
#include "backend/cpu/float_kernels.h"

using Acc = VecI;
struct WeightVec {
  int8_t byte[kLanes][4];
};
struct Acts {
  int8_t byte[4];
};
constexpr int kActOffset = 0, kInt8Sums = 8, kInt8WideSums = 8, kInt8TileRows = 4;

inline WeightVec load_weights(const int8_t* p) {
  WeightVec w;
  __builtin_memcpy(w.byte, p, sizeof(w.byte));
  return w;
}
inline Acts broadcast_acts(const int8_t* p) {
  return {{p[0], p[1], p[2], p[3]}};
}
inline Acc first_sum(const int32_t*) {
  return broadcast_i(0);
}
inline Acc dot(Acc sum, const WeightVec& w, Acts x) {
  for (int i = 0; i < kLanes; ++i)
    for (int j = 0; j < 4; ++j) sum.lane[i] += int32_t{w.byte[i][j]} * x.byte[j];
  return sum;
}
inline Vec to_float(Acc sum) {
  return each([&](int i) { return static_cast<float>(sum.lane[i]); });
}

#include "backend/cpu/body_int8.h"

}  // namespace

extern const FloatKernels kFloatPortable;
extern const Int8Kernels kInt8Portable;
const FloatKernels kFloatPortable = kFloatTable;
const Int8Kernels kInt8Portable = kInt8Table;

}  // namespace agentinfer
