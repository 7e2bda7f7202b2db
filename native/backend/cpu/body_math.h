// exp and partial vectors, written on Vec. Included inside an unnamed namespace after a vec_*.h.

constexpr float kInfinity = __builtin_inff();

// The first n lanes of p, `fill` in the others; 0 < n < kLanes.
inline Vec load_part(const float* p, int64_t n, float fill) {
  float lanes[kLanes];
  for (int i = 0; i < kLanes; ++i) lanes[i] = i < n ? p[i] : fill;
  return load(lanes);
}
inline void store_part(float* p, int64_t n, Vec x) {
  float lanes[kLanes];
  store(lanes, x);
  for (int64_t i = 0; i < n; ++i) p[i] = lanes[i];
}

// e^x, relative error below 2e-7; 0 below -87.3, saturated at e^88.3 above, NaN for NaN.
// x = n ln 2 + r with |r| <= ln 2 / 2: a polynomial for e^r (Taylor terms adjusted for the interval), 2^n put
// in by its bits.
inline Vec exp(Vec x) {
  const Vec clamped = min(broadcast(88.3f), max(broadcast(-87.3f), x));
  const Vec magic = broadcast(12582912.0f);  // 1.5 * 2^23: the sum's low bits are the rounded integer
  const Vec shifted = fma(clamped, broadcast(1.44269504f), magic);
  const Vec n = sub(shifted, magic);
  Vec r = fma(n, broadcast(-0.693359375f), clamped);
  r = fma(n, broadcast(2.12194440e-4f), r);
  Vec p = broadcast(1.9875691500e-4f);
  p = fma(p, r, broadcast(1.3981999507e-3f));
  p = fma(p, r, broadcast(8.3334519073e-3f));
  p = fma(p, r, broadcast(4.1665795894e-2f));
  p = fma(p, r, broadcast(1.6666665459e-1f));
  p = fma(p, r, broadcast(5.0000001201e-1f));
  p = fma(p, mul(r, r), add(r, broadcast(1.0f)));
  const Vec power = floats(add_i(shift_left<23>(bits(shifted)), broadcast_i(127 << 23)));
  return select_less(x, broadcast(-87.3f), zero(), mul(p, power));
}
