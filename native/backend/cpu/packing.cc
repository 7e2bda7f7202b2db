#include "backend/cpu/packing.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <exception>
#include <vector>

#include "backend/cpu/kernels.h"
#include "tensor/check.h"
#include "tensor/quantize_row.h"

namespace agentinfer {
namespace {

constexpr int64_t kBlock = 64;  // columns of the source handled together: a panel's block of it stays in the first cache

template <typename T>
T element(const TensorView& tensor, int64_t index) {
  T value;
  std::memcpy(&value, tensor.data.data() + static_cast<size_t>(index) * sizeof(T), sizeof(T));
  return value;
}

// Where output column `column` of the concatenated product comes from.
struct SourceRow {
  const Slice* slice = nullptr;
  int64_t row = 0;
};

SourceRow source_row(const LinearSource& source, int64_t column) {
  for (const Slice& part : source.parts) {
    const int64_t rows = part.row_end - part.row_begin;
    if (column < rows) return {&part, part.row_begin + column};
    column -= rows;
  }
  return {};
}

int64_t tensor_columns(const Slice& slice) { return slice.tensor->shape.at(1); }

void check_source(const LinearSource& source) {
  const Slice& first = source.parts.at(0);
  for (const Slice& part : source.parts) {
    const bool inside = part.tensor != nullptr && part.tensor->shape.size() == 2 && part.row_begin >= 0 &&
                        part.row_end <= part.tensor->shape[0] && part.col_begin >= 0 && part.col_end <= part.tensor->shape[1];
    if (!inside || part.col_end - part.col_begin != first.col_end - first.col_begin)
      fail(ErrorCode::kInvalidArgument, source.name, ": a slice lies outside its tensor or differs in columns");
    const bool stored_int8 = part.tensor->dtype == DType::kI8;
    if (stored_int8 != (part.row_scale != nullptr) || (stored_int8 && source.format != WeightFormat::kW8A8))
      fail(ErrorCode::kInvalidArgument, part.tensor->name, ": int8 weights need a scale and the W8A8 format");
  }
  if (!source.bias.empty() && source.bias.size() != source.parts.size())
    fail(ErrorCode::kInvalidArgument, source.name, ": expected a bias for each part");
}

void pack_bias(const LinearSource& source, PackedWeights& packed) {
  float* bias = packed.bias.as<float>();
  int64_t column = 0;
  for (size_t i = 0; i < source.parts.size(); ++i) {
    const int64_t rows = source.parts[i].row_end - source.parts[i].row_begin;
    if (!source.bias.empty() && source.bias[i].tensor != nullptr)
      for (int64_t row = 0; row < rows; ++row)
        bias[column + row] = read_element(*source.bias[i].tensor, source.bias[i].row_begin + row);
    column += rows;
  }
}

// Dword and half of a column within a panel row.
int64_t half_index(int64_t column) {
  const int64_t group = column / 32, inside = column % 32;
  return (group * 16 + inside % 16) * 2 + inside / 16;
}

void pack_bf16_panel(const LinearSource& source, int64_t panel, PackedWeights& packed) {
  // Halves in memory order: the low half of a little-endian dword comes first.
  uint16_t* out = packed.weights.as<uint16_t>() + panel * packed.k * kPanelColumns;
  const int64_t end = std::min<int64_t>(kPanelColumns, packed.columns - panel * kPanelColumns);
  uint16_t values[kBlock];
  for (int64_t k = 0; k < packed.k; k += kBlock) {
    const int64_t count = std::min(kBlock, packed.k - k);
    for (int64_t column = 0; column < end; ++column) {
      const SourceRow from = source_row(source, panel * kPanelColumns + column);
      read_bf16(*from.slice->tensor, from.row * tensor_columns(*from.slice) + from.slice->col_begin + k, count, values);
      uint16_t* to = out + k * kPanelColumns + half_index(column);
      for (int64_t i = 0; i < count; ++i) to[i * kPanelColumns] = values[i];
    }
  }
}

// A source row in int8, and its scale: as stored, or quantised over all of its columns, so that the result does not depend on how
// columns are cut.
float int8_row(const SourceRow& from, std::vector<float>& values, std::vector<int8_t>& row) {
  const TensorView& tensor = *from.slice->tensor;
  const auto columns = static_cast<size_t>(tensor_columns(*from.slice));
  row.resize(columns);
  if (from.slice->row_scale != nullptr) {
    std::memcpy(row.data(), tensor.data.data() + static_cast<size_t>(from.row) * columns, columns);
    return read_element(*from.slice->row_scale, from.row);
  }
  values.resize(columns);
  read_floats(tensor, from.row * static_cast<int64_t>(columns), values);
  const float scale = quantize_row(values, row);
  if (std::isnan(scale)) fail(ErrorCode::kModelInvalid, tensor.name, ": row ", from.row, " holds a value that is not finite");
  return scale;
}

void pack_int8_panel(const LinearSource& source, int64_t panel, PackedWeights& packed) {
  int8_t* out = packed.weights.as<int8_t>() + panel * packed.k4() * kPanelColumns * 4;
  const int64_t end = std::min<int64_t>(kPanelColumns, packed.columns - panel * kPanelColumns);
  std::vector<float> values;
  std::vector<int8_t> row;
  for (int64_t column = 0; column < end; ++column) {
    const SourceRow from = source_row(source, panel * kPanelColumns + column);
    const float scale = int8_row(from, values, row);
    const int8_t* weights = row.data() + from.slice->col_begin;
    int32_t sum = 0;
    for (int64_t k = 0; k < packed.k; ++k) {
      out[(k / 4 * kPanelColumns + column) * 4 + k % 4] = weights[k];
      sum += weights[k];
    }
    packed.scale.as<float>()[panel * kPanelColumns + column] = scale;
    packed.column_sum.as<int32_t>()[panel * kPanelColumns + column] = sum;
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

float read_element(const TensorView& tensor, int64_t index) {
  switch (tensor.dtype) {
    case DType::kBF16: return f32_from_bf16(element<uint16_t>(tensor, index));
    case DType::kF16: return f32_from_f16(element<uint16_t>(tensor, index));
    case DType::kF32: return element<float>(tensor, index);
    default: fail(ErrorCode::kModelInvalid, tensor.name, ": expected a floating type, got ", dtype_name(tensor.dtype));
  }
}

void read_bf16(const TensorView& tensor, int64_t begin, int64_t count, uint16_t* out) {
  if (tensor.dtype == DType::kBF16) {
    std::memcpy(out, tensor.data.data() + static_cast<size_t>(begin) * 2, static_cast<size_t>(count) * 2);
    return;
  }
  for (int64_t i = 0; i < count; ++i) out[i] = bf16_from_f32(read_element(tensor, begin + i));
}

PackedWeights pack(const LinearSource& source, ThreadPool& pool) {
  check_source(source);
  PackedWeights packed;
  packed.format = source.format;
  packed.k = source.parts[0].col_end - source.parts[0].col_begin;
  for (const Slice& part : source.parts) packed.columns += part.row_end - part.row_begin;
  packed.panels = (packed.columns + kPanelColumns - 1) / kPanelColumns;
  const auto padded = static_cast<size_t>(packed.panels * kPanelColumns);
  packed.bias = Memory(padded * sizeof(float), source.name);
  pack_bias(source, packed);
  if (source.format == WeightFormat::kBF16) {
    packed.weights = Memory(padded * static_cast<size_t>(packed.k) * 2, source.name);
    pack_panels(packed, pool, [&](int64_t panel) { pack_bf16_panel(source, panel, packed); });
  } else {
    packed.weights = Memory(padded * static_cast<size_t>(packed.k4()) * 4, source.name);
    packed.scale = Memory(padded * sizeof(float), source.name);
    packed.column_sum = Memory(padded * sizeof(int32_t), source.name);
    pack_panels(packed, pool, [&](int64_t panel) { pack_int8_panel(source, panel, packed); });
  }
  return packed;
}

}  // namespace agentinfer
