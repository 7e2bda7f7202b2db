// y = (x * w) * scales + bias in int8 (MatmulInt8), written on Vec and on what the ISA says of integers:
//   Acc                        kLanes int32 sums
//   WeightVec load_weights(p)  kLanes columns x 4 k
//   Acts broadcast_acts(p)     4 k of one row, in all lanes
//   Acc dot(sum, w, x)         sum + the 4 products of each lane
//   Acc first_sum(column_sum)  where sums start
//   Vec to_float(Acc)
//   kActOffset                 what quantize_row adds to each stored value, undone by first_sum
// Included inside an unnamed namespace after a vec_*.h and body_fetch.h. Integer sums are exact, so tiles
// change nothing in the result.

constexpr int kVecsPerPanel = kPanelColumns / kLanes;
constexpr int64_t kInt8Step = kPanelColumns * 4;  // bytes of a panel's 4 k
constexpr int kStepLines = kInt8Step / kLineBytes;
constexpr int64_t kInt8StreamK4 = kFetchBlock / kInt8Step;

// Vectors of columns for a tile of R rows: a power of two.
constexpr int int8_vecs_for(int rows) {
  int vecs = 1;
  while (vecs * 2 <= kVecsPerPanel && rows * vecs * 2 <= (vecs * 2 > 2 ? kInt8WideSums : kInt8Sums))
    vecs *= 2;
  return vecs;
}

// Part of k of a panel.
struct Int8Part {
  int64_t panel, k_begin, k_count;
};

// What is fetched beside a step of k. A lone pass over the columns fetches ahead of itself. Several share
// what follows this part: each fetches as many of the lines of a step as its share is, and those beyond a
// line each none.
template <int V, Fetch kFetch, bool kStream>
class Int8Fetch {
 public:
  Int8Fetch(const MatmulInt8& m, const Int8Part& part, int column)
      : Int8Fetch(m.w + (part.panel * m.k4 + part.k_begin) * kInt8Step, part.k_count,
                  column / (V * kLanes) * part.k_count * kLines) {}

  [[gnu::always_inline]] inline void step() {
    if (kPasses == 1) return ahead_.step();
#pragma GCC unroll 2
    for (int line = 0; line < kLines; ++line) {
      if (kStream)
        lines_.next();
      else
        __builtin_prefetch(next_ + line * kLineBytes, 0, 2);
    }
    next_ += kLines * kLineBytes;
  }

 private:
  static constexpr int kPasses = kVecsPerPanel / V;
  static constexpr int kLines = kPasses < kStepLines ? kStepLines / kPasses : 1;

  // `begin`: of the part; `line`: the first of this pass behind it.
  Int8Fetch(const int8_t* begin, int64_t k_count, int64_t line)
      : ahead_(begin),
        lines_(begin + k_count * kInt8Step, line),
        next_(begin + k_count * kInt8Step + line * kLineBytes) {}

  FetchAhead<kInt8Step, kFetch> ahead_;
  FetchLines lines_;
  const int8_t* next_;
};

// What a panel needs at its end and the next one at its start: read from memory there, they would hold up the
// products behind them.
[[gnu::always_inline]] inline void int8_fetch_constants(const MatmulInt8& m, int64_t panel) {
  const int64_t at = panel * kPanelColumns;
  for (int column = 0; column < kPanelColumns; column += kLineBytes / 4) {
    __builtin_prefetch(m.w_scale + at + column);
    if (m.bias) __builtin_prefetch(m.bias + at + column);
    if (panel + 1 < m.panels) __builtin_prefetch(m.column_sum + at + kPanelColumns + column);
  }
}

// y of one row, kLanes columns from `at` on.
inline void int8_finish(const MatmulInt8& m, int row, int64_t at, Acc sum) {
  Vec y = mul(to_float(sum), mul(broadcast(m.x_scale[row]), load(m.w_scale + at)));
  if (m.bias) y = add(y, load(m.bias + at));
  store(m.y + row * m.y_stride + at, y);
}

