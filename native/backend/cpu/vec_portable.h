// Vec: a small vector of floats, the only thing the kernel bodies know of an instruction set. This file is
// the plain version and defines what each function means. Included inside an unnamed namespace by the one
// file that uses it.
//
//   max, min          the second operand where either is NaN
//   select_less       x < y ? yes : no, lane by lane; false for NaN
//   reduce_*          in a fixed order of the ISA
//   fma               one rounding where the ISA has it, two here: results are close across ISAs, identical
//   within one store_low16/8     the low bits of each lane, next to each other

struct Vec {
  float lane[4];
};
struct VecI {
  int32_t lane[4];
};
constexpr int kLanes = 4;
constexpr int kAccumulators = 8;
constexpr int kWideAccumulators = 8;
constexpr int kMaxTileRows = 4;

template <typename F>
inline Vec each(F f) {
  return {{f(0), f(1), f(2), f(3)}};
}
template <typename F>
inline VecI each_i(F f) {
  return {{f(0), f(1), f(2), f(3)}};
}

inline Vec broadcast(float x) {
  return {{x, x, x, x}};
}
inline Vec zero() {
  return broadcast(0);
}
inline Vec load(const float* p) {
  return each([&](int i) { return p[i]; });
}
inline void store(float* p, Vec x) {
  __builtin_memcpy(p, x.lane, sizeof(x.lane));
}
inline Vec add(Vec a, Vec b) {
  return each([&](int i) { return a.lane[i] + b.lane[i]; });
}
inline Vec sub(Vec a, Vec b) {
  return each([&](int i) { return a.lane[i] - b.lane[i]; });
}
inline Vec mul(Vec a, Vec b) {
  return each([&](int i) { return a.lane[i] * b.lane[i]; });
}
inline Vec div(Vec a, Vec b) {
  return each([&](int i) { return a.lane[i] / b.lane[i]; });
}
inline Vec fma(Vec a, Vec b, Vec c) {
  return add(mul(a, b), c);
}
inline Vec max(Vec a, Vec b) {
  return each([&](int i) { return a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]; });
}
inline Vec min(Vec a, Vec b) {
  return each([&](int i) { return a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i]; });
}
inline Vec select_less(Vec x, Vec y, Vec yes, Vec no) {
  return each([&](int i) { return x.lane[i] < y.lane[i] ? yes.lane[i] : no.lane[i]; });
}
inline float reduce_add(Vec x) {
  return (x.lane[0] + x.lane[2]) + (x.lane[1] + x.lane[3]);
}
inline float reduce_max(Vec x) {
  float best = x.lane[0];
  for (float lane : x.lane) best = lane > best ? lane : best;
  return best;
}

inline VecI bits(Vec x) {
  return __builtin_bit_cast(VecI, x);
}
inline Vec floats(VecI x) {
  return __builtin_bit_cast(Vec, x);
}
inline VecI broadcast_i(int32_t x) {
  return {{x, x, x, x}};
}
inline VecI and_i(VecI a, VecI b) {
  return each_i([&](int i) { return a.lane[i] & b.lane[i]; });
}
inline int32_t wrapping(uint32_t x) {
  return static_cast<int32_t>(x);
}
inline VecI add_i(VecI a, VecI b) {
  return each_i(
      [&](int i) { return wrapping(static_cast<uint32_t>(a.lane[i]) + static_cast<uint32_t>(b.lane[i])); });
}
inline VecI max_i(VecI a, VecI b) {
  return each_i([&](int i) { return a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]; });
}
template <int N>
inline VecI shift_left(VecI x) {
  return each_i([&](int i) { return wrapping(static_cast<uint32_t>(x.lane[i]) << N); });
}
template <int N>
inline VecI shift_right(VecI x) {
  return each_i([&](int i) { return wrapping(static_cast<uint32_t>(x.lane[i]) >> N); });
}
inline VecI load_i(const void* p) {
  VecI x;
  __builtin_memcpy(x.lane, p, sizeof(x.lane));
  return x;
}
inline void store_i(int32_t* p, VecI x) {
  __builtin_memcpy(p, x.lane, sizeof(x.lane));
}
inline void store_low16(uint16_t* p, VecI x) {
  for (int i = 0; i < kLanes; ++i) p[i] = static_cast<uint16_t>(static_cast<uint32_t>(x.lane[i]));
}
inline void store_low8(int8_t* p, VecI x) {
  for (int i = 0; i < kLanes; ++i) p[i] = static_cast<int8_t>(static_cast<uint32_t>(x.lane[i]));
}

// Exact: the exponent is rebased by a multiplication, which also handles subnormals; infinity and NaN are put
// back.
inline Vec load_f16(const uint16_t* p) {
  return each([&](int i) {
    const uint32_t half = p[i], magnitude = half & 0x7fffu;
    const float scaled = __builtin_bit_cast(float, magnitude << 13) * 0x1p112f;
    uint32_t value = __builtin_bit_cast(uint32_t, scaled);
    if (magnitude >= 0x7c00u) value = 0x7f800000u | (magnitude << 13);
    // With denormals-are-zero the product above loses f16 subnormals; they are integers times 2^-24.
    if (magnitude < 0x400u) value = __builtin_bit_cast(uint32_t, static_cast<float>(magnitude) * 0x1p-24f);
    return __builtin_bit_cast(float, value | ((half & 0x8000u) << 16));
  });
}
inline uint16_t f16_bits(float x) {
  const uint32_t all = __builtin_bit_cast(uint32_t, x), sign = (all >> 16) & 0x8000u,
                 magnitude = all & 0x7fffffffu;
  uint32_t half;
  if (magnitude > 0x7f800000u) {
    half = 0x7e00u;
  } else if (magnitude >= 0x477ff000u) {
    half = 0x7c00u;
  } else if (magnitude < 0x38800000u) {  // subnormal: adding 0.5 lets the hardware round at 2^-24
    half = __builtin_bit_cast(uint32_t, __builtin_bit_cast(float, magnitude) + 0.5f) - 0x3f000000u;
  } else {
    half = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
  }
  return static_cast<uint16_t>(sign | half);
}
inline void store_f16(uint16_t* p, Vec x) {
  for (int i = 0; i < kLanes; ++i) p[i] = f16_bits(x.lane[i]);
}
inline Vec load_bf16(const uint16_t* p) {
  return each([&](int i) { return __builtin_bit_cast(float, static_cast<uint32_t>(p[i]) << 16); });
}
