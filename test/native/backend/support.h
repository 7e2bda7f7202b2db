#pragma once
// What the backend's tests share: seeded values, stored tensors made from them, activations in and out.

#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "backend/cpu/cpu_backend.h"
#include "check.h"

namespace agentinfer::testing {

struct Random {
  std::mt19937 engine;
  explicit Random(uint32_t seed) : engine(seed) {}
  int between(int low, int high) { return std::uniform_int_distribution<int>(low, high)(engine); }
  float normal(float deviation = 1) { return std::normal_distribution<float>(0, deviation)(engine); }
  std::vector<float> normals(size_t count, float deviation = 1) {
    std::vector<float> values(count);
    for (float& value : values) value = normal(deviation);
    return values;
  }
};

// A stored tensor that owns its bytes.
struct Stored {
  std::vector<std::byte> bytes;
  TensorView view;

  Stored(std::string name, DType dtype, std::vector<int64_t> shape, const std::vector<float>& values) {
    bytes.resize(values.size() * dtype_size(dtype));
    for (size_t i = 0; i < values.size(); ++i) put(i, dtype, values[i]);
    view = {std::move(name), dtype, std::move(shape), bytes};
  }
  Stored(const Stored&) = delete;

  void put(size_t i, DType dtype, float value) {
    const auto write = [&](auto stored) {
      std::memcpy(bytes.data() + i * sizeof(stored), &stored, sizeof(stored));
    };
    switch (dtype) {
      case DType::kF32:
        write(value);
        break;
      case DType::kF16:
        write(f16_from_f32(value));
        break;
      case DType::kBF16:
        write(bf16_from_f32(value));
        break;
      case DType::kI8:
        write(static_cast<int8_t>(value));
        break;
      default:
        check::report(__FILE__, __LINE__, "no such stored dtype here");
    }
  }
  Slice all() const { return {&view, 0, view.shape[0], 0, view.shape.size() > 1 ? view.shape[1] : 0}; }
};

inline float bf16_rounded(float value) {
  return f32_from_bf16(bf16_from_f32(value));
}

using Matrix = std::vector<std::vector<float>>;  // [rows][cols]

inline Matrix random_matrix(Random& random, int rows, int64_t cols, float deviation = 1) {
  Matrix made(static_cast<size_t>(rows));
  for (auto& row : made) row = random.normals(static_cast<size_t>(cols), deviation);
  return made;
}

inline void fill(Backend& backend, Activation& x, const Matrix& values) {
  int64_t stride = 0;
  auto* to = static_cast<float*>(backend.raw(x, &stride));
  for (size_t r = 0; r < values.size(); ++r)
    std::memcpy(to + static_cast<int64_t>(r) * stride, values[r].data(), values[r].size() * sizeof(float));
}

inline Matrix contents(Backend& backend, Activation& x, int rows) {
  Matrix values;
  for (int r = 0; r < rows; ++r) {
    const auto row = backend.logits(x, r);
    values.emplace_back(row.begin(), row.end());
  }
  return values;
}

inline std::unique_ptr<Activation> made_from(Backend& backend, const Matrix& values,
                                             Feeds feeds = Feeds::kOther) {
  auto x = backend.make_activation(static_cast<int64_t>(values.size()),
                                   static_cast<int64_t>(values[0].size()), feeds);
  fill(backend, *x, values);
  return x;
}

inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// Runs the body for every instruction set of this machine.
inline void on_every_isa(const std::function<void(const std::string& isa)>& body) {
  for (const std::string& isa : available_isas()) {
    const int before = check::failures();
    body(isa);
    if (check::failures() != before) std::fprintf(stderr, "  ... on %s\n", isa.c_str());
  }
}

}  // namespace agentinfer::testing
