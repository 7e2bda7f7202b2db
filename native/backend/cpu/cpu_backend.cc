#include "backend/cpu/cpu_backend.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>
#include <utility>

#include "backend/cpu/attention.h"
#include "backend/cpu/objects.h"
#include "backend/cpu/packing.h"
#include "backend/cpu/thread_pool.h"
#include "backend/cpu/weight_order.h"
#include "tensor/check.h"
#include "tensor/elements.h"

namespace agentinfer {
namespace {

constexpr int kFewRows = 14;    // up to so many, kernels pass over a panel once (AVX-512; others fewer)
constexpr int kManyPanels = 8;  // that a thread takes at once for more
constexpr size_t kLineBytes = 64;
constexpr int64_t kInlineElements = 8192;  // row-wise work below this is not worth handing out
// Of a gated product a thread holds so much, for as many rows as a pair of panels leaves room for, and so
// many pairs of few rows.
constexpr int64_t kGatedFloats = 262144, kMostGatedPairs = 8;
constexpr int64_t kAheadBytes =
    262144;  // of its next weights that an idle thread fetches: lies in its second cache

template <typename To, typename From>
To& as(From& from) {
  return static_cast<To&>(from);
}

bool has_finite(std::span<const float> values) {
  return std::any_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); });
}

// Of a gated product with so many rows: pairs of panels whose values lie in a worker's second cache until
// they are gated, and the distance of their rows.
int64_t gated_pairs(int64_t rows) {
  return std::clamp<int64_t>(kGatedFloats / (rows * 2 * kPanelColumns), 1, kMostGatedPairs);
}
int64_t gated_stride(int64_t pairs) {
  return pairs * 2 * kPanelColumns + 16;
}

// A worker's for any number of rows up to `most`.
int64_t gated_floats(int64_t most) {
  int64_t floats = 0;
  for (int64_t row = 1; row <= most; ++row) floats = std::max(floats, row * gated_stride(gated_pairs(row)));
  return floats;
}

class CpuBackendImpl final : public CpuBackend {
 public:
  CpuBackendImpl(int threads, const Kernels& kernels, FetchRule fetch)
      : kernels_(kernels),
        isa_(kernels.isa),
        fetch_(fetch),
        pool_(threads),
        convert_(static_cast<size_t>(threads) * kConvertFloats * sizeof(float), "matrix work memory") {}

  const std::string& isa() const override { return isa_; }
  int threads() const override { return pool_.size(); }

  std::unique_ptr<Linear> make_linear(const LinearSource& source) override {
    return std::make_unique<CpuLinear>(pack(source, pool_, weights_));
  }

  std::unique_ptr<Vector> make_vector(const Slice& source) override {
    auto made = std::make_unique<CpuVector>();
    made->size = source.row_end - source.row_begin;
    made->values = Memory(static_cast<size_t>(made->size) * sizeof(float), source.tensor->name);
    made->bytes = made->values.bytes();
    for (int64_t i = 0; i < made->size; ++i)
      made->values.as<float>()[i] = read_element(*source.tensor, source.row_begin + i);
    return made;
  }

  std::unique_ptr<Embedding> make_embedding(const Slice& source) override {
    auto made = std::make_unique<CpuEmbedding>();
    made->rows = source.row_end - source.row_begin;
    made->cols = source.col_end - source.col_begin;
    made->first_row = source.row_begin;
    made->vocabulary = source.tensor->shape.at(0);
    made->values = Memory(static_cast<size_t>(made->rows * made->cols) * 2, source.tensor->name);
    made->bytes = made->values.bytes();
    const int64_t stored = source.tensor->shape.at(1);
    uint16_t* out = made->values.as<uint16_t>();
    constexpr int64_t kRows = 256;
    // Only a floating table can be read: find out before the threads do.
    if (made->rows > 0) read_element(*source.tensor, 0);
    pool_.parallel_for(static_cast<int>((made->rows + kRows - 1) / kRows), [&](int64_t part, int) {
      for (int64_t row = part * kRows; row < std::min(made->rows, (part + 1) * kRows); ++row)
        read_bf16(*source.tensor, (source.row_begin + row) * stored + source.col_begin, made->cols,
                  out + row * made->cols);
    });
    return made;
  }

