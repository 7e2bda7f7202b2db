#include "ops/matmul.h"

namespace emu {

Floats columns_as_rows(const Operand& operand) {
  Operand turned = operand;
  if (operand.tensor.format != ACL_FORMAT_FRACTAL_NZ) {
    std::swap(turned.tensor.dims[0], turned.tensor.dims[1]);
    std::swap(turned.tensor.strides[0], turned.tensor.strides[1]);
    return read_floats(turned);
  }
  const Floats values = read_floats(operand);
  const auto k = static_cast<size_t>(operand.dim(0)), n = static_cast<size_t>(operand.dim(1));
  Floats rows(values.size());
  for (size_t i = 0; i < k; ++i)
    for (size_t j = 0; j < n; ++j) rows[j * k + i] = values[i * n + j];
  return rows;
}

namespace {

constexpr int kLanes = 16;

// Sixteen partial sums: one of the orders in which a cube unit may add.
float dot(const float* a, const float* b, int64_t k) {
  float lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= k; i += kLanes)
    for (int l = 0; l < kLanes; ++l) lanes[l] += a[i + l] * b[i + l];
  float sum = 0;
  for (const float lane : lanes) sum += lane;
  for (; i < k; ++i) sum += a[i] * b[i];
  return sum;
}

}  // namespace

Floats multiply_rows(const Floats& a, const Floats& b, int64_t m, int64_t n, int64_t k) {
  Floats c(static_cast<size_t>(m * n));
  for (int64_t j = 0; j < n; ++j)
    for (int64_t i = 0; i < m; ++i)
      c[static_cast<size_t>(i * n + j)] = dot(a.data() + i * k, b.data() + j * k, k);
  return c;
}

std::vector<int32_t> multiply_rows(const std::vector<int8_t>& a, const std::vector<int8_t>& b, int64_t m,
                                   int64_t n, int64_t k) {
  std::vector<int32_t> c(static_cast<size_t>(m * n));
  for (int64_t j = 0; j < n; ++j)
    for (int64_t i = 0; i < m; ++i) {
      const int8_t* x = a.data() + i * k;
      const int8_t* y = b.data() + j * k;
      int32_t sum = 0;
      for (int64_t l = 0; l < k; ++l) sum += x[l] * y[l];
      c[static_cast<size_t>(i * n + j)] = sum;
    }
  return c;
}

Dims nz_storage(int64_t rows, int64_t columns, aclDataType dtype) {
  const int64_t c0 = 32 / static_cast<int64_t>(element_size(dtype));
  return {(columns + c0 - 1) / c0, (rows + 15) / 16, 16, c0};
}

void expect_nz(const aclTensor* weight, const char* name) {
  require(weight->format == ACL_FORMAT_FRACTAL_NZ, kParamBad, name, " is in format ",
          static_cast<int>(weight->format), ", expected FRACTAL_NZ (29)");
  expect_rank(weight, name, 2, 2);
  const bool transposed = weight->strides[0] == 1 && weight->strides[1] != 1;
  const Dims expected = transposed ? nz_storage(weight->dims[1], weight->dims[0], weight->dtype)
                                   : nz_storage(weight->dims[0], weight->dims[1], weight->dtype);
  require(weight->storage == expected, kParamBad, name, ": NZ storage dims ", shape_text(weight->storage),
          ", expected ", shape_text(expected));
}

}  // namespace emu
