// Vec for AVX2 + FMA + F16C; see vec_portable.h for the meaning of each function. Included inside an unnamed
// namespace by the one file compiled for this ISA.

using Vec = __m256;
using VecI = __m256i;
constexpr int kLanes = 8;
constexpr int kAccumulators = 12;
constexpr int kWideAccumulators = 12;
constexpr int kMaxTileRows = 6;

inline Vec zero() {
  return _mm256_setzero_ps();
}
inline Vec broadcast(float x) {
  return _mm256_set1_ps(x);
}
inline Vec load(const float* p) {
  return _mm256_loadu_ps(p);
}
inline void store(float* p, Vec x) {
  _mm256_storeu_ps(p, x);
}
inline Vec add(Vec a, Vec b) {
  return _mm256_add_ps(a, b);
}
inline Vec sub(Vec a, Vec b) {
  return _mm256_sub_ps(a, b);
}
inline Vec mul(Vec a, Vec b) {
  return _mm256_mul_ps(a, b);
}
inline Vec div(Vec a, Vec b) {
  return _mm256_div_ps(a, b);
}
inline Vec fma(Vec a, Vec b, Vec c) {
  return _mm256_fmadd_ps(a, b, c);
}
inline Vec max(Vec a, Vec b) {
  return _mm256_max_ps(a, b);
}
inline Vec min(Vec a, Vec b) {
  return _mm256_min_ps(a, b);
}
inline Vec select_less(Vec x, Vec y, Vec yes, Vec no) {
  return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(x, y, _CMP_LT_OQ));
}
inline float reduce_add(Vec x) {
  __m128 half = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  half = _mm_add_ps(half, _mm_movehl_ps(half, half));
  return _mm_cvtss_f32(_mm_add_ss(half, _mm_shuffle_ps(half, half, 1)));
}
inline float reduce_max(Vec x) {
  __m128 half = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  half = _mm_max_ps(half, _mm_movehl_ps(half, half));
  return _mm_cvtss_f32(_mm_max_ss(half, _mm_shuffle_ps(half, half, 1)));
}

inline VecI bits(Vec x) {
  return _mm256_castps_si256(x);
}
inline Vec floats(VecI x) {
  return _mm256_castsi256_ps(x);
}
inline VecI broadcast_i(int32_t x) {
  return _mm256_set1_epi32(x);
}
inline VecI and_i(VecI a, VecI b) {
  return _mm256_and_si256(a, b);
}
inline VecI add_i(VecI a, VecI b) {
  return _mm256_add_epi32(a, b);
}
inline VecI max_i(VecI a, VecI b) {
  return _mm256_max_epi32(a, b);
}
template <int N>
inline VecI shift_left(VecI x) {
  return _mm256_slli_epi32(x, N);
}
template <int N>
inline VecI shift_right(VecI x) {
  return _mm256_srli_epi32(x, N);
}
inline VecI load_i(const void* p) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}
inline void store_i(int32_t* p, VecI x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x);
}
inline void store_low16(uint16_t* p, VecI x) {
  const __m256i low =
      _mm256_shuffle_epi8(x, _mm256_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, -1, -1, -1, -1, -1, -1, -1, -1, 0, 1,
                                              4, 5, 8, 9, 12, 13, -1, -1, -1, -1, -1, -1, -1, -1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                   _mm256_castsi256_si128(_mm256_permute4x64_epi64(low, 0x08)));
}
inline void store_low8(int8_t* p, VecI x) {
  const __m256i low =
      _mm256_shuffle_epi8(x, _mm256_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0,
                                              4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p),
                   _mm_unpacklo_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1)));
}

inline Vec load_f16(const uint16_t* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline void store_f16(uint16_t* p, Vec x) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                   _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
inline Vec load_bf16(const uint16_t* p) {
  return floats(
      _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))), 16));
}