  std::unique_ptr<Embedding> make_tied_embedding(const Linear& head, int64_t first_row,
                                                 int64_t vocabulary) override {
    const auto& packed = static_cast<const CpuLinear&>(head).packed;
    ensure(packed.format == WeightFormat::kBF16, "a tied embedding needs a 16-bit head");
    auto made = std::make_unique<CpuEmbedding>();
    made->rows = head.out_features;
    made->cols = head.in_features;
    made->first_row = first_row;
    made->vocabulary = vocabulary;
    made->head = &packed;
    return made;
  }

  std::unique_ptr<Activation> make_activation(int64_t max_rows, int64_t cols, Feeds feeds) override {
    return std::make_unique<CpuActivation>(max_rows, cols, feeds);
  }

  std::unique_ptr<KvCache> make_kv_cache(const KvLayout& layout, int blocks, int host_blocks) override {
    if (layout.block_size < kKeyGroup || layout.block_size > kMaxAttentionChunk ||
        layout.block_size % kKeyGroup != 0)
      fail(ErrorCode::kInvalidArgument, "block size: expected a multiple of ", kKeyGroup, " up to ",
           kMaxAttentionChunk, ", got ", layout.block_size);
    return std::make_unique<CpuKvCache>(layout, blocks, host_blocks);
  }

  size_t prepare(const StepShape& shape, const AttentionShape& attention, const RopeTable& rope) override {
    shape_ = attention;
    inv_freq_ = rope.inv_freq;
    const size_t angles = static_cast<size_t>(shape.max_rows) * inv_freq_.size() * sizeof(float);
    cos_ = Memory(angles, "rotary table");
    sin_ = Memory(angles, "rotary table");
    attention_.emplace(attention, shape, pool_.size());
    gated_floats_ = gated_floats(shape.max_rows);
    gated_ = Memory(static_cast<size_t>(gated_floats_ * pool_.size()) * sizeof(float), "gated products");
    return convert_.bytes() + cos_.bytes() + sin_.bytes() + attention_->work_bytes() + gated_.bytes();
  }

  void begin_step(const StepInputs& inputs, KvCache& cache) override {
    inputs_ = inputs;
    cache_ = &as<CpuKvCache>(cache);
    attention_->begin_step(inputs, cache.layout.block_size);
    order_.begin_step();
    const auto half = static_cast<int64_t>(inv_freq_.size());
    for_rows(rows(), half * 16, [&](int64_t row) {
      for (int64_t i = 0; i < half; ++i) {
        const double angle = static_cast<double>(inputs_.positions[static_cast<size_t>(row)]) *
                             inv_freq_[static_cast<size_t>(i)];
        cos_.as<float>()[row * half + i] = static_cast<float>(std::cos(angle));
        sin_.as<float>()[row * half + i] = static_cast<float>(std::sin(angle));
      }
    });
  }

  void embed(const Embedding& table, Activation& out) override {
    const auto& embedding = static_cast<const CpuEmbedding&>(table);
    CpuActivation& to = written(out);
    for (int32_t token : inputs_.tokens)
      ensure(token >= 0 && token < table.vocabulary, "token ", token, " outside a vocabulary of ",
             table.vocabulary);
    for_rows(rows(), table.cols, [&](int64_t row) {
      const int64_t token = inputs_.tokens[static_cast<size_t>(row)] - table.first_row;
      float* values = to.row(row);
      if (token < 0 || token >= table.rows) {
        std::fill_n(values, table.cols, 0.0f);
      } else if (embedding.head != nullptr) {
        const uint16_t* column =
            embedding.head->weights.as<uint16_t>() + token / kPanelColumns * embedding.cols * kPanelColumns;
        const int64_t inside = token % kPanelColumns, half = kPanelColumns / 2,
                      offset = inside % half * 2 + inside / half;
        for (int64_t k = 0; k < table.cols; ++k)
          values[k] = f32_from_bf16(column[k * kPanelColumns + offset]);
      } else {
        const uint16_t* from = embedding.values.as<uint16_t>() + token * table.cols;
        for (int64_t k = 0; k < table.cols; ++k) values[k] = f32_from_bf16(from[k]);
      }
    });
  }

