// Matrix products on every instruction set: against a plain double precision product, the same bits in every
// batch and on every number of threads, and int8 the same on every instruction set.

#include <algorithm>

#include "support.h"
#include "tensor/quantize_row.h"

using namespace agentinfer;
using namespace agentinfer::testing;

namespace {

struct Layer {
  int64_t n, k;
  std::vector<float> w, bias;
  Stored stored_w, stored_bias;

  Layer(Random& random, int64_t rows, int64_t cols, DType dtype = DType::kBF16)
      : n(rows),
        k(cols),
        w(random.normals(static_cast<size_t>(n * k), 0.05f)),
        bias(random.normals(static_cast<size_t>(n))),
        stored_w("w", dtype, {n, k}, w),
        stored_bias("b", DType::kF32, {n}, bias) {}
  LinearSource source(WeightFormat format) const {
    return {{stored_w.all()}, {stored_bias.all()}, format, "layer"};
  }
};

Matrix product(Backend& backend, const Linear& linear, const Matrix& x) {
  auto from = made_from(backend, x, Feeds::kLinear);
  auto to = backend.make_activation(static_cast<int64_t>(x.size()), linear.out_features, Feeds::kOther);
  backend.linear(*from, linear, static_cast<int>(x.size()), *to);
  return contents(backend, *to, static_cast<int>(x.size()));
}

// y = x w + bias in double, with the sum of magnitudes that bounds the rounding.
void check_product(const Matrix& got, const Matrix& x, const std::vector<float>& w,
                   const std::vector<float>& bias, int64_t k, double unit) {
  for (size_t r = 0; r < x.size(); ++r)
    for (size_t c = 0; c < bias.size(); ++c) {
      double sum = bias[c], size = std::fabs(bias[c]);
      for (int64_t i = 0; i < k; ++i) {
        const double term = static_cast<double>(x[r][static_cast<size_t>(i)]) *
                            w[c * static_cast<size_t>(k) + static_cast<size_t>(i)];
        sum += term;
        size += std::fabs(term);
      }
      CHECK_NEAR(got[r][c], sum, size * unit);
    }
}

struct Shape {
  int64_t n, k;
};
const std::vector<Shape> kShapes{{1, 1},     {16, 16}, {64, 64}, {65, 33},  {63, 257},
                                 {200, 130}, {7, 600}, {321, 5}, {128, 512}};

int32_t quantised(float x, float highest) {
  return static_cast<int32_t>(std::nearbyintf(x * (127.0f / highest)));
}

// The contract of int8 products, spelt out: exact integer sums, then one rounding for each operation.
float int8_reference(const std::vector<float>& x, const int8_t* w, float w_scale, float bias) {
  float highest = 0;
  for (const float value : x) highest = std::max(highest, std::fabs(value));
  int64_t sum = 0;
  for (size_t i = 0; i < x.size(); ++i) sum += int64_t{highest == 0 ? 0 : quantised(x[i], highest)} * w[i];
  const float scale = highest / 127.0f * w_scale;
  const float scaled = static_cast<float>(sum) * scale;
  return scaled + bias;
}

}  // namespace

TEST("bf16 products agree with double precision for every shape and dtype") {
  on_every_isa([](const std::string& isa) {
    Random random(1);
    const auto backend = make_cpu_backend({2, isa});
    for (const Shape& shape : kShapes)
      for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
        const Layer layer(random, shape.n, shape.k, dtype);
        const auto linear = backend->make_linear(layer.source(WeightFormat::kBF16));
        CHECK_EQ(linear->in_features, shape.k);
        CHECK_EQ(linear->out_features, shape.n);
        CHECK(linear->bytes >= static_cast<size_t>(2 * shape.n * shape.k));
        std::vector<float> rounded(layer.w.size());
        std::transform(layer.w.begin(), layer.w.end(), rounded.begin(), [&](float value) {
          return bf16_rounded(dtype == DType::kF16 ? f32_from_f16(f16_from_f32(value)) : value);
        });
        const Matrix x = random_matrix(random, random.between(1, 20), shape.k);
        check_product(product(*backend, *linear, x), x, rounded, layer.bias, shape.k, 1e-5);
      }
  });
}

