// Vec for aarch64 NEON; see vec_portable.h for the meaning of each function. Included inside an unnamed
// namespace by the one file compiled for this ISA.

using Vec = float32x4_t;
using VecI = int32x4_t;
constexpr int kLanes = 4;
constexpr int kAccumulators = 24;
constexpr int kWideAccumulators = 24;
constexpr int kMaxTileRows = 6;

inline Vec zero() {
  return vdupq_n_f32(0);
}
inline Vec broadcast(float x) {
  return vdupq_n_f32(x);
}
inline Vec load(const float* p) {
  return vld1q_f32(p);
}
inline void store(float* p, Vec x) {
  vst1q_f32(p, x);
}
inline Vec add(Vec a, Vec b) {
  return vaddq_f32(a, b);
}
inline Vec sub(Vec a, Vec b) {
  return vsubq_f32(a, b);
}
inline Vec mul(Vec a, Vec b) {
  return vmulq_f32(a, b);
}
inline Vec div(Vec a, Vec b) {
  return vdivq_f32(a, b);
}
inline Vec fma(Vec a, Vec b, Vec c) {
  return vfmaq_f32(c, a, b);
}
// b where either is NaN, as on x86.
inline Vec max(Vec a, Vec b) {
  return vbslq_f32(vcgtq_f32(a, b), a, b);
}
inline Vec min(Vec a, Vec b) {
  return vbslq_f32(vcltq_f32(a, b), a, b);
}
inline Vec select_less(Vec x, Vec y, Vec yes, Vec no) {
  return vbslq_f32(vcltq_f32(x, y), yes, no);
}
inline float reduce_add(Vec x) {
  return vaddvq_f32(x);
}
inline float reduce_max(Vec x) {
  return vmaxvq_f32(x);
}

inline VecI bits(Vec x) {
  return vreinterpretq_s32_f32(x);
}
inline Vec floats(VecI x) {
  return vreinterpretq_f32_s32(x);
}
inline VecI broadcast_i(int32_t x) {
  return vdupq_n_s32(x);
}
inline VecI and_i(VecI a, VecI b) {
  return vandq_s32(a, b);
}
inline VecI add_i(VecI a, VecI b) {
  return vaddq_s32(a, b);
}
inline VecI max_i(VecI a, VecI b) {
  return vmaxq_s32(a, b);
}
template <int N>
inline VecI shift_left(VecI x) {
  return vshlq_n_s32(x, N);
}
template <int N>
inline VecI shift_right(VecI x) {
  return vreinterpretq_s32_u32(vshrq_n_u32(vreinterpretq_u32_s32(x), N));
}
inline VecI load_i(const void* p) {
  return vreinterpretq_s32_u8(vld1q_u8(static_cast<const uint8_t*>(p)));
}
inline void store_i(int32_t* p, VecI x) {
  vst1q_s32(p, x);
}
inline void store_low16(uint16_t* p, VecI x) {
  vst1_u16(p, vmovn_u32(vreinterpretq_u32_s32(x)));
}
inline void store_low8(int8_t* p, VecI x) {
  const int16x4_t half = vmovn_s32(x);
  const int8x8_t bytes = vmovn_s16(vcombine_s16(half, half));
  vst1_lane_s32(reinterpret_cast<int32_t*>(p), vreinterpret_s32_s8(bytes), 0);
}

inline Vec load_f16(const uint16_t* p) {
  return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
}
inline void store_f16(uint16_t* p, Vec x) {
  vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(x)));
}
inline Vec load_bf16(const uint16_t* p) {
  return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16));
}
