// Vec for AVX-512 F/BW/DQ/VL; see vec_portable.h for the meaning of each function. Included inside an unnamed
// namespace by the one file compiled for this ISA.

using Vec = __m512;
using VecI = __m512i;
constexpr int kLanes = 16;
constexpr int kAccumulators = 28;      // tile vectors that fit beside weights and a broadcast
constexpr int kWideAccumulators = 24;  // the same when a tile is more than one pair of vectors wide
constexpr int kMaxTileRows = 14;

inline Vec zero() {
  return _mm512_setzero_ps();
}
inline Vec broadcast(float x) {
  return _mm512_set1_ps(x);
}
inline Vec load(const float* p) {
  return _mm512_loadu_ps(p);
}
inline void store(float* p, Vec x) {
  _mm512_storeu_ps(p, x);
}
inline Vec add(Vec a, Vec b) {
  return _mm512_add_ps(a, b);
}
inline Vec sub(Vec a, Vec b) {
  return _mm512_sub_ps(a, b);
}
inline Vec mul(Vec a, Vec b) {
  return _mm512_mul_ps(a, b);
}
inline Vec div(Vec a, Vec b) {
  return _mm512_div_ps(a, b);
}
inline Vec fma(Vec a, Vec b, Vec c) {
  return _mm512_fmadd_ps(a, b, c);
}
inline Vec max(Vec a, Vec b) {
  return _mm512_max_ps(a, b);
}
inline Vec min(Vec a, Vec b) {
  return _mm512_min_ps(a, b);
}
inline Vec select_less(Vec x, Vec y, Vec yes, Vec no) {
  return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, y, _CMP_LT_OQ), no, yes);
}
inline float reduce_add(Vec x) {
  return _mm512_reduce_add_ps(x);
}
inline float reduce_max(Vec x) {
  return _mm512_reduce_max_ps(x);
}

inline VecI bits(Vec x) {
  return _mm512_castps_si512(x);
}
inline Vec floats(VecI x) {
  return _mm512_castsi512_ps(x);
}
inline VecI broadcast_i(int32_t x) {
  return _mm512_set1_epi32(x);
}
inline VecI and_i(VecI a, VecI b) {
  return _mm512_and_si512(a, b);
}
inline VecI add_i(VecI a, VecI b) {
  return _mm512_add_epi32(a, b);
}
inline VecI max_i(VecI a, VecI b) {
  return _mm512_max_epi32(a, b);
}
template <int N>
inline VecI shift_left(VecI x) {
  return _mm512_slli_epi32(x, N);
}
template <int N>
inline VecI shift_right(VecI x) {
  return _mm512_srli_epi32(x, N);
}
inline VecI load_i(const void* p) {
  return _mm512_loadu_si512(p);
}
inline void store_i(int32_t* p, VecI x) {
  _mm512_storeu_si512(p, x);
}
inline void store_low16(uint16_t* p, VecI x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(x));
}
inline void store_low8(int8_t* p, VecI x) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(x));
}

inline Vec load_f16(const uint16_t* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline void store_f16(uint16_t* p, Vec x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                      _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
inline Vec load_bf16(const uint16_t* p) {
  return floats(
      _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))), 16));
}