TEST("int8 products have exactly the bits of the contract, on every instruction set") {
  on_every_isa([](const std::string& isa) {
    Random random(2);
    const auto backend = make_cpu_backend({2, isa});
    for (const Shape& shape : kShapes) {
      const Layer layer(random, shape.n, shape.k);
      const auto linear = backend->make_linear(layer.source(WeightFormat::kW8A8));
      Matrix x = random_matrix(random, random.between(1, 20), shape.k);
      if (x.size() > 2) x[1].assign(x[1].size(), 0.0f);
      const Matrix got = product(*backend, *linear, x);
      const auto k = static_cast<size_t>(shape.k);
      for (size_t c = 0; c < static_cast<size_t>(shape.n); ++c) {
        std::vector<float> row(k);
        std::vector<int8_t> q(k);
        for (size_t i = 0; i < k; ++i) row[i] = bf16_rounded(layer.w[c * k + i]);
        const float scale = quantize_row(row, q);
        for (size_t r = 0; r < x.size(); ++r) {
          const float expected = int8_reference(x[r], q.data(), scale, layer.bias[c]);
          if (std::bit_cast<uint32_t>(got[r][c]) != std::bit_cast<uint32_t>(expected))
            CHECK_EQ(got[r][c], expected);
        }
      }
    }
  });
}

TEST("a row's product has the same bits alone, in any batch and on any number of threads") {
  on_every_isa([](const std::string& isa) {
    for (const WeightFormat format : {WeightFormat::kBF16, WeightFormat::kW8A8}) {
      Random random(3);
      for (int round = 0; round < 3; ++round) {
        const Layer layer(random, random.between(1, 300), random.between(1, 600));
        const Matrix x = random_matrix(random, 70, layer.k);
        Matrix expected;
        for (const int threads : {1, 2, 3, 4}) {
          const auto backend = make_cpu_backend({threads, isa});
          const auto linear = backend->make_linear(layer.source(format));
          if (threads == 1) {
            for (const auto& row : x) expected.push_back(product(*backend, *linear, {row})[0]);
          }
          for (size_t begin = 0; begin < x.size();) {
            const size_t count =
                std::min<size_t>(x.size() - begin, static_cast<size_t>(random.between(1, 70)));
            const Matrix part(x.begin() + static_cast<int64_t>(begin),
                              x.begin() + static_cast<int64_t>(begin + count));
            const Matrix got = product(*backend, *linear, part);
            for (size_t r = 0; r < count; ++r) CHECK(same_bits(got[r], expected[begin + r]));
            begin += count;
          }
        }
      }
    }
  });
}

TEST("however weights are fetched, the bits are the same") {
  on_every_isa([](const std::string& isa) {
    Random random(21);
    const Layer layer(random, 131, 700);
    const Matrix x = random_matrix(random, 60, layer.k);
    for (const WeightFormat format : {WeightFormat::kBF16, WeightFormat::kW8A8})
      for (const size_t rows : {1, 2, 5, 8, 14, 15, 60}) {
        const Matrix part(x.begin(), x.begin() + static_cast<int64_t>(rows));
        Matrix expected;
        for (const Fetch fetch : {Fetch::kNone, Fetch::kFirst, Fetch::kSecond}) {
          const auto backend = make_cpu_backend({2, isa, {.few = fetch, .many = fetch}});
          const Matrix got = product(*backend, *backend->make_linear(layer.source(format)), part);
          if (expected.empty()) expected = got;
          for (size_t r = 0; r < rows; ++r) CHECK(same_bits(got[r], expected[r]));
        }
      }
  });
}

