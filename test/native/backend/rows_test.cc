// Row-wise operations on every instruction set: against double precision, and the same bits in any batch.

#include <algorithm>

#include "support.h"

using namespace agentinfer;
using namespace agentinfer::testing;

namespace {

const std::vector<int64_t> kWidths{1, 2, 7, 16, 31, 64, 100, 257, 1024, 4099};
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// A backend ready for steps of `rows` rows without attention, with the step begun for `tokens`.
struct Step {
  std::unique_ptr<CpuBackend> backend;
  std::unique_ptr<KvCache> cache;
  std::vector<int32_t> tokens, positions, slots, logit_rows, table{0};
  std::vector<StepSequence> sequences;

  Step(const std::string& isa, int threads, std::vector<int32_t> step_tokens,
       std::vector<int32_t> wanted = {})
      : backend(make_cpu_backend({threads, isa})),
        tokens(std::move(step_tokens)),
        logit_rows(std::move(wanted)) {
    const int rows = static_cast<int>(tokens.size());
    backend->prepare({rows, 1, rows, 256}, {1, 1, 16, 1.0f}, RopeTable{std::vector<float>(8, 0.1f)});
    cache = backend->make_kv_cache({1, 1, 16, 256, DType::kF32}, 1, 0);
    for (int i = 0; i < rows; ++i) positions.push_back(i);
    slots = positions;
    sequences = {{0, rows, rows, table}};
    backend->begin_step({tokens, positions, slots, sequences, logit_rows}, *cache);
  }
};

std::vector<double> norm_reference(const std::vector<float>& x, const std::vector<float>& weight,
                                   double eps) {
  double sum = 0;
  for (const float value : x) sum += static_cast<double>(value) * value;
  std::vector<double> out;
  for (size_t i = 0; i < x.size(); ++i)
    out.push_back(x[i] / std::sqrt(sum / static_cast<double>(x.size()) + eps) * weight[i]);
  return out;
}

}  // namespace

TEST("rms_norm and add_rms_norm agree with double precision") {
  on_every_isa([](const std::string& isa) {
    Random random(1);
    const auto backend = make_cpu_backend({2, isa});
    for (const int64_t width : kWidths) {
      const int rows = random.between(1, 40);
      const Stored stored("norm", DType::kF32, {width}, random.normals(static_cast<size_t>(width)));
      const auto weight = backend->make_vector(stored.all());
      CHECK_EQ(weight->size, width);
      std::vector<float> w(static_cast<size_t>(width));
      std::memcpy(w.data(), stored.bytes.data(), stored.bytes.size());
      const Matrix x = random_matrix(random, rows, width), r = random_matrix(random, rows, width);
      auto from = made_from(*backend, x), residual = made_from(*backend, r);
      auto out = backend->make_activation(rows, width, Feeds::kLinear),
           sum = backend->make_activation(rows, width, Feeds::kLinear);
      backend->rms_norm(*from, *weight, 1e-5f, rows, *out);
      backend->add_rms_norm(*residual, *from, *weight, 1e-5f, rows, *sum);
      const Matrix got = contents(*backend, *out, rows), after = contents(*backend, *sum, rows),
                   added = contents(*backend, *residual, rows);
      for (size_t row = 0; row < x.size(); ++row) {
        std::vector<float> total(x[row].size());
        for (size_t i = 0; i < total.size(); ++i) total[i] = r[row][i] + x[row][i];
        CHECK(same_bits(added[row], total));
        const auto a = norm_reference(x[row], w, 1e-5), b = norm_reference(total, w, 1e-5);
        for (size_t i = 0; i < a.size(); ++i) {
          CHECK_NEAR(got[row][i], a[i], 2e-6 * (1 + std::fabs(a[i])));
          CHECK_NEAR(after[row][i], b[i], 2e-6 * (1 + std::fabs(b[i])));
        }
      }
    }
  });
}

TEST("add and swiglu agree with double precision, far tails included") {
  on_every_isa([](const std::string& isa) {
    Random random(2);
    const auto backend = make_cpu_backend({2, isa});
    for (const int64_t width : kWidths) {
      const int rows = random.between(1, 20);
      Matrix both = random_matrix(random, rows, 2 * width, 5);
      if (width >= 7) {
        const float tails[] = {0.0f, 30.0f, -30.0f, 87.0f, -87.0f, 200.0f, -200.0f};
        std::copy(std::begin(tails), std::end(tails), both[0].begin());
      }
      auto gate_up = made_from(*backend, both);
      auto out = backend->make_activation(rows, width, Feeds::kLinear);
      backend->swiglu(*gate_up, rows, *out);
      const Matrix got = contents(*backend, *out, rows);
      for (size_t row = 0; row < both.size(); ++row)
        for (size_t i = 0; i < static_cast<size_t>(width); ++i) {
          const double gate = both[row][i], up = both[row][i + static_cast<size_t>(width)];
          const double expected = gate / (1 + std::exp(-gate)) * up;
          CHECK_NEAR(got[row][i], expected, 1e-6 * std::fabs(expected) + 1e-35);
        }
    }
  });
}