  void rms_norm(const Activation& x, const Vector& weight, float eps, int count, Activation& out) override {
    const CpuActivation& from = read(x);
    CpuActivation& to = written(out);
    const float* scale = static_cast<const CpuVector&>(weight).values.as<float>();
    for_rows(count, x.cols,
             [&](int64_t row) { kernels_.floats->rms_norm(from.row(row), scale, eps, x.cols, to.row(row)); });
  }

  void add_rms_norm(Activation& residual, const Activation& x, const Vector& weight, float eps, int count,
                    Activation& out) override {
    CpuActivation& sum = written(residual);
    const CpuActivation& from = read(x);
    CpuActivation& to = written(out);
    const float* scale = static_cast<const CpuVector&>(weight).values.as<float>();
    for_rows(count, x.cols, [&](int64_t row) {
      kernels_.floats->add(sum.row(row), from.row(row), x.cols);
      kernels_.floats->rms_norm(sum.row(row), scale, eps, x.cols, to.row(row));
    });
  }

  void add(Activation& residual, const Activation& x, int count) override {
    CpuActivation& sum = written(residual);
    const CpuActivation& from = read(x);
    for_rows(count, x.cols, [&](int64_t row) { kernels_.floats->add(sum.row(row), from.row(row), x.cols); });
  }

  void linear(const Activation& x, const Linear& weight, int count, Activation& out) override {
    const CpuActivation& from = read(x);
    const PackedWeights& packed = static_cast<const CpuLinear&>(weight).packed;
    ensure(x.cols == weight.in_features && out.cols == weight.out_features, "product of ", weight.in_features,
           " to ", weight.out_features, " applied to ", x.cols, " to ", out.cols);
    ensure(!packed.gated, "a gated weight in a plain product");
    CpuActivation& to = written(out);
    if (packed.format == WeightFormat::kW8A8) quantize(from, packed.k4() * 4, count);
    for_panels(packed, count, [&](int64_t first, int64_t panels, int worker) {
      multiply(from, packed, count, first, panels, worker, {to.row(0) + first * kPanelColumns, to.stride});
    });
  }

  // Gate and up are never whole: a thread gates what it has just computed.
  void gated_linear(const Activation& x, const Linear& weight, int count, Activation&,
                    Activation& out) override {
    const CpuActivation& from = read(x);
    const PackedWeights& packed = static_cast<const CpuLinear&>(weight).packed;
    ensure(packed.gated && x.cols == weight.in_features && 2 * out.cols == weight.out_features,
           "gated product of ", weight.in_features, " to ", weight.out_features, " applied to ", x.cols,
           " to ", out.cols);
    CpuActivation& to = written(out);
    if (packed.format == WeightFormat::kW8A8) quantize(from, packed.k4() * 4, count);
    const int64_t most = gated_pairs(count), stride = gated_stride(most);
    for_panels(packed, count, [&](int64_t first, int64_t panels, int worker) {
      float* y = gated_.as<float>() + worker * gated_floats_;
      for (int64_t pair = first / 2; pair < (first + panels) / 2; pair += most) {
        const int64_t pairs = std::min(most, (first + panels) / 2 - pair);
        multiply(from, packed, count, 2 * pair, 2 * pairs, worker, {y, stride});
        for (int row = 0; row < count; ++row)
          kernels_.floats->swiglu_panels(y + row * stride, pairs, to.row(row) + pair * kPanelColumns);
      }
    });
  }