// A part's products: kStream adds them to `sums` ([row of the tile][vector of the panel]), else the part is
// all of k and goes to y. Never inlined: with other code around it GCC 12 keeps the sums of many rows in
// memory.
template <int R, int V, Fetch kFetch, bool kStream>
[[gnu::noinline]] void int8_tile(const MatmulInt8& m, const Int8Part& part, int row, int column, Acc* sums) {
  Acc sum[R][V];
  const int64_t at = part.panel * kPanelColumns + column;
  if (kStream) sums += column / kLanes;
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 16
    for (int v = 0; v < V; ++v)
      sum[r][v] = kStream ? sums[r * kVecsPerPanel + v] : first_sum(m.column_sum + at + v * kLanes);

  const int8_t* x = m.x + row * m.x_stride + part.k_begin * 4;
  const int64_t stride = m.x_stride;
  const int8_t* w = m.w + ((part.panel * m.k4 + part.k_begin) * kPanelColumns + column) * 4;
  const auto step = [&]() __attribute__((always_inline)) {
    WeightVec weights[V];
#pragma GCC unroll 16
    for (int v = 0; v < V; ++v) weights[v] = load_weights(w + v * kLanes * 4);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const Acts acts = broadcast_acts(x + r * stride);
#pragma GCC unroll 16
      for (int v = 0; v < V; ++v) sum[r][v] = dot(sum[r][v], weights[v], acts);
    }
    x += 4;
    w += kPanelColumns * 4;
  };
  // Two steps at a time: beside the products of few rows, counting and addresses are a fifth of the work.
  Int8Fetch<V, kFetch, kStream> fetch(m, part, column);
  for (int64_t k = 1; k < part.k_count; k += 2) {
    if (kFetch != Fetch::kNone) fetch.step();
    step();
    if (kFetch != Fetch::kNone) fetch.step();
    step();
  }
  if (part.k_count % 2 != 0) step();

#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 16
    for (int v = 0; v < V; ++v) {
      if (kStream)
        sums[r * kVecsPerPanel + v] = sum[r][v];
      else
        int8_finish(m, row + r, at + v * kLanes, sum[r][v]);
    }
}

template <bool kStream, int R = kInt8TileRows>
void int8_rows(const MatmulInt8& m, const Int8Part& part, int row, int rows, Acc* sums) {
  if constexpr (R > 1) {
    if (rows < R) return int8_rows<kStream, R - 1>(m, part, row, rows, sums);
  }
  constexpr int kVecs = int8_vecs_for(R);
  for (int column = 0; column < kPanelColumns; column += kVecs * kLanes) {
    const bool fetches = row == 0 && column < kStepLines * kVecs * kLanes;
    if (fetches && m.fetch == Fetch::kFirst)
      int8_tile<R, kVecs, Fetch::kFirst, kStream>(m, part, row, column, sums);
    else if (fetches && m.fetch == Fetch::kSecond)
      int8_tile<R, kVecs, Fetch::kSecond, kStream>(m, part, row, column, sums);
    else
      int8_tile<R, kVecs, Fetch::kNone, kStream>(m, part, row, column, sums);
  }
}

// One tile of rows, a panel in parts of k whose weights stay in the first cache while several passes over the
// columns share them.
void int8_stream(const MatmulInt8& m) {
  Acc sums[kInt8TileRows * kVecsPerPanel];
  for (int64_t panel = 0; panel < m.panels; ++panel) {
    int8_fetch_constants(m, panel);
    const int64_t at = panel * kPanelColumns;
    for (int i = 0; i < m.rows * kVecsPerPanel; ++i)
      sums[i] = first_sum(m.column_sum + at + i % kVecsPerPanel * kLanes);
    for (int64_t k = 0; k < m.k4; k += kInt8StreamK4) {
      const int64_t count = m.k4 - k < kInt8StreamK4 ? m.k4 - k : kInt8StreamK4;
      int8_rows<true>(m, {panel, k, count}, 0, m.rows, sums);
    }
    for (int i = 0; i < m.rows * kVecsPerPanel; ++i)
      int8_finish(m, i / kVecsPerPanel, at + i % kVecsPerPanel * kLanes, sums[i]);
  }
}

void int8_tiles(const MatmulInt8& m) {
  const int tiles = (m.rows + kInt8TileRows - 1) / kInt8TileRows;
  for (int64_t panel = 0; panel < m.panels; ++panel) {
    int8_fetch_constants(m, panel);
    for (int i = 0, row = 0; i < tiles; ++i) {
      const int rows = (m.rows - row) / (tiles - i);
      int8_rows<false>(m, {panel, 0, m.k4}, row, rows, nullptr);
      row += rows;
    }
  }
}

