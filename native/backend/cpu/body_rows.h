// Row-wise kernels (norm, add, SwiGLU, RoPE, conversions, argmax), written on Vec. Included inside an unnamed
// namespace after body_math.h.

void rms_norm(const float* x, const float* weight, float eps, int64_t n, float* out) {
  constexpr int kChains = 4;
  Vec sum[kChains] = {zero(), zero(), zero(), zero()};
  int64_t i = 0;
  for (; i + kChains * kLanes <= n; i += kChains * kLanes)
    for (int c = 0; c < kChains; ++c) {
      const Vec v = load(x + i + c * kLanes);
      sum[c] = fma(v, v, sum[c]);
    }
  for (; i < n; i += kLanes) {
    const Vec v = n - i < kLanes ? load_part(x + i, n - i, 0) : load(x + i);
    sum[0] = fma(v, v, sum[0]);
  }
  const float total = reduce_add(add(add(sum[0], sum[1]), add(sum[2], sum[3])));
  const Vec inverse = broadcast(1.0f / __builtin_sqrtf(total / static_cast<float>(n) + eps));
  for (i = 0; i + kLanes <= n; i += kLanes) store(out + i, mul(mul(load(x + i), inverse), load(weight + i)));
  if (i < n)
    store_part(out + i, n - i,
               mul(mul(load_part(x + i, n - i, 0), inverse), load_part(weight + i, n - i, 0)));
}

void add_rows(float* residual, const float* x, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(residual + i, add(load(residual + i), load(x + i)));
  if (i < n)
    store_part(residual + i, n - i, add(load_part(residual + i, n - i, 0), load_part(x + i, n - i, 0)));
}

inline Vec silu_times(Vec gate, Vec up) {
  const Vec one = broadcast(1.0f);
  return mul(div(gate, add(one, exp(sub(zero(), gate)))), up);
}

void swiglu(const float* gate, const float* up, int64_t n, float* out) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(out + i, silu_times(load(gate + i), load(up + i)));
  if (i < n)
    store_part(out + i, n - i, silu_times(load_part(gate + i, n - i, 0), load_part(up + i, n - i, 0)));
}

void swiglu_panels(const float* gate_up, int64_t panels, float* out) {
  for (int64_t panel = 0; panel < panels; ++panel, gate_up += 2 * kPanelColumns, out += kPanelColumns)
#pragma GCC unroll 4
    for (int i = 0; i < kPanelColumns; i += kLanes)
      store(out + i, silu_times(load(gate_up + i), load(gate_up + kPanelColumns + i)));
}

struct Rotated {
  Vec low, high;
};
inline Rotated rotate(Vec low, Vec high, Vec cos, Vec sin) {
  return {sub(mul(low, cos), mul(high, sin)), add(mul(high, cos), mul(low, sin))};
}

void rope(float* x, const float* cos, const float* sin, int64_t half) {
  int64_t i = 0;
  for (; i + kLanes <= half; i += kLanes) {
    const Rotated r = rotate(load(x + i), load(x + half + i), load(cos + i), load(sin + i));
    store(x + i, r.low);
    store(x + half + i, r.high);
  }
  if (i == half) return;
  const int64_t n = half - i;
  const Rotated r = rotate(load_part(x + i, n, 0), load_part(x + half + i, n, 0), load_part(cos + i, n, 0),
                           load_part(sin + i, n, 0));
  store_part(x + i, n, r.low);
  store_part(x + half + i, n, r.high);
}

void to_f16(const float* x, int64_t n, uint16_t* out) {
  const Vec most = broadcast(65504.0f), least = broadcast(-65504.0f);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store_f16(out + i, min(most, max(least, load(x + i))));
  if (i == n) return;
  uint16_t lanes[kLanes];
  store_f16(lanes, min(most, max(least, load_part(x + i, n - i, 0))));
  for (int j = 0; i < n; ++i, ++j) out[i] = lanes[j];
}

inline VecI bf16_bits(Vec x) {
  const VecI all = bits(x), odd = and_i(shift_right<16>(all), broadcast_i(1));
  const VecI rounded = shift_right<16>(add_i(all, add_i(odd, broadcast_i(0x7fff))));
  // The carry of the rounding would run out of a NaN. x + x keeps infinities and makes NaN quiet, so it may
  // be cut off.
  const VecI cut = shift_right<16>(bits(add(x, x)));
  const Vec magnitude = floats(and_i(all, broadcast_i(0x7fffffff)));
  return bits(select_less(magnitude, broadcast(kInfinity), floats(rounded), floats(cut)));
}

void to_bf16(const float* x, int64_t n, uint16_t* out) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store_low16(out + i, bf16_bits(load(x + i)));
  if (i == n) return;
  uint16_t lanes[kLanes];
  store_low16(lanes, bf16_bits(load_part(x + i, n - i, 0)));
  for (int j = 0; i < n; ++i, ++j) out[i] = lanes[j];
}

// The maximum first (NaN never wins: it comes as max's first operand), then its first place.
void argmax(const float* x, int64_t n, float* value, int64_t* index) {
  Vec best = broadcast(-kInfinity);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) best = max(load(x + i), best);
  if (i < n) best = max(load_part(x + i, n - i, -kInfinity), best);
  *value = reduce_max(best);
  *index = -1;
  if (*value == -kInfinity) return;
  for (i = 0; x[i] != *value;) ++i;
  *index = i;
}