  void swiglu(const Activation& gate_up, int count, Activation& out) override {
    const CpuActivation& from = read(gate_up);
    CpuActivation& to = written(out);
    for_rows(count, out.cols * 4, [&](int64_t row) {
      kernels_.floats->swiglu(from.row(row), from.row(row) + out.cols, out.cols, to.row(row));
    });
  }

  void write_kv(int layer, Activation& qkv, const Vector* q_norm, const Vector* k_norm, float eps) override {
    CpuActivation& values = written(qkv);
    const auto weight = [](const Vector* norm) {
      return norm == nullptr ? nullptr : static_cast<const CpuVector*>(norm)->values.as<float>();
    };
    const float *q_weight = weight(q_norm), *k_weight = weight(k_norm);
    for_rows(rows(), qkv.cols, [&](int64_t row) {
      const int dim = shape_.head_dim;
      fetch_slot(slot(layer, row, 0));
      float* head = values.row(row);
      for (int i = 0; i < shape_.heads; ++i, head += dim) position_head(row, head, q_weight, eps);
      const float* v = head + static_cast<int64_t>(shape_.kv_heads) * dim;
      // One head ahead: the lines of all would push each other out of the first cache.
      for (int i = 0; i < shape_.kv_heads; ++i, head += dim, v += dim) {
        if (i + 1 < shape_.kv_heads) fetch_slot(slot(layer, row, i + 1));
        position_head(row, head, k_weight, eps);
        store_kv(head, v, slot(layer, row, i));
      }
    });
  }

  void attention(int layer, const Activation& qkv, Activation& out) override {
    attention_->run(*kernels_.floats, pool_, *cache_, layer, read(qkv), written(out));
  }

  void gather_rows(const Activation& x, int first, int count, Activation& out) override {
    const CpuActivation& from = read(x);
    CpuActivation& to = written(out);
    for (int i = 0; i < count; ++i)
      std::memcpy(to.row(i), from.row(inputs_.logit_rows[static_cast<size_t>(first + i)]),
                  static_cast<size_t>(x.cols) * sizeof(float));
  }

  std::span<const float> logits(const Activation& values, int row) override {
    return {read(values).row(row), static_cast<size_t>(values.cols)};
  }

  void argmax(const Activation& values, int count, std::span<int32_t> out) override {
    const CpuActivation& from = read(values);
    for_rows(count, values.cols, [&](int64_t row) {
      float highest = 0;
      int64_t index = -1;
      kernels_.floats->argmax(from.row(row), values.cols, &highest, &index);
      const bool finite = std::isfinite(highest) || has_finite(logits(values, static_cast<int>(row)));
      out[static_cast<size_t>(row)] = finite ? static_cast<int32_t>(index) : -1;
    });
  }

  void synchronize() override {}

  void* raw(Activation& x, int64_t* stride) override {
    CpuActivation& values = written(x);
    *stride = values.stride;
    return values.row(0);
  }

  void copy_block(KvCache& cache, int32_t from, int32_t to) override { as<CpuKvCache>(cache).copy(from, to); }
  // Copies are made at once, so they are trivially ordered against the steps around them.
  void block_to_host(KvCache& cache, int32_t block, int32_t host_block) override {
    as<CpuKvCache>(cache).to_host(block, host_block);
  }
  void block_from_host(KvCache& cache, int32_t host_block, int32_t block) override {
    as<CpuKvCache>(cache).from_host(host_block, block);
  }

 private:
  static const CpuActivation& read(const Activation& x) { return static_cast<const CpuActivation&>(x); }
  // Whoever is about to write an activation gets it here: its int8 copy is out of date from now on.
  static CpuActivation& written(Activation& x) {
    auto& activation = static_cast<CpuActivation&>(x);
    activation.quantized_rows = 0;
    return activation;
  }
  int rows() const { return static_cast<int>(inputs_.tokens.size()); }

  // Runs body(row); on the pool where rows * elements is worth it.
  template <typename Body>
  void for_rows(int64_t count, int64_t elements, const Body& body) {
    const int64_t least =
        std::max<int64_t>(1, std::min(kInlineElements / std::max<int64_t>(elements, 1), count));
    pool_.parallel_runs(count, least, [&](int64_t first, int64_t run, int) {
      for (int64_t row = first; row < first + run; ++row) body(row);
    });
  }