TEST("row-wise results do not depend on the batch or the threads") {
  on_every_isa([](const std::string& isa) {
    Random random(3);
    const int64_t width = 515;
    const Stored stored("norm", DType::kBF16, {width}, random.normals(static_cast<size_t>(width)));
    const Matrix x = random_matrix(random, 64, width), both = random_matrix(random, 64, 2 * width);
    Matrix norms, gated;
    for (const int threads : {1, 3}) {
      const auto backend = make_cpu_backend({threads, isa});
      const auto weight = backend->make_vector(stored.all());
      const auto run = [&](size_t begin, size_t count) {
        const auto part = [&](const Matrix& m) {
          return made_from(*backend, Matrix(m.begin() + static_cast<int64_t>(begin),
                                            m.begin() + static_cast<int64_t>(begin + count)));
        };
        const int rows = static_cast<int>(count);
        auto a = part(x), b = part(both);
        auto out = backend->make_activation(rows, width, Feeds::kLinear);
        backend->rms_norm(*a, *weight, 1e-6f, rows, *out);
        const Matrix n = contents(*backend, *out, rows);
        backend->swiglu(*b, rows, *out);
        return std::pair(n, contents(*backend, *out, rows));
      };
      if (threads == 1) {
        for (size_t row = 0; row < x.size(); ++row) {
          const auto [n, g] = run(row, 1);
          norms.push_back(n[0]);
          gated.push_back(g[0]);
        }
      }
      for (size_t begin = 0; begin < x.size();) {
        const size_t count = std::min<size_t>(x.size() - begin, static_cast<size_t>(random.between(1, 30)));
        const auto [n, g] = run(begin, count);
        for (size_t r = 0; r < count; ++r) {
          CHECK(same_bits(n[r], norms[begin + r]));
          CHECK(same_bits(g[r], gated[begin + r]));
        }
        begin += count;
      }
    }
  });
}

TEST("embedding rows come from the table, or from the tied head's panels, rounded to bf16") {
  on_every_isa([](const std::string& isa) {
    Random random(4);
    const int64_t rows = 133, cols = 50;
    for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
      const std::vector<float> values = random.normals(static_cast<size_t>(rows * cols));
      const Stored stored("embed", dtype, {rows, cols}, values);
      std::vector<int32_t> tokens;
      for (int i = 0; i < 40; ++i) tokens.push_back(random.between(0, static_cast<int>(rows) - 1));
      Step step(isa, 2, tokens);
      const auto table = step.backend->make_embedding(stored.all());
      const auto head = step.backend->make_linear({{stored.all()}, {}, WeightFormat::kBF16, "head"});
      const auto tied = step.backend->make_tied_embedding(*head, 0, head->out_features);
      auto a = step.backend->make_activation(40, cols, Feeds::kOther),
           b = step.backend->make_activation(40, cols, Feeds::kOther);
      step.backend->embed(*table, *a);
      step.backend->embed(*tied, *b);
      const Matrix got = contents(*step.backend, *a, 40), same = contents(*step.backend, *b, 40);
      for (size_t r = 0; r < 40; ++r)
        for (size_t c = 0; c < static_cast<size_t>(cols); ++c) {
          const float stored_value = values[static_cast<size_t>(tokens[r]) * static_cast<size_t>(cols) + c];
          const float expected =
              bf16_rounded(dtype == DType::kF16 ? f32_from_f16(f16_from_f32(stored_value)) : stored_value);
          CHECK_EQ(got[r][c], expected);
          CHECK_EQ(same[r][c], expected);
        }
    }
  });
}

TEST(
    "a part of a vocabulary gives its own rows and zeros for the others, from a table and from a tied head") {
  Random random(8);
  const int64_t rows = 240, cols = 37, first = 80, part = 80;
  const Stored stored("embed", DType::kBF16, {rows, cols}, random.normals(static_cast<size_t>(rows * cols)));
  const std::vector<int32_t> tokens{0, 79, 80, 159, 160, 239, 100};
  Step step("", 2, tokens);
  Slice slice = stored.all();
  slice.row_begin = first;
  slice.row_end = first + part;
  const auto whole = step.backend->make_embedding(stored.all());
  const auto table = step.backend->make_embedding(slice);
  const auto head = step.backend->make_linear({{slice}, {}, WeightFormat::kBF16, "head"});
  const auto tied = step.backend->make_tied_embedding(*head, first, rows);
  auto out = step.backend->make_activation(7, cols, Feeds::kOther);
  step.backend->embed(*whole, *out);
  Matrix expected = contents(*step.backend, *out, 7);
  for (size_t r = 0; r < tokens.size(); ++r)
    if (tokens[r] < first || tokens[r] >= first + part)
      std::fill(expected[r].begin(), expected[r].end(), 0.0f);
  for (const Embedding* embedding : {table.get(), tied.get()}) {
    step.backend->embed(*embedding, *out);
    const Matrix got = contents(*step.backend, *out, 7);
    for (size_t r = 0; r < tokens.size(); ++r) CHECK(same_bits(got[r], expected[r]));
  }
}

