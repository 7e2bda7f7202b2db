#include "tensor/quantize_row.h"

#include <cfloat>
#include <cmath>

#include "check.h"

namespace agentinfer {
namespace {

TEST("every level is the nearest one, the largest becomes 127, and ties go to even") {
  std::mt19937 random(23);
  std::normal_distribution<float> normal(0, 1);
  for (int round = 0; round < 400; ++round) {
    std::vector<float> row(1 + random() % 300);
    const float magnitude = std::ldexp(1.0f, static_cast<int>(random() % 200) - 100);
    for (float& value : row) value = normal(random) * magnitude;
    std::vector<int8_t> out(row.size());
    const float scale = quantize_row(row, out);
    double largest = 0;
    for (const float value : row) largest = std::max(largest, std::fabs(static_cast<double>(value)));
    CHECK_NEAR(scale / (largest / 127), 1.0, 1e-6);
    int highest = 0;
    for (size_t i = 0; i < row.size(); ++i) {
      CHECK(std::fabs(row[i] - static_cast<double>(out[i]) * scale) <= 0.5001 * scale);
      CHECK_EQ(static_cast<int>(out[i]), static_cast<int>(std::nearbyint(row[i] * (1.0f / scale))));
      highest = std::max(highest, std::abs(static_cast<int>(out[i])));
    }
    CHECK_EQ(highest, 127);
  }
  const float exact[] = {127, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -127};
  int8_t out[7];
  CHECK_EQ(quantize_row(exact, out), 1.0f);
  const int expected[] = {127, 0, 2, 2, 0, -2, -127};
  for (int i = 0; i < 7; ++i) CHECK_EQ(static_cast<int>(out[i]), expected[i]);
}

TEST("the edges of float: zero, subnormal, huge and not finite rows") {
  int8_t out[2] = {1, 1};
  const auto scale = [&](float a, float b) {
    const float row[] = {a, b};
    return quantize_row(row, out);
  };
  CHECK_EQ(scale(0.0f, -0.0f), 0.0f);
  CHECK(out[0] == 0 && out[1] == 0);
  CHECK_EQ(scale(FLT_MIN, 1e-45f), 0.0f);
  CHECK(out[0] == 0 && out[1] == 0);
  CHECK(scale(FLT_MAX, -FLT_MAX) > 0);
  CHECK(out[0] == 127 && out[1] == -127);
  CHECK(scale(1.5e-36f, -1.5e-36f) > 0);
  CHECK(out[0] == 127 && out[1] == -127);
  for (const float bad : {NAN, -NAN, INFINITY, -INFINITY}) {
    CHECK(std::isnan(scale(1, bad)));
    CHECK(std::isnan(scale(bad, 0)));
  }
  CHECK_EQ(quantize_row({}, {}), 0.0f);
}

TEST("stored floats of each type read exactly, from any element") {
  const uint16_t bf16[] = {0x3f80, 0xc020, 0x0001}, f16[] = {0x3c00, 0xc100, 0x0001};
  const float f32[] = {1, -2.5f, 3};
  const auto read = [](DType dtype, const void* data, int64_t begin) {
    const TensorView view{"t", dtype, {3}, {static_cast<const std::byte*>(data), 3 * dtype_size(dtype)}};
    std::vector<float> out(static_cast<size_t>(3 - begin));
    read_floats(view, begin, out);
    return out;
  };
  CHECK(read(DType::kF32, f32, 1) == (std::vector<float>{-2.5f, 3}));
  CHECK(read(DType::kBF16, bf16, 0) == (std::vector<float>{1, -2.5f, 0x1p-133f}));
  CHECK(read(DType::kF16, f16, 1) == (std::vector<float>{-2.5f, 0x1p-24f}));
  CHECK_THROWS(read(DType::kI8, f32, 0), ErrorCode::kInternal, "is I8");
}

}  // namespace
}  // namespace agentinfer

CHECK_MAIN