  // Runs body(first panel, panels, worker) over all panels of a product, whole pairs of a gated one. With
  // more rows than one pass takes no run is short: a thread that passes over a panel several times fetches
  // the next one meanwhile, and uses each block of rows again while it is in cache. Threads that wait
  // afterwards fetch the weights that they will read next.
  template <typename Body>
  void for_panels(const PackedWeights& w, int count, const Body& body) {
    const WeightOrder::Panels next = order_.advance(w);
    for (int worker = 1; worker < pool_.size(); ++worker) {
      const int64_t begin = pool_.part_begin(worker, next.count),
                    end = pool_.part_begin(worker + 1, next.count);
      pool_.fetch_when_idle(worker, next.data + begin * next.panel_bytes,
                            std::min(kAheadBytes, (end - begin) * next.panel_bytes));
    }
    const int64_t unit = w.gated ? 2 : 1, least = count <= kFewRows ? 1 : kManyPanels / unit;
    pool_.parallel_runs(w.panels / unit, least, [&](int64_t first, int64_t units, int worker) {
      body(first * unit, units * unit, worker);
    });
  }

  // Where a product goes: the first panel's first row.
  struct Target {
    float* y;
    int64_t stride;
  };

  // Panels [first, first + panels) of a product; x is quantised where w is int8.
  void multiply(const CpuActivation& x, const PackedWeights& w, int count, int64_t first, int64_t panels,
                int worker, Target to) {
    const int64_t column = first * kPanelColumns;
    if (w.format == WeightFormat::kBF16)
      kernels_.floats->matmul({.x = x.row(0),
                               .x_stride = x.stride,
                               .rows = count,
                               .w = w.weights.as<uint32_t>() + column / 2 * w.k,
                               .k = w.k,
                               .panels = panels,
                               .bias = w.bias.as<float>() + column,
                               .y = to.y,
                               .y_stride = to.stride,
                               .scratch = convert_.as<float>() + worker * kConvertFloats,
                               .fetch = fetch_.bf16(count)});
    else
      kernels_.int8->matmul({.x = x.quantized.as<int8_t>(),
                             .x_stride = x.quantized_stride,
                             .x_scale = x.scales.as<float>(),
                             .rows = count,
                             .w = w.weights.as<int8_t>() + column * w.k4() * 4,
                             .k4 = w.k4(),
                             .panels = panels,
                             .column_sum = w.column_sum.as<int32_t>() + column,
                             .w_scale = w.scale.as<float>() + column,
                             .bias = w.bias.as<float>() + column,
                             .y = to.y,
                             .y_stride = to.stride,
                             .fetch = fetch_.int8(count)});
  }

  // Once for all products that read the activation.
  void quantize(const CpuActivation& x, int64_t padded, int count) {
    ensure(x.quantized.bytes() != 0, "an int8 product needs an activation made to feed one");
    if (x.quantized_rows >= count) return;
    for_rows(count, x.cols * 2, [&](int64_t row) {
      kernels_.int8->quantize_row(x.row(row), x.cols, padded,
                                  x.quantized.as<int8_t>() + row * x.quantized_stride,
                                  x.scales.as<float>() + row);
    });
    x.quantized_rows = count;
  }

  void position_head(int64_t row, float* head, const float* norm, float eps) {
    if (norm != nullptr) kernels_.floats->rms_norm(head, norm, eps, shape_.head_dim, head);
    const auto half = static_cast<int64_t>(inv_freq_.size());
    kernels_.floats->rope(head, cos_.as<float>() + row * half, sin_.as<float>() + row * half, half);
  }