TEST("large row counts take the same sums as small ones") {
  on_every_isa([](const std::string& isa) {
    Random random(4);
    const Layer layer(random, 192, 600);
    const auto backend = make_cpu_backend({2, isa});
    for (const WeightFormat format : {WeightFormat::kBF16, WeightFormat::kW8A8}) {
      const auto linear = backend->make_linear(layer.source(format));
      const Matrix x = random_matrix(random, 300, layer.k);
      const Matrix all = product(*backend, *linear, x);
      for (const size_t row : {size_t{0}, size_t{13}, size_t{150}, size_t{299}})
        CHECK(same_bits(product(*backend, *linear, {x[row]})[0], all[row]));
    }
  });
}

TEST("parts of several tensors, with and without bias, and rectangles of them") {
  on_every_isa([](const std::string& isa) {
    Random random(5);
    const auto backend = make_cpu_backend({2, isa});
    const Layer a(random, 90, 120), b(random, 50, 120);
    for (const WeightFormat format : {WeightFormat::kBF16, WeightFormat::kW8A8}) {
      const int64_t k0 = 37, k1 = 101;
      const LinearSource source{{{&a.stored_w.view, 10, 80, k0, k1}, {&b.stored_w.view, 3, 50, k0, k1}},
                                {Slice{}, {&b.stored_bias.view, 3, 50}},
                                format,
                                "ab"};
      const auto linear = backend->make_linear(source);
      const Matrix x = random_matrix(random, 3, k1 - k0);
      const Matrix got = product(*backend, *linear, x);
      for (size_t r = 0; r < x.size(); ++r)
        for (int64_t c = 0; c < 117; ++c) {
          const Layer& from = c < 70 ? a : b;
          const int64_t row = c < 70 ? 10 + c : 3 + c - 70;
          double sum = c < 70 ? 0 : b.bias[static_cast<size_t>(row)];
          for (int64_t i = k0; i < k1; ++i)
            sum += static_cast<double>(x[r][static_cast<size_t>(i - k0)]) *
                   bf16_rounded(from.w[static_cast<size_t>(row * 120 + i)]);
          CHECK_NEAR(got[r][static_cast<size_t>(c)], sum, format == WeightFormat::kBF16 ? 1e-4 : 0.03);
        }
    }
  });
}

TEST("an int8 scale covers the whole source row, so column cuts add up to the uncut product") {
  on_every_isa([](const std::string& isa) {
    Random random(6);
    const auto backend = make_cpu_backend({1, isa});
    Layer layer(random, 20, 64);
    for (int64_t row = 0; row < 20; ++row)
      layer.stored_w.put(static_cast<size_t>(row * 64 + 63), DType::kBF16, 3.0f);
    const LinearSource left{{{&layer.stored_w.view, 0, 20, 0, 32}}, {}, WeightFormat::kW8A8, "left"};
    const auto linear = backend->make_linear(left);
    Matrix x(1, std::vector<float>(32, 0.0f));
    x[0][5] = 127.0f;  // quantises to 127 exactly
    const Matrix got = product(*backend, *linear, x);
    for (size_t row = 0; row < 20; ++row) {
      const float scale = 3.0f / 127.0f;
      const float q = std::nearbyintf(bf16_rounded(layer.w[row * 64 + 5]) * (1.0f / scale));
      CHECK_NEAR(got[0][row], q * scale * 127.0f, 1e-4);
    }
  });
}

TEST("stored int8 weights with a scale for each row, -128 included") {
  on_every_isa([](const std::string& isa) {
    Random random(7);
    const auto backend = make_cpu_backend({2, isa});
    const int64_t n = 70, k = 90;
    std::vector<float> w(static_cast<size_t>(n * k));
    for (float& value : w) value = static_cast<float>(random.between(-128, 127));
    w[0] = -128;
    const std::vector<float> scales = random.normals(static_cast<size_t>(n), 0.01f);
    const Stored stored("w", DType::kI8, {n, k}, w), scale("s", DType::kF32, {n, 1}, scales);
    Slice slice = stored.all();
    slice.row_scale = &scale.view;
    const auto linear = backend->make_linear({{slice}, {}, WeightFormat::kW8A8, "stored"});
    Matrix x = random_matrix(random, 9, k);
    x[3].assign(static_cast<size_t>(k), -1.0f);  // all products of one sign: the largest sums
    const Matrix got = product(*backend, *linear, x);
    for (size_t r = 0; r < x.size(); ++r)
      for (size_t c = 0; c < static_cast<size_t>(n); ++c) {
        std::vector<int8_t> row(static_cast<size_t>(k));
        for (size_t i = 0; i < row.size(); ++i) row[i] = static_cast<int8_t>(w[c * row.size() + i]);
        CHECK_EQ(got[r][c], int8_reference(x[r], row.data(), scales[c], 0.0f));
      }
  });
}

