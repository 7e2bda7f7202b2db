#include "ops/values.h"

#include "ops/numeric.h"

namespace emu {
namespace {

template <class T>
T get(const char* at) {
  T value;
  std::memcpy(&value, at, sizeof(T));
  return value;
}

template <class T>
void put(char* at, T value) {
  std::memcpy(at, &value, sizeof(T));
}

// Float to integer: toward zero, NaN to 0, clamped to what int64 holds.
int64_t to_int(float value) {
  if (value != value) return 0;
  if (value >= 9.2e18f) return INT64_MAX;
  if (value <= -9.2e18f) return INT64_MIN;
  return static_cast<int64_t>(value);
}

}  // namespace

float load_float(const char* at, aclDataType dtype) {
  switch (dtype) {
    case ACL_BF16:
      return bf16_to_float(get<uint16_t>(at));
    case ACL_FLOAT:
      return get<float>(at);
    case ACL_FLOAT16:
      return half_to_float(get<uint16_t>(at));
    case ACL_DOUBLE:
      return static_cast<float>(get<double>(at));
    default:
      return static_cast<float>(load_int(at, dtype));
  }
}

int64_t load_int(const char* at, aclDataType dtype) {
  switch (dtype) {
    case ACL_INT8:
      return get<int8_t>(at);
    case ACL_UINT8:
    case ACL_BOOL:
      return get<uint8_t>(at);
    case ACL_INT16:
      return get<int16_t>(at);
    case ACL_UINT16:
      return get<uint16_t>(at);
    case ACL_INT32:
      return get<int32_t>(at);
    case ACL_UINT32:
      return get<uint32_t>(at);
    case ACL_INT64:
      return get<int64_t>(at);
    case ACL_UINT64:
      return static_cast<int64_t>(get<uint64_t>(at));
    default:
      return to_int(load_float(at, dtype));
  }
}

void store_float(char* at, aclDataType dtype, float value, Rounding rounding) {
  const bool away = rounding == Rounding::kAwayFromZero;
  switch (dtype) {
    case ACL_BF16:
      return put(at, away ? float_to_bf16_away(value) : float_to_bf16(value));
    case ACL_FLOAT:
      return put(at, value);
    case ACL_FLOAT16:
      return put(at, float_to_half(value, away));
    case ACL_DOUBLE:
      return put(at, static_cast<double>(value));
    case ACL_BOOL:
      return put<uint8_t>(at, value != 0);
    default:
      store_int(at, dtype, to_int(value));
  }
}

void store_int(char* at, aclDataType dtype, int64_t value) {
  switch (dtype) {
    case ACL_INT8:
      return put(at, static_cast<int8_t>(value));
    case ACL_UINT8:
      return put(at, static_cast<uint8_t>(value));
    case ACL_BOOL:
      return put<uint8_t>(at, value != 0);
    case ACL_INT16:
    case ACL_UINT16:
      return put(at, static_cast<int16_t>(value));
    case ACL_INT32:
    case ACL_UINT32:
      return put(at, static_cast<int32_t>(value));
    case ACL_INT64:
    case ACL_UINT64:
      return put(at, value);
    default:
      store_float(at, dtype, static_cast<float>(value));
  }
}

std::vector<int64_t> offsets_of(const aclTensor& tensor) {
  std::vector<int64_t> offsets(static_cast<size_t>(element_count(tensor.dims)));
  std::vector<int64_t> index(tensor.dims.size(), 0);
  int64_t at = 0;
  for (int64_t& offset : offsets) {
    offset = at;
    for (size_t d = tensor.dims.size(); d-- > 0;) {
      at += tensor.strides[d];
      if (++index[d] < tensor.dims[d]) break;
      at -= tensor.strides[d] * tensor.dims[d];
      index[d] = 0;
    }
  }
  return offsets;
}

namespace {

// Element (row, column) of the stored matrix lies in blocks of 16 rows by 32 bytes. The view is the stored
// matrix or its transpose, which its strides tell.
std::vector<int64_t> nz_offsets(const aclTensor& tensor) {
  const int64_t c0 = 32 / static_cast<int64_t>(element_size(tensor.dtype));
  const int64_t rows = tensor.dims[0], columns = tensor.dims[1];
  const bool transposed = tensor.strides[0] == 1 && tensor.strides[1] != 1;
  const int64_t row_blocks = tensor.storage[1];
  std::vector<int64_t> offsets;
  offsets.reserve(static_cast<size_t>(rows * columns));
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j) {
      const int64_t r = transposed ? j : i, c = transposed ? i : j;
      offsets.push_back(((c / c0 * row_blocks + r / 16) * 16 + r % 16) * c0 + c % c0);
    }
  return offsets;
}

std::vector<int64_t> layout_offsets(const aclTensor& tensor) {
  return tensor.format == ACL_FORMAT_FRACTAL_NZ ? nz_offsets(tensor) : offsets_of(tensor);
}

bool plain(const Operand& operand) {
  return operand.tensor.format != ACL_FORMAT_FRACTAL_NZ && is_contiguous(operand.tensor);
}

template <class Value, class Load>
std::vector<Value> read_all(const Operand& operand, Load&& load) {
  std::vector<Value> values(static_cast<size_t>(operand.count()));
  const auto size = static_cast<int64_t>(element_size(operand.dtype()));
  const char* base = operand.at();
  if (plain(operand)) {
    for (size_t i = 0; i < values.size(); ++i) values[i] = load(base + static_cast<int64_t>(i) * size);
    return values;
  }
  size_t i = 0;
  for (const int64_t offset : layout_offsets(operand.tensor)) values[i++] = load(base + offset * size);
  return values;
}

template <class Store>
void write_all(Operand& operand, size_t n, Store&& store) {
  const auto size = static_cast<int64_t>(element_size(operand.dtype()));
  char* base = operand.at();
  if (plain(operand)) {
    for (size_t i = 0; i < n; ++i) store(base + static_cast<int64_t>(i) * size, i);
    return;
  }
  size_t i = 0;
  for (const int64_t offset : layout_offsets(operand.tensor)) {
    store(base + offset * size, i);
    ++i;
  }
}

}  // namespace

