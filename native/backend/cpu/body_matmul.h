// y = x * w + bias for bf16 weights (MatmulBf16), written on Vec. Included inside an unnamed namespace after
// a vec_*.h and body_fetch.h.
//
// A tile is R rows by P pairs of vectors, held in registers over a whole block of k. All of an output's
// products go through one accumulator in ascending k; between blocks of k it rests in y. So tile shapes,
// blocks and the choice of reading bf16 directly or through a converted copy change nothing in the result.

constexpr int kPairsPerPanel = kPanelColumns / (2 * kLanes);
constexpr int kConvertRows = 3 * kMaxTileRows;  // from here on a converted copy of the block pays
constexpr int64_t kStreamBlock = kFetchBlock / (kPanelColumns * 2);  // rows of k

// First column of pair i; its low halves are kLanes columns from here, its high halves from here + 16.
constexpr int column_of(int pair) {
  return pair * kLanes;
}

// The widest tile for R rows, as a power of two that divides the panel.
constexpr int pairs_for(int rows) {
  int pairs = 1;
  while (pairs * 2 <= kPairsPerPanel && rows * 2 * (pairs * 2) <= kWideAccumulators) pairs *= 2;
  return pairs;
}

struct Bf16Weights {  // straight from the panel
  const uint32_t* data;
  template <int P>
  void load_step(int64_t k, int pair, Vec (&w)[2 * P]) const {
    const uint32_t* row = data + k * (kPanelColumns / 2) + pair * kLanes;
#pragma GCC unroll 16
    for (int i = 0; i < P; ++i) {
      const VecI pairs = load_i(row + i * kLanes);
      w[2 * i] = floats(shift_left<16>(pairs));
      w[2 * i + 1] = floats(and_i(pairs, broadcast_i(static_cast<int32_t>(0xffff0000u))));
    }
  }
};

// What is fetched beside steps of k: one line for each, the size of its weights. A lone pass over the columns
// fetches what it needs next itself. Of several, the first two fetch half each of the next block of k, so
// that memory is busy in both. Blocks are small then: what is used lies in the first cache, since reading it
// from the second would compete with the fetching.
template <int P, Fetch kFetch>
class Bf16Fetch {
 public:
  Bf16Fetch(const Bf16Weights& weights, int64_t k_count, int pair)
      : ahead_(weights.data), next_(weights.data + k_count * (kPanelColumns / 2), pair / P * (k_count / 2)) {}

  [[gnu::always_inline]] inline void two_steps() {
    if (P != kPairsPerPanel) return next_.next();
    ahead_.step();
    ahead_.step();
  }

 private:
  FetchAhead<kPanelColumns * 2, kFetch> ahead_;
  FetchLines next_;
};

struct ConvertedWeights {  // [tile of P pairs][k][2 * P vectors]
  const float* data;
  int64_t k_count;
  template <int P>
  void load_step(int64_t k, int pair, Vec (&w)[2 * P]) const {
    const float* row = data + (pair / P * k_count + k) * (2 * P * kLanes);
#pragma GCC unroll 16
    for (int i = 0; i < 2 * P; ++i) w[i] = load(row + i * kLanes);
  }
};

struct Tile {
  const float* x;
  int64_t x_stride;
  int64_t k_count;
  float* y;
  int64_t y_stride;
  const float* bias;  // of the panel; null unless this is the last block of k and there is one
  bool first;         // first block of k: start from zero
};

template <int R, int P, Fetch kFetch, typename W>
void matmul_tile(const Tile& t, const W& weights, int pair) {
  Vec sum[R][2 * P];
  float* y = t.y + column_of(pair);
  const auto column = [&](int j) { return column_of(pair + j / 2) - column_of(pair) + j % 2 * 16; };
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 16
    for (int j = 0; j < 2 * P; ++j) sum[r][j] = t.first ? zero() : load(y + r * t.y_stride + column(j));

  const float* x = t.x;
  const int64_t stride = t.x_stride;
  const auto step = [&](int64_t k) __attribute__((always_inline)) {
    Vec w[2 * P];
    weights.template load_step<P>(k, pair, w);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const Vec a = broadcast(x[r * stride]);
#pragma GCC unroll 16
      for (int j = 0; j < 2 * P; ++j) sum[r][j] = fma(a, w[j], sum[r][j]);
    }
    ++x;
  };
  // Two steps at a time: beside the products of few rows, counting and addresses are a fifth of the work.
  int64_t k = 0;
  if constexpr (kFetch != Fetch::kNone) {
    Bf16Fetch<P, kFetch> fetch(weights, t.k_count, pair);
    for (; k + 1 < t.k_count; k += 2) {
      fetch.two_steps();
      step(k);
      step(k + 1);
    }
  }
  for (; k < t.k_count; ++k) step(k);

#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 16
    for (int j = 0; j < 2 * P; ++j) {
      if (t.bias) sum[r][j] = add(sum[r][j], load(t.bias + column_of(pair) + column(j)));
      store(y + r * t.y_stride + column(j), sum[r][j]);
    }
}