void matmul_int8(const MatmulInt8& m) {
  // One tile of rows that needs several passes over the columns: memory is the limit, and reading from the
  // second cache would compete with it, so the passes go over parts of k that stay in the first. With vectors
  // of half a panel there is no such tile.
  if (m.rows <= kInt8TileRows && int8_vecs_for(m.rows) < kVecsPerPanel)
    int8_stream(m);
  else
    int8_tiles(m);
}

// The same multiplication and addition on every ISA (no fma), so the quantised values agree to the bit.
// Adding 1.5 * 2^23 leaves the rounded integer in the low bits of the sum. Magnitudes are compared as
// integers, where NaN > infinity > finite.
void quantize_row(const float* x, int64_t n, int64_t padded, int8_t* q, float* scale) {
  const VecI magnitude = broadcast_i(0x7fffffff);
  const auto part = [&](int64_t i) { return n - i < kLanes ? load_part(x + i, n - i, 0) : load(x + i); };
  VecI most = broadcast_i(0);
  for (int64_t i = 0; i < n; i += kLanes) most = max_i(most, and_i(bits(part(i)), magnitude));
  int32_t lanes[kLanes], high = 0;
  store_i(lanes, most);
  for (int32_t lane : lanes) high = lane > high ? lane : high;

  const float largest = __builtin_bit_cast(float, high);
  const bool finite = high < 0x7f800000, usable = finite && largest >= 1e-30f;
  *scale = usable ? largest / 127.0f : finite ? 0.0f : __builtin_nanf("");
  const Vec inverse = broadcast(usable ? 127.0f / largest : 0.0f);
  const Vec magic = broadcast(12582912.0f + static_cast<float>(kActOffset));
  const auto quantized = [&](Vec v) { return usable ? bits(add(mul(v, inverse), magic)) : bits(magic); };
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store_low8(q + i, quantized(load(x + i)));
  for (; i < padded; i += kLanes) {
    int8_t bytes[kLanes];
    store_low8(bytes, quantized(i < n ? load_part(x + i, n - i, 0) : zero()));
    for (int j = 0; j < kLanes && i + j < padded; ++j) q[i + j] = bytes[j];
  }
}

constexpr int kDotChains = kInt8Sums < 12 ? kInt8Sums : 12;

// A tile of kDotChains sums without its memory: as many rows as chains / 4, by 4 vectors of columns.
int32_t dot_loop(int64_t iterations) {
  constexpr int kVecs = 4;
  alignas(64) int8_t weights[kVecs * kLanes * 4], acts[kLanes * 4];
  for (int i = 0; i < kVecs * kLanes * 4; ++i) weights[i] = static_cast<int8_t>(i % 7);
  for (int i = 0; i < kLanes * 4; ++i) acts[i] = static_cast<int8_t>(i % 5);
  alignas(64) int32_t start[kLanes] = {};
  // Every loop over the chains is unrolled: an array that is indexed stays in memory, and its stores would be
  // measured.
  WeightVec w[kVecs];
#pragma GCC unroll 16
  for (int v = 0; v < kVecs; ++v) w[v] = load_weights(weights + v * kLanes * 4);
  Acc sum[kDotChains];
#pragma GCC unroll 16
  for (int i = 0; i < kDotChains; ++i) sum[i] = first_sum(start);
  for (int64_t n = 0; n < iterations; ++n) {
    asm volatile("" ::"r"(acts) : "memory");  // they may have changed: no closed form for the loop
    // No two chains have both operands in common, so that no product serves two.
#pragma GCC unroll 16
    for (int i = 0; i < kDotChains; ++i)
      sum[i] = dot(sum[i], w[i % kVecs], broadcast_acts(acts + 4 * (i / kVecs)));
  }
  float total = 0;
#pragma GCC unroll 16
  for (int i = 0; i < kDotChains; ++i) total += reduce_add(to_float(sum[i]));
  return static_cast<int32_t>(total);
}

constexpr Int8Kernels kInt8Table{
    .matmul = matmul_int8,
    .quantize_row = quantize_row,
    .dot_loop = dot_loop,
    .dot_ops = int64_t{2} * 4 * kLanes * kDotChains,
};