TEST("the extreme of every value: all 127 against all -128 over a long row") {
  on_every_isa([](const std::string& isa) {
    const auto backend = make_cpu_backend({1, isa});
    const int64_t k = 5120;
    const Stored stored("w", DType::kI8, {64, k}, std::vector<float>(static_cast<size_t>(64 * k), -128.0f));
    const Stored scale("s", DType::kF32, {64}, std::vector<float>(64, 1.0f));
    Slice slice = stored.all();
    slice.row_scale = &scale.view;
    const auto linear = backend->make_linear({{slice}, {}, WeightFormat::kW8A8, "extreme"});
    for (const float sign : {1.0f, -1.0f}) {
      const Matrix got =
          product(*backend, *linear, Matrix(8, std::vector<float>(static_cast<size_t>(k), sign * 127.0f)));
      for (const auto& row : got)
        for (const float value : row) CHECK_EQ(value, -128.0f * 127.0f * static_cast<float>(k) * sign);
    }
  });
}

TEST("infinities, NaN, huge and denormal inputs stay in their row") {
  on_every_isa([](const std::string& isa) {
    Random random(8);
    const Layer layer(random, 80, 100);
    const auto backend = make_cpu_backend({2, isa});
    const float infinity = std::numeric_limits<float>::infinity();
    for (const WeightFormat format : {WeightFormat::kBF16, WeightFormat::kW8A8}) {
      const auto linear = backend->make_linear(layer.source(format));
      Matrix x = random_matrix(random, 20, layer.k);
      const std::vector<float> clean = product(*backend, *linear, {x[6]})[0];
      x[0][3] = infinity;
      x[1][4] = -infinity;
      x[2][5] = std::nanf("");
      x[3].assign(x[3].size(), std::numeric_limits<float>::max());
      x[4].assign(x[4].size(), std::numeric_limits<float>::denorm_min());
      const Matrix got = product(*backend, *linear, x);
      for (const size_t bad : {size_t{0}, size_t{1}, size_t{2}})
        for (const float value : got[bad]) CHECK(!std::isfinite(value));
      for (size_t c = 0; c < got[4].size(); ++c) CHECK_EQ(got[4][c], layer.bias[c]);
      CHECK(same_bits(got[6], clean));
    }
  });
}

TEST("weights that cannot be quantised are named; bf16 keeps them as they are") {
  Random random(9);
  const auto backend = make_cpu_backend({2, ""});
  Layer layer(random, 40, 30);
  layer.stored_w.put(static_cast<size_t>(33 * 30 + 7), DType::kBF16, std::nanf(""));
  layer.stored_w.view.name = "model.layers.3.mlp.down_proj.weight";
  CHECK_THROWS(backend->make_linear(layer.source(WeightFormat::kW8A8)), ErrorCode::kModelInvalid,
               "down_proj.weight");
  CHECK_THROWS(backend->make_linear(layer.source(WeightFormat::kW8A8)), ErrorCode::kModelInvalid, "row 33");
  const auto linear = backend->make_linear(layer.source(WeightFormat::kBF16));
  const Matrix got = product(*backend, *linear, Matrix(1, std::vector<float>(30, 1.0f)));
  CHECK(std::isnan(got[0][33]));
  CHECK(std::isfinite(got[0][32]));
}

