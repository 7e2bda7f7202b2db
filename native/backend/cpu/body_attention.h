// Attention over one chunk of KV positions, written on Vec. Included inside an unnamed namespace after
// body_math.h.
//
// Scores: for each position, d ascending, one accumulator. Output: for each d, position ascending, one
// accumulator that starts from the rescaled running output. Both depend on the row alone; tiles only share
// the loads of K and V.

struct KvF16 {
  using Element = uint16_t;
  static Vec get(const uint16_t* p) { return load_f16(p); }
};
struct KvBf16 {
  using Element = uint16_t;
  static Vec get(const uint16_t* p) { return load_bf16(p); }
};
struct KvF32 {
  using Element = float;
  static Vec get(const float* p) { return load(p); }
};

constexpr int kWideVecs = kLanes >= 16 ? 2 : 16 / kLanes;  // vectors in a tile: 32 positions or dims, or 16
constexpr int kPrefetchRows = 4;
constexpr int kRowsByRegisters = kAccumulators / kWideVecs;
constexpr int kAttentionRows = kRowsByRegisters < kMaxTileRows ? kRowsByRegisters : kMaxTileRows;

// What is read after a tile of scores: its positions' values, and the next tile's keys. For each d so many
// bytes of both are fetched.
struct KvAhead {
  const char *k, *v;
  int k_bytes, v_bytes;
};