// One tile of `rows` rows over all columns of the panel.
template <int R, typename W, bool kConverted>
void matmul_rows(const Tile& tile, const W& weights, Fetch fetch) {
  constexpr int kPairs = kConverted ? pairs_for(kMaxTileRows) : pairs_for(R);
  for (int pair = 0; pair < kPairsPerPanel; pair += kPairs) {
    if constexpr (!kConverted) {
      const bool fetches = pair < 2 * kPairs;
      if (fetches && fetch == Fetch::kFirst) {
        matmul_tile<R, kPairs, Fetch::kFirst>(tile, weights, pair);
        continue;
      }
      if (fetches && fetch == Fetch::kSecond) {
        matmul_tile<R, kPairs, Fetch::kSecond>(tile, weights, pair);
        continue;
      }
    }
    matmul_tile<R, kPairs, Fetch::kNone>(tile, weights, pair);
  }
}

template <typename W, bool kConverted, int R = kMaxTileRows>
void matmul_rows_dispatch(int rows, const Tile& tile, const W& weights, Fetch fetch) {
  if constexpr (R > 1) {
    if (rows < R) return matmul_rows_dispatch<W, kConverted, R - 1>(rows, tile, weights, fetch);
  }
  matmul_rows<R, W, kConverted>(tile, weights, fetch);
}

void convert_block(const uint32_t* panel, int64_t k_count, float* out) {
  constexpr int kPairs = pairs_for(kMaxTileRows);
  const Bf16Weights weights{panel};
  for (int pair = 0; pair < kPairsPerPanel; pair += kPairs)
    for (int64_t k = 0; k < k_count; ++k) {
      Vec w[2 * kPairs];
      weights.template load_step<kPairs>(k, pair, w);
      for (int i = 0; i < 2 * kPairs; ++i, out += kLanes) store(out, w[i]);
    }
}

// One block of k of a panel, for a tile of rows.
inline Tile tile_of(const MatmulBf16& m, int row, int64_t panel, int64_t k_begin, int64_t k_count) {
  return {.x = m.x + row * m.x_stride + k_begin,
          .x_stride = m.x_stride,
          .k_count = k_count,
          .y = m.y + row * m.y_stride + panel * kPanelColumns,
          .y_stride = m.y_stride,
          .bias = m.bias && k_begin + k_count == m.k ? m.bias + panel * kPanelColumns : nullptr,
          .first = k_begin == 0};
}

inline const uint32_t* block_of(const MatmulBf16& m, int64_t panel, int64_t k_begin) {
  return m.w + (panel * m.k + k_begin) * (kPanelColumns / 2);
}

// Calls body(first row, rows) for row tiles of nearly equal size.
template <typename Body>
inline void each_row_tile(const MatmulBf16& m, const Body& body) {
  const int tiles = (m.rows + kMaxTileRows - 1) / kMaxTileRows;
  for (int i = 0, row = 0; i < tiles; ++i) {
    const int rows = (m.rows - row) / (tiles - i);
    body(row, rows);
    row += rows;
  }
}

// Few rows: the weights are the bulk of the traffic. They are streamed, panel by panel.
void matmul_few(const MatmulBf16& m) {
  // A tile that is the whole panel wide needs no blocks: nothing is read twice.
  const bool one_pass = m.rows <= kMaxTileRows && pairs_for(m.rows) == kPairsPerPanel;
  const int64_t block = one_pass ? m.k : m.rows <= kMaxTileRows ? kStreamBlock : kKBlock;
  for (int64_t panel = 0; panel < m.panels; ++panel)
    for (int64_t k = 0; k < m.k; k += block) {
      const int64_t count = m.k - k < block ? m.k - k : block;
      each_row_tile(m, [&](int row, int rows) {
        matmul_rows_dispatch<Bf16Weights, false>(rows, tile_of(m, row, panel, k, count),
                                                 Bf16Weights{block_of(m, panel, k)},
                                                 row == 0 ? m.fetch : Fetch::kNone);
      });
    }
}

// Many rows are the bulk: a block of their columns is kept in cache for all panels, of which some share a
// passage over it.
void matmul_many(const MatmulBf16& m) {
  for (int64_t k = 0; k < m.k; k += kKBlock)
    for (int64_t panel = 0; panel < m.panels; panel += kConvertPanels) {
      const int64_t count = m.k - k < kKBlock ? m.k - k : kKBlock;
      const int64_t panels = m.panels - panel < kConvertPanels ? m.panels - panel : kConvertPanels;
      const auto converted = [&](int64_t i) { return m.scratch + i * kKBlock * kPanelColumns; };
      for (int64_t i = 0; i < panels; ++i) convert_block(block_of(m, panel + i, k), count, converted(i));
      each_row_tile(m, [&](int row, int rows) {
        for (int64_t i = 0; i < panels; ++i)
          matmul_rows_dispatch<ConvertedWeights, true>(rows, tile_of(m, row, panel + i, k, count),
                                                       ConvertedWeights{converted(i), count}, Fetch::kNone);
      });
    }
}

void matmul_bf16(const MatmulBf16& m) {
  if (m.rows < kConvertRows)
    matmul_few(m);
  else
    matmul_many(m);
}