  // Where a row's k and v go, in the kv head `head`: the first of k's elements, which lie kKeyGroup apart,
  // and v.
  struct Slot {
    std::byte *k, *v;
  };
  Slot slot(int layer, int64_t row, int head) const {
    const auto position = inputs_.slots[static_cast<size_t>(row)];
    const int32_t block = position / cache_->layout.block_size, offset = position % cache_->layout.block_size;
    const size_t head_bytes =
        cache_->piece() / static_cast<size_t>(shape_.kv_heads) * static_cast<size_t>(head);
    const size_t element = cache_->element, vector = static_cast<size_t>(shape_.head_dim) * element;
    const auto inside = static_cast<size_t>(offset % kKeyGroup), group = static_cast<size_t>(offset) - inside;
    return {cache_->k(layer, block) + head_bytes + group * vector + inside * element,
            cache_->v(layer, block) + head_bytes + static_cast<size_t>(offset) * vector};
  }

  // Asks for the lines that store_kv will write, all at once: k's elements lie on many. Inlined, since to GCC
  // what only fetches has no effect.
  [[gnu::always_inline]] void fetch_slot(Slot to) const {
    const size_t vector = static_cast<size_t>(shape_.head_dim) * cache_->element;
    for (size_t at = 0; at < kKeyGroup * vector; at += kLineBytes) __builtin_prefetch(to.k + at, 1);
    for (size_t at = 0; at < vector; at += kLineBytes) __builtin_prefetch(to.v + at, 1);
  }

  void store_kv(const float* k, const float* v, Slot to) const {
    const int dim = shape_.head_dim;
    if (cache_->type == KvType::kF32) {
      std::memcpy(to.v, v, static_cast<size_t>(dim) * sizeof(float));
      for (int d = 0; d < dim; ++d) reinterpret_cast<float*>(to.k)[d * kKeyGroup] = k[d];
    } else {
      store_16(k, v, dim, reinterpret_cast<uint16_t*>(to.k), reinterpret_cast<uint16_t*>(to.v));
    }
  }

  void store_16(const float* k, const float* v, int dim, uint16_t* keys, uint16_t* values) const {
    const auto convert = cache_->type == KvType::kF16 ? kernels_.floats->to_f16 : kernels_.floats->to_bf16;
    convert(v, dim, values);
    constexpr int kPart = 64;
    uint16_t part[kPart];
    for (int begin = 0; begin < dim; begin += kPart) {
      const int count = std::min(kPart, dim - begin);
      convert(k + begin, count, part);
      for (int d = 0; d < count; ++d) keys[(begin + d) * kKeyGroup] = part[d];
    }
  }

  const Kernels kernels_;
  const std::string isa_;
  const FetchRule fetch_;
  ThreadPool pool_;
  Arena weights_;
  WeightOrder order_;
  Memory convert_;  // blocks of panels as f32, for each worker
  int64_t gated_floats_ = 0;
  Memory gated_;  // gate and up of some panels, for each worker
  AttentionShape shape_;
  std::vector<float> inv_freq_;
  Memory cos_, sin_;  // [rows of the step][head_dim / 2]
  std::optional<CpuAttention> attention_;
  StepInputs inputs_;
  CpuKvCache* cache_ = nullptr;  // of the step
};

}  // namespace

size_t cpu_work_bytes(int64_t max_rows, const AttentionShape& attention, int threads) {
  const int64_t of_thread = kConvertFloats + gated_floats(max_rows);
  const int64_t rotary = max_rows * attention.head_dim;  // cosines and sines of half a head each
  return static_cast<size_t>(of_thread * threads + rotary) * sizeof(float) +
         CpuAttention::work_bytes(attention, threads);
}

int thread_count(int threads) {
  if (threads < 0 || threads > kMaxThreads)
    fail(ErrorCode::kInvalidArgument, "threads: expected 1 to ", kMaxThreads, ", got ", threads);
  return threads == 0 ? default_threads() : threads;
}

std::unique_ptr<CpuBackend> make_cpu_backend(const CpuOptions& options) {
  return std::make_unique<CpuBackendImpl>(thread_count(options.threads), select_kernels(options.isa),
                                          options.fetch);
}

}  // namespace agentinfer
