// Loops whose speed is the machine's limit, written on Vec. Included inside an unnamed namespace after a
// vec_*.h and body_fetch.h.

constexpr int kFmaChains = kAccumulators < 12 ? kAccumulators : 12;
constexpr int64_t kFmaFlops = int64_t{2} * kLanes * kFmaChains;

float fma_loop(int64_t iterations) {
  Vec x[kFmaChains];
  for (int i = 0; i < kFmaChains; ++i) x[i] = broadcast(static_cast<float>(i));
  const Vec a = broadcast(0.5f), b = broadcast(1.0f);
  for (int64_t n = 0; n < iterations; ++n) {
#pragma GCC unroll 16
    for (int i = 0; i < kFmaChains; ++i) x[i] = fma(x[i], a, b);
  }
  float total = 0;
  for (int i = 0; i < kFmaChains; ++i) total += reduce_add(x[i]);
  return total;
}

template <Fetch kFetch>
float read_all(const void* data, int64_t bytes) {
  const char* p = static_cast<const char*>(data);
  VecI x[4] = {broadcast_i(0), broadcast_i(0), broadcast_i(0), broadcast_i(0)};
  constexpr int64_t kStep = 4 * sizeof(Vec);
  FetchAhead<kStep, kFetch> ahead(p);
  for (int64_t i = 0; i < bytes; i += kStep) {
    if (kFetch != Fetch::kNone) ahead.step();
#pragma GCC unroll 16
    for (int j = 0; j < 4; ++j) x[j] = max_i(x[j], load_i(p + i + j * static_cast<int64_t>(sizeof(Vec))));
  }
  return reduce_add(floats(max_i(max_i(x[0], x[1]), max_i(x[2], x[3]))));
}

float read_loop(const void* data, int64_t bytes, Fetch fetch) {
  if (fetch == Fetch::kNone) return read_all<Fetch::kNone>(data, bytes);
  return fetch == Fetch::kFirst ? read_all<Fetch::kFirst>(data, bytes)
                                : read_all<Fetch::kSecond>(data, bytes);
}
