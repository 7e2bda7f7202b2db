#include "backend/cpu/packing.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <exception>
#include <vector>

#include "backend/cpu/kernels.h"
#include "tensor/check.h"
#include "tensor/elements.h"
#include "tensor/quantize_row.h"

namespace agentinfer {
namespace {

constexpr int64_t kMaxInt8Columns = 131072;  // 127 * 128 * this fits in 31 bits
// Columns of the source handled together: a panel's block of it stays in the first cache.
constexpr int64_t kBlock = 64;

// Where output column `column` of the concatenated product comes from.
struct SourceRow {
  const Slice* slice = nullptr;
  int64_t row = 0;
  const Slice* bias = nullptr;  // of the part
  int64_t inside = 0;           // row of the part
};

SourceRow source_row(const LinearSource& source, int64_t column) {
  for (size_t i = 0; i < source.parts.size(); ++i) {
    const Slice& part = source.parts[i];
    const int64_t rows = part.row_end - part.row_begin;
    if (column < rows)
      return {&part, part.row_begin + column, source.bias.empty() ? nullptr : &source.bias[i], column};
    column -= rows;
  }
  return {};
}

int64_t tensor_columns(const Slice& slice) {
  return slice.tensor->shape.at(1);
}

void check_source(const LinearSource& source) {
  const Slice& first = source.parts.at(0);
  for (const Slice& part : source.parts) {
    const bool inside = part.tensor != nullptr && part.tensor->shape.size() == 2 && part.row_begin >= 0 &&
                        part.row_end <= part.tensor->shape[0] && part.col_begin >= 0 &&
                        part.col_end <= part.tensor->shape[1];
    if (!inside || part.col_end - part.col_begin != first.col_end - first.col_begin)
      fail(ErrorCode::kInvalidArgument, source.name,
           ": a slice lies outside its tensor or differs in columns");
    const bool stored_int8 = part.tensor->dtype == DType::kI8;
    if (stored_int8 != (part.row_scale != nullptr) || (stored_int8 && source.format != WeightFormat::kW8A8))
      fail(ErrorCode::kInvalidArgument, part.tensor->name, ": int8 weights need a scale and the W8A8 format");
  }
  if (!source.bias.empty() && source.bias.size() != source.parts.size())
    fail(ErrorCode::kInvalidArgument, source.name, ": expected a bias for each part");
  const auto rows = [&](size_t part) { return source.parts[part].row_end - source.parts[part].row_begin; };
  if (source.gated && (source.parts.size() != 2 || rows(0) != rows(1)))
    fail(ErrorCode::kInvalidArgument, source.name, ": expected a gate and as many rows that it gates");
}

void pack_bias(const LinearSource& source, PackedWeights& packed) {
  for (int64_t panel = 0; panel < packed.panels; ++panel)
    for (int64_t inside = 0; inside < kPanelColumns; ++inside) {
      const SourceRow from = source_row(source, packed.column(panel, inside));
      if (from.bias != nullptr && from.bias->tensor != nullptr)
        packed.bias.as<float>()[panel * kPanelColumns + inside] =
            read_element(*from.bias->tensor, from.bias->row_begin + from.inside);
    }
}

// Values [k, k + count) of output column `column`; zeros past the last column.
void read_column(const LinearSource& source, int64_t columns, int64_t column, int64_t k, int64_t count,
                 uint16_t* out) {
  if (column >= columns) {
    std::fill_n(out, count, uint16_t{0});
    return;
  }
  const SourceRow from = source_row(source, column);
  read_bf16(*from.slice->tensor, from.row * tensor_columns(*from.slice) + from.slice->col_begin + k, count,
            out);
}

void pack_bf16_panel(const LinearSource& source, int64_t panel, PackedWeights& packed) {
  uint32_t* out = packed.weights.as<uint32_t>() + panel * packed.k * (kPanelColumns / 2);
  uint16_t low[kBlock], high[kBlock];
  for (int64_t k = 0; k < packed.k; k += kBlock) {
    const int64_t count = std::min(kBlock, packed.k - k);
    for (int64_t dword = 0; dword < kPanelColumns / 2; ++dword) {
      read_column(source, packed.columns, packed.column(panel, dword), k, count, low);
      read_column(source, packed.columns, packed.column(panel, dword + kPanelColumns / 2), k, count, high);
      uint32_t* to = out + k * (kPanelColumns / 2) + dword;
      for (int64_t i = 0; i < count; ++i)
        to[i * (kPanelColumns / 2)] = low[i] | static_cast<uint32_t>(high[i]) << 16;
    }
  }
}

// One source row as int8 in `out` (the slice's columns only). The scale covers all of the row's columns, so
// that it does not depend on how columns are cut. `row` and `levels` are work memory.
float quantise_row(const SourceRow& from, int64_t k, std::vector<float>& row, std::vector<int8_t>& levels,
                   int8_t* out) {
  const Slice& slice = *from.slice;
  const int64_t columns = tensor_columns(slice), first = from.row * columns;
  if (slice.row_scale != nullptr) {
    std::memcpy(out, slice.tensor->data.data() + first + slice.col_begin, static_cast<size_t>(k));
    return read_element(*slice.row_scale, from.row);
  }
  row.resize(static_cast<size_t>(columns));
  levels.resize(static_cast<size_t>(columns));
  read_floats(*slice.tensor, first, row);
  const float scale = quantize_row(row, levels);
  if (!std::isfinite(scale))
    fail(ErrorCode::kModelInvalid, slice.tensor->name, ": row ", from.row,
         " holds a value that is not finite");
  std::memcpy(out, levels.data() + slice.col_begin, static_cast<size_t>(k));
  return scale;
}

void pack_int8_panel(const LinearSource& source, int64_t panel, PackedWeights& packed) {
  int8_t* out = packed.weights.as<int8_t>() + panel * packed.k4() * kPanelColumns * 4;
  std::vector<float> row;
  std::vector<int8_t> levels, padded(static_cast<size_t>(packed.k4() * 4));
  for (int64_t column = 0; column < kPanelColumns; ++column) {
    const SourceRow from = source_row(source, packed.column(panel, column));
    if (from.slice == nullptr) break;  // the rest is padding
    packed.scale.as<float>()[panel * kPanelColumns + column] =
        quantise_row(from, packed.k, row, levels, padded.data());
    int32_t sum = 0;
    for (const int8_t level : padded) sum += level;
    packed.column_sum.as<int32_t>()[panel * kPanelColumns + column] = sum;
    for (int64_t k4 = 0; k4 < packed.k4(); ++k4)
      std::memcpy(out + (k4 * kPanelColumns + column) * 4, padded.data() + k4 * 4, 4);
  }
}

// Runs one panel's packing for all panels; the first error of any is thrown here.
template <typename PackPanel>
void pack_panels(PackedWeights& packed, ThreadPool& pool, const PackPanel& pack_panel) {
  std::atomic<bool> failed{false};
  std::exception_ptr error;
  pool.parallel_for(static_cast<int>(packed.panels), [&](int panel, int) {
    if (failed.load(std::memory_order_relaxed)) return;
    try {
      pack_panel(panel);
    } catch (...) {
      if (!failed.exchange(true)) error = std::current_exception();
    }
  });
  if (error) std::rethrow_exception(error);
}

}  // namespace

int64_t PackedWeights::column(int64_t panel, int64_t inside) const {
  if (!gated) return std::min(panel * kPanelColumns + inside, columns);
  const int64_t half = columns / 2, at = panel / 2 * kPanelColumns + inside;
  return at < half ? panel % 2 * half + at : columns;
}

PackedWeights pack(const LinearSource& source, ThreadPool& pool, Arena& arena) {
  check_source(source);
  PackedWeights packed;
  packed.format = source.format;
  packed.k = source.parts[0].col_end - source.parts[0].col_begin;
  for (const Slice& part : source.parts) packed.columns += part.row_end - part.row_begin;
  if (source.format == WeightFormat::kW8A8 && packed.k > kMaxInt8Columns)
    fail(ErrorCode::kModelUnsupported, source.name, ": int8 sums of ", packed.k,
         " products may overflow, at most ", kMaxInt8Columns, " are supported");
  packed.gated = source.gated;
  const int64_t parts = source.gated ? 2 : 1;
  packed.panels = parts * ((packed.columns / parts + kPanelColumns - 1) / kPanelColumns);
  const auto padded = static_cast<size_t>(packed.panels * kPanelColumns);
  packed.bias = arena.take(padded * sizeof(float), source.name);
  pack_bias(source, packed);
  if (source.format == WeightFormat::kBF16) {
    packed.weights = arena.take(padded * static_cast<size_t>(packed.k) * 2, source.name);
    pack_panels(packed, pool, [&](int64_t panel) { pack_bf16_panel(source, panel, packed); });
  } else {
    packed.weights = arena.take(padded * static_cast<size_t>(packed.k4()) * 4, source.name);
    packed.scale = arena.take(padded * sizeof(float), source.name);
    packed.column_sum = arena.take(padded * sizeof(int32_t), source.name);
    pack_panels(packed, pool, [&](int64_t panel) { pack_int8_panel(source, panel, packed); });
  }
  return packed;
}

}  // namespace agentinfer