template <int R, int V, typename T>
void score_tile(const AttentionChunk& a, int row, const typename T::Element* k, float* scores,
                KvAhead ahead) {
  Vec sum[R][V];
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < V; ++v) sum[r][v] = zero();
  const float* q = a.q + row * a.q_stride;
  const int64_t stride = a.q_stride, group = int64_t{kKeyGroup} * a.head_dim;
  for (int d = 0; d < a.head_dim; ++d, ++q, k += kKeyGroup) {
    if (R <= kPrefetchRows) {
      __builtin_prefetch(ahead.k + d * ahead.k_bytes);
      __builtin_prefetch(ahead.v + d * ahead.v_bytes, 0, 2);
    }
    Vec keys[V];
#pragma GCC unroll 16
    for (int v = 0; v < V; ++v) keys[v] = T::get(k + v * kLanes / kKeyGroup * group + v * kLanes % kKeyGroup);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const Vec x = broadcast(q[r * stride]);
#pragma GCC unroll 16
      for (int v = 0; v < V; ++v) sum[r][v] = fma(x, keys[v], sum[r][v]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 16
    for (int v = 0; v < V; ++v) store(scores + r * kMaxAttentionChunk + v * kLanes, sum[r][v]);
}

// Behind a tile of `count` positions from `position` on, of `limit` in all.
template <typename T>
inline KvAhead kv_ahead(const AttentionChunk& a, int position, int count, int limit) {
  using Element = typename T::Element;
  const auto at = [&](const void* const* blocks, int index) {
    return static_cast<const char*>(blocks[index / a.block_size]) +
           static_cast<size_t>(index % a.block_size * a.head_dim) * sizeof(Element);
  };
  constexpr int kBytes = static_cast<int>(sizeof(Element));
  const int after = position + count, left = limit - position, next = left - count;
  return {next > 0 ? at(a.k_blocks, after) : nullptr, at(a.v_blocks, position),
          next > 0 ? (next < count ? next : count) * kBytes : 0, (left < count ? left : count) * kBytes};
}

// Scores of R rows for positions [0, limit of the last of them), rounded up to groups of keys. With few rows
// memory is the limit.
template <int R, typename T>
void score_rows(const AttentionChunk& a, int row) {
  const int limit = a.limit[row + R - 1], end = (limit + kKeyGroup - 1) / kKeyGroup * kKeyGroup;
  float* scores = a.scores + row * kMaxAttentionChunk;
  constexpr int kWide = kWideVecs * kLanes;
  for (int position = 0; position < end;) {
    const int inside = position % a.block_size;
    const auto* keys =
        static_cast<const typename T::Element*>(a.k_blocks[position / a.block_size]) + inside * a.head_dim;
    if (end - position >= kWide && a.block_size - inside >= kWide) {
      score_tile<R, kWideVecs, T>(a, row, keys, scores + position, kv_ahead<T>(a, position, kWide, limit));
      position += kWide;
    } else {
      score_tile<R, kKeyGroup / kLanes, T>(a, row, keys, scores + position,
                                           kv_ahead<T>(a, position, kKeyGroup, limit));
      position += kKeyGroup;
    }
  }
}

// Scores become weights relative to the new maximum; the running sum and output are rescaled to it.
void soften_row(const AttentionChunk& a, int row) {
  float* s = a.scores + row * kMaxAttentionChunk;
  const int limit = a.limit[row];
  for (int i = limit; i % kLanes != 0; ++i) s[i] = -kInfinity;
  const Vec scale = broadcast(a.scale);
  Vec most = broadcast(a.max[row]);
  for (int i = 0; i < limit; i += kLanes) {
    const Vec x = mul(load(s + i), scale);
    store(s + i, x);
    most = max(most, x);
  }
  const float high = reduce_max(most);
  const Vec top = broadcast(high);
  Vec sum = zero();
  for (int i = 0; i < limit; i += kLanes) {
    const Vec p = exp(sub(load(s + i), top));
    store(s + i, p);
    sum = add(sum, p);
  }
  const Vec rescale = exp(sub(broadcast(a.max[row]), top));
  float first[kLanes];
  store(first, rescale);
  a.sum[row] = a.sum[row] * first[0] + reduce_add(sum);
  a.max[row] = high;
  float* out = a.out + row * a.out_stride;
  for (int d = 0; d < a.head_dim; d += kLanes) store(out + d, mul(load(out + d), rescale));
}

// out += weights * V over positions [begin, end) of the chunk, for V vectors of dims from d on.
template <int R, int V, typename T>
void value_tile(const AttentionChunk& a, int row, int d, int begin, int end) {
  Vec sum[R][V];
  float* out = a.out + row * a.out_stride + d;
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 16
    for (int v = 0; v < V; ++v) sum[r][v] = load(out + r * a.out_stride + v * kLanes);
  const float* p = a.scores + row * kMaxAttentionChunk;
  for (int position = begin; position < end;) {
    const int inside = position % a.block_size;
    const int stop = end - position < a.block_size - inside ? end : position + a.block_size - inside;
    const auto* values = static_cast<const typename T::Element*>(a.v_blocks[position / a.block_size]) +
                         inside * a.head_dim + d;
    for (; position < stop; ++position, values += a.head_dim) {
      Vec x[V];
#pragma GCC unroll 16
      for (int v = 0; v < V; ++v) x[v] = T::get(values + v * kLanes);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const Vec weight = broadcast(p[r * kMaxAttentionChunk + position]);
#pragma GCC unroll 16
        for (int v = 0; v < V; ++v) sum[r][v] = fma(weight, x[v], sum[r][v]);
      }
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 16
    for (int v = 0; v < V; ++v) store(out + r * a.out_stride + v * kLanes, sum[r][v]);
}

// Dims past head_dim in the last tile are loaded (from the next position's values) and land in the padding of
// `out`.
template <int R, typename T>
void value_rows(const AttentionChunk& a, int row, int begin, int end) {
  if (begin >= end) return;
  constexpr int kWide = kWideVecs * kLanes;
  int d = 0;
  for (; d + kWide <= a.head_dim; d += kWide) value_tile<R, kWideVecs, T>(a, row, d, begin, end);
  for (; d < a.head_dim; d += kLanes) value_tile<R, 1, T>(a, row, d, begin, end);
}

template <typename T, int R = kAttentionRows>
void attend_rows(const AttentionChunk& a, int row, int rows) {
  if constexpr (R > 1) {
    if (rows < R) return attend_rows<T, R - 1>(a, row, rows);
  }
  score_rows<R, T>(a, row);
  for (int r = row; r < row + R; ++r) soften_row(a, r);
  // Positions that all R rows see, together; the rest row by row: adding weight zero would not be the same as
  // not adding (a stale infinity in the cache, the sign of a zero).
  value_rows<R, T>(a, row, 0, a.limit[row]);
  for (int r = row + 1; r < row + R; ++r) value_rows<1, T>(a, r, a.limit[row], a.limit[r]);
}

template <typename T>
void attend(const AttentionChunk& a) {
  const int tiles = (a.rows + kAttentionRows - 1) / kAttentionRows;
  for (int i = 0, row = 0; i < tiles; ++i) {
    const int rows = (a.rows - row) / (tiles - i);
    attend_rows<T>(a, row, rows);
    row += rows;
  }
}

void attention_chunk(const AttentionChunk& a) {
  switch (a.type) {
    case KvType::kF16:
      return attend<KvF16>(a);
    case KvType::kBF16:
      return attend<KvBf16>(a);
    case KvType::kF32:
      return attend<KvF32>(a);
  }
}

void attention_fold(float* max_state, float* sum_state, float* out, float part_max, float part_sum,
                    const float* part_out, int64_t dims) {
  const float high = *max_state > part_max ? *max_state : part_max;
  const Vec mine = exp(broadcast(*max_state - high)), theirs = exp(broadcast(part_max - high));
  float a[kLanes], b[kLanes];
  store(a, mine);
  store(b, theirs);
  *sum_state = *sum_state * a[0] + part_sum * b[0];
  *max_state = high;
  for (int64_t d = 0; d < dims; d += kLanes)
    store(out + d, add(mul(load(out + d), mine), mul(load(part_out + d), theirs)));
}

void attention_finish(float sum, const float* state, int64_t dims, float* out) {
  const Vec inverse = broadcast(1.0f / sum);
  int64_t d = 0;
  for (; d + kLanes <= dims; d += kLanes) store(out + d, mul(load(state + d), inverse));
  if (d < dims) store_part(out + d, dims - d, mul(load(state + d), inverse));
}