TEST("a written activation is quantised again") {
  Random random(10);
  const Layer layer(random, 30, 40);
  const auto backend = make_cpu_backend({1, ""});
  const auto linear = backend->make_linear(layer.source(WeightFormat::kW8A8));
  const Matrix first = random_matrix(random, 2, 40), second = random_matrix(random, 2, 40);
  auto x = made_from(*backend, first, Feeds::kLinear);
  auto y = backend->make_activation(2, 30, Feeds::kOther);
  backend->linear(*x, *linear, 1, *y);
  backend->linear(*x, *linear, 2, *y);  // more rows than were quantised
  CHECK(same_bits(contents(*backend, *y, 2)[1], product(*backend, *linear, {first[1]})[0]));
  fill(*backend, *x, second);
  backend->linear(*x, *linear, 2, *y);
  CHECK(same_bits(contents(*backend, *y, 2)[0], product(*backend, *linear, {second[0]})[0]));
}

TEST("a gated product has the bits of a plain one behind which gate and up are joined") {
  on_every_isa([](const std::string& isa) {
    Random random(20);
    for (const Shape& shape : {Shape{1, 1}, {32, 16}, {33, 70}, {64, 300}, {300, 257}, {544, 64}})
      for (const WeightFormat format : {WeightFormat::kBF16, WeightFormat::kW8A8}) {
        const Layer gate(random, shape.n, shape.k), up(random, shape.n, shape.k);
        LinearSource source{.parts = {gate.stored_w.all(), up.stored_w.all()},
                            .bias = {gate.stored_bias.all(), Slice{}},
                            .format = format,
                            .name = "gate and up"};
        const auto backend = make_cpu_backend({random.between(1, 4), isa});
        constexpr int kMostRows = 600;
        backend->prepare({kMostRows, 1, 1, 64}, {1, 1, 16, 1}, RopeTable{std::vector<float>(8, 1.0f)});
        const auto plain = backend->make_linear(source);
        source.gated = true;
        const auto gated = backend->make_linear(source);
        CHECK_EQ(gated->out_features, 2 * shape.n);
        for (const int rows :
             {1, random.between(2, 14), random.between(15, 41), random.between(42, 80), kMostRows}) {
          if (rows == kMostRows && shape.n > 64) continue;  // time
          const Matrix x = random_matrix(random, rows, shape.k);
          auto from = made_from(*backend, x, Feeds::kLinear);
          auto work = backend->make_activation(rows, 2 * shape.n, Feeds::kOther);
          auto expected = backend->make_activation(rows, shape.n, Feeds::kLinear),
               got = backend->make_activation(rows, shape.n, Feeds::kLinear);
          backend->linear(*from, *plain, rows, *work);
          backend->swiglu(*work, rows, *expected);
          backend->gated_linear(*from, *gated, rows, *work, *got);
          const Matrix a = contents(*backend, *expected, rows), b = contents(*backend, *got, rows);
          CHECK(std::equal(a.begin(), a.end(), b.begin(), same_bits));
        }
      }
  });
}

TEST("shapes that do not fit, unknown instruction sets and thread counts are refused by value") {
  Random random(11);
  const Layer layer(random, 30, 40);
  const auto backend = make_cpu_backend({1, ""});
  const auto linear = backend->make_linear(layer.source(WeightFormat::kBF16));
  auto x = backend->make_activation(1, 41, Feeds::kLinear);
  auto y = backend->make_activation(1, 30, Feeds::kOther);
  CHECK_THROWS(backend->linear(*x, *linear, 1, *y), ErrorCode::kInternal, "41");
  CHECK_THROWS(make_cpu_backend({1, "sse9"}), ErrorCode::kInvalidArgument, "portable");
  CHECK_THROWS(make_cpu_backend({257, ""}), ErrorCode::kInvalidArgument, "257");
  CHECK_THROWS(make_cpu_backend({-1, ""}), ErrorCode::kInvalidArgument, "-1");
  CHECK_EQ(available_isas().back(), "portable");
  CHECK_EQ(make_cpu_backend({3, "portable"})->threads(), 3);
  CHECK_EQ(make_cpu_backend({1, "portable"})->isa(), "portable");
}

CHECK_MAIN