Floats read_floats(const Operand& operand) {
  const aclDataType dtype = operand.dtype();
  if (dtype == ACL_BF16)
    return read_all<float>(operand, [](const char* at) { return bf16_to_float(get<uint16_t>(at)); });
  return read_all<float>(operand, [dtype](const char* at) { return load_float(at, dtype); });
}

Ints read_ints(const Operand& operand) {
  const aclDataType dtype = operand.dtype();
  return read_all<int64_t>(operand, [dtype](const char* at) { return load_int(at, dtype); });
}

void write_floats(Operand& operand, const Floats& values, Rounding rounding) {
  const aclDataType dtype = operand.dtype();
  write_all(operand, values.size(), [&](char* at, size_t i) { store_float(at, dtype, values[i], rounding); });
}

void write_ints(Operand& operand, const Ints& values) {
  const aclDataType dtype = operand.dtype();
  write_all(operand, values.size(), [&](char* at, size_t i) { store_int(at, dtype, values[i]); });
}

void read_row(const Operand& operand, int64_t row, int64_t width, float* out) {
  const auto size = static_cast<int64_t>(element_size(operand.dtype()));
  const char* at = operand.at() + row * width * size;
  for (int64_t i = 0; i < width; ++i) out[i] = load_float(at + i * size, operand.dtype());
}

void write_row(Operand& operand, int64_t row, int64_t width, const float* values, Rounding rounding) {
  const auto size = static_cast<int64_t>(element_size(operand.dtype()));
  char* at = operand.at() + row * width * size;
  for (int64_t i = 0; i < width; ++i) store_float(at + i * size, operand.dtype(), values[i], rounding);
}

}  // namespace emu