TEST("tokens outside the table are refused") {
  const Stored stored("embed", DType::kF32, {4, 2}, std::vector<float>(8, 1.0f));
  for (const int32_t token : {-1, 4}) {
    Step step("", 1, {0, token});
    const auto table = step.backend->make_embedding(stored.all());
    auto out = step.backend->make_activation(2, 2, Feeds::kOther);
    CHECK_THROWS(step.backend->embed(*table, *out), ErrorCode::kInternal, std::to_string(token).c_str());
  }
}

TEST("gather_rows takes the wanted rows in order") {
  Random random(5);
  Step step("", 2, std::vector<int32_t>(30, 0), {0, 3, 4, 17, 29});
  const Matrix x = random_matrix(random, 30, 77);
  auto from = made_from(*step.backend, x);
  auto to = step.backend->make_activation(3, 77, Feeds::kOther);
  step.backend->gather_rows(*from, 2, 3, *to);
  const Matrix got = contents(*step.backend, *to, 3);
  CHECK(same_bits(got[0], x[4]));
  CHECK(same_bits(got[1], x[17]));
  CHECK(same_bits(got[2], x[29]));
}

TEST("argmax is the first of the largest; NaN never wins; -1 without a finite value") {
  on_every_isa([](const std::string& isa) {
    Random random(6);
    const auto backend = make_cpu_backend({2, isa});
    const float nan = std::nanf("");
    const auto pick = [&](const Matrix& rows) {
      auto x = made_from(*backend, rows);
      std::vector<int32_t> out(rows.size());
      backend->argmax(*x, static_cast<int>(rows.size()), out);
      return out;
    };
    for (const int64_t width : {1, 3, 16, 17, 64, 1000, 40003}) {
      Matrix x = random_matrix(random, 5, width);
      for (auto& row : x) {
        for (int i = 0; i < 3; ++i)
          row[static_cast<size_t>(random.between(0, static_cast<int>(width) - 1))] = 9.0f;  // ties
        if (width > 4) row[static_cast<size_t>(random.between(0, static_cast<int>(width) - 1))] = nan;
      }
      const std::vector<int32_t> got = pick(x);
      for (size_t r = 0; r < x.size(); ++r) {
        int32_t expected = -1;
        for (size_t i = 0; i < x[r].size(); ++i)
          if (std::isfinite(x[r][i]) && (expected < 0 || x[r][i] > x[r][static_cast<size_t>(expected)]))
            expected = static_cast<int32_t>(i);
        CHECK_EQ(got[r], expected);
      }
    }
    CHECK_EQ(pick({std::vector<float>(50, nan)})[0], -1);
    CHECK_EQ(pick({std::vector<float>(50, -kInfinity)})[0], -1);
    CHECK_EQ(pick({std::vector<float>(50, kInfinity)})[0], -1);
    std::vector<float> mixed(50, -kInfinity);
    mixed[33] = -3e38f;
    CHECK_EQ(pick({mixed})[0], 33);
    mixed[20] = nan;
    mixed[7] = kInfinity;
    CHECK_EQ(pick({mixed})[0], 7);  // the largest that is not NaN, once anything finite is there
  });
}

TEST("hostile values neither crash nor leave their row") {
  on_every_isa([](const std::string& isa) {
    Random random(7);
    const auto backend = make_cpu_backend({2, isa});
    const int64_t width = 70;
    const Stored stored("norm", DType::kF32, {width}, std::vector<float>(static_cast<size_t>(width), 1.0f));
    const auto weight = backend->make_vector(stored.all());
    Matrix x = random_matrix(random, 6, 2 * width);
    const float bad[] = {kInfinity, -kInfinity, std::nanf(""), std::numeric_limits<float>::max(),
                         std::numeric_limits<float>::denorm_min()};
    for (size_t r = 0; r < 5; ++r)
      for (size_t i = r; i < x[r].size(); i += 3) x[r][i] = bad[r];
    auto both = made_from(*backend, x), clean = made_from(*backend, {x[5]});
    auto out = backend->make_activation(6, width, Feeds::kLinear),
         alone = backend->make_activation(1, width, Feeds::kLinear);
    backend->swiglu(*both, 6, *out);
    backend->swiglu(*clean, 1, *alone);
    CHECK(same_bits(contents(*backend, *out, 6)[5], contents(*backend, *alone, 1)[0]));
    CHECK(std::isnan(contents(*backend, *out, 6)[2][2]));
    Matrix narrow = x;
    for (auto& row : narrow) row.resize(static_cast<size_t>(width));
    auto from = made_from(*backend, narrow), one = made_from(*backend, {narrow[5]});
    backend->rms_norm(*from, *weight, 1e-6f, 6, *out);
    backend->rms_norm(*one, *weight, 1e-6f, 1, *alone);
    CHECK(same_bits(contents(*backend, *out, 6)[5], contents(*backend, *alone, 1)[0]));
    CHECK(std::isnan(contents(*backend, *out, 6)[2][0]));
  });
}

CHECK_MAIN
