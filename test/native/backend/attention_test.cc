// write_kv and attention on every instruction set: against double precision, the same bits as decode,
// verification or prefill, wherever blocks lie, and KV blocks through copies and the host tier.

#include <algorithm>
#include <numeric>

#include "support.h"

using namespace agentinfer;
using namespace agentinfer::testing;

namespace {

struct Shape {
  int heads, kv_heads, dim, block_size;
  DType dtype = DType::kF16;
  int context = 270;
};

// One layer's attention over a sequence whose rows all exist beforehand; they are computed in whatever steps
// a test asks for.
struct Model {
  Shape shape;
  Matrix rows;  // qkv of every position
  std::vector<float> inv_freq, q_weight, k_weight;

  Model(const Shape& wanted, Random& random) : shape(wanted) {
    rows = random_matrix(random, shape.context, (shape.heads + 2 * shape.kv_heads) * shape.dim);
    for (int i = 0; i < shape.dim / 2; ++i)
      inv_freq.push_back(static_cast<float>(std::pow(10000.0, -2.0 * i / shape.dim)));
  }
  int64_t out_width() const { return int64_t{shape.heads} * shape.dim; }
  float scale() const { return static_cast<float>(1 / std::sqrt(static_cast<double>(shape.dim))); }
};

// A backend with one cache in which the model's sequence lies in the blocks of `table`.
struct Run {
  static constexpr int kSpare = 3;
  const Model& model;
  std::unique_ptr<CpuBackend> backend;
  std::unique_ptr<KvCache> cache;
  std::unique_ptr<Vector> q_norm, k_norm;
  std::vector<int32_t> table;
  int layer = 1;

  Run(const Model& of, const std::string& isa, int threads, Random& random)
      : model(of), backend(make_cpu_backend({threads, isa})) {
    const Shape& s = model.shape;
    backend->prepare({s.context, 2, 1, s.context}, {s.heads, s.kv_heads, s.dim, model.scale()},
                     RopeTable{model.inv_freq});
    const int blocks = (s.context + s.block_size - 1) / s.block_size;
    cache = backend->make_kv_cache({2, s.kv_heads, s.dim, s.block_size, s.dtype}, blocks + kSpare, 2);
    table.resize(static_cast<size_t>(blocks));
    std::iota(table.begin(), table.end(), kSpare);
    std::shuffle(table.begin(), table.end(), random.engine);
  }
  void norms(const Stored& q, const Stored& k) {
    q_norm = backend->make_vector(q.all());
    k_norm = backend->make_vector(k.all());
  }

  // Computes positions [begin, end) in one step and returns their outputs; of `!attend` only the KV is
  // written.
  Matrix step(int begin, int end, bool attend = true) {
    const int count = end - begin;
    std::vector<int32_t> tokens(static_cast<size_t>(count), 0), positions(static_cast<size_t>(count)), slots;
    std::iota(positions.begin(), positions.end(), begin);
    for (const int32_t position : positions)
      slots.push_back(table[static_cast<size_t>(position / model.shape.block_size)] * model.shape.block_size +
                      position % model.shape.block_size);
    const std::vector<StepSequence> sequences{{0, count, end, table}};
    auto qkv = made_from(*backend, Matrix(model.rows.begin() + begin, model.rows.begin() + end));
    auto out = backend->make_activation(count, model.out_width(), Feeds::kLinear);
    backend->begin_step({tokens, positions, slots, sequences, {}}, *cache);
    backend->write_kv(layer, *qkv, q_norm.get(), k_norm.get(), 1e-6f);
    if (!attend) return {};
    backend->attention(layer, *qkv, *out);
    return contents(*backend, *out, count);
  }
  Matrix chunks(int chunk) {
    Matrix all;
    for (int begin = 0; begin < model.shape.context; begin += chunk)
      for (auto& row : step(begin, std::min(begin + chunk, model.shape.context)))
        all.push_back(std::move(row));
    return all;
  }
};

double stored_value(double value, DType dtype) {
  const auto x = static_cast<float>(value);
  if (dtype == DType::kF16) return f32_from_f16(f16_from_f32(std::clamp(x, -65504.0f, 65504.0f)));
  return dtype == DType::kBF16 ? bf16_rounded(x) : x;
}

// One head of one row after norm and rotation.
std::vector<double> head_at(const Model& m, int position, int head, const std::vector<float>* weight) {
  const auto dim = static_cast<size_t>(m.shape.dim);
  const float* x = m.rows[static_cast<size_t>(position)].data() + static_cast<size_t>(head) * dim;
  std::vector<double> v(x, x + dim);
  if (weight != nullptr) {
    double sum = 0;
    for (const double value : v) sum += value * value;
    for (size_t i = 0; i < dim; ++i)
      v[i] = v[i] / std::sqrt(sum / static_cast<double>(dim) + 1e-6) * (*weight)[i];
  }
  for (size_t i = 0; i < dim / 2; ++i) {
    const double angle = static_cast<double>(position) * m.inv_freq[i], low = v[i], high = v[i + dim / 2];
    v[i] = low * std::cos(angle) - high * std::sin(angle);
    v[i + dim / 2] = high * std::cos(angle) + low * std::sin(angle);
  }
  return v;
}

std::vector<double> reference(const Model& m, int position, int head) {
  const Shape& s = m.shape;
  const int kv_head = head / (s.heads / s.kv_heads);
  const auto* qw = m.q_weight.empty() ? nullptr : &m.q_weight;
  const auto* kw = m.k_weight.empty() ? nullptr : &m.k_weight;
  const std::vector<double> q = head_at(m, position, head, qw);
  std::vector<double> scores;
  for (int p = 0; p <= position; ++p) {
    const std::vector<double> k = head_at(m, p, s.heads + kv_head, kw);
    double sum = 0;
    for (size_t d = 0; d < q.size(); ++d) sum += q[d] * stored_value(k[d], s.dtype);
    scores.push_back(sum * m.scale());
  }
  const double top = *std::max_element(scores.begin(), scores.end());
  double total = 0;
  for (double& score : scores) total += score = std::exp(score - top);
  std::vector<double> out(q.size(), 0.0);
  for (int p = 0; p <= position; ++p) {
    const float* v = m.rows[static_cast<size_t>(p)].data() + (s.heads + s.kv_heads + kv_head) * s.dim;
    for (size_t d = 0; d < out.size(); ++d)
      out[d] += scores[static_cast<size_t>(p)] / total * stored_value(v[d], s.dtype);
  }
  return out;
}

void check_rows(const Model& m, const Matrix& got, const std::vector<int>& positions) {
  // f16/bf16: a key that lands beside a rounding boundary may be stored one step away from the reference's.
  const double tolerance = m.shape.dtype == DType::kF32 ? 1e-5 : m.shape.dtype == DType::kF16 ? 1e-3 : 8e-3;
  for (const int position : positions)
    for (int head = 0; head < m.shape.heads; ++head) {
      const std::vector<double> expected = reference(m, position, head);
      for (size_t d = 0; d < expected.size(); ++d)
        CHECK_NEAR(got[static_cast<size_t>(position)][static_cast<size_t>(head * m.shape.dim) + d],
                   expected[d], tolerance);
    }
}

bool all_same(const Matrix& a, const Matrix& b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), same_bits);
}

const std::vector<Shape> kShapes{
    {4, 2, 64, 32},
    {2, 2, 16, 16},
    {6, 1, 80, 64, DType::kF32},
    {8, 2, 128, 256},
    {3, 3, 18, 48},
    {14, 2, 10, 16, DType::kF32},
    {2, 1, 256, 96, DType::kBF16},
    {1, 1, 2, 240},
    {5, 1, 34, 32, DType::kBF16, 70},
    {40, 8, 32, 128, DType::kF16, 90},
};

}  // namespace

TEST("attention agrees with double precision for odd shapes, block sizes and dtypes") {
  on_every_isa([](const std::string& isa) {
    Random random(1);
    for (const Shape& shape : kShapes) {
      Model model(shape, random);
      Run run(model, isa, 2, random);
      const int last = shape.context - 1;
      check_rows(model, run.chunks(shape.context), {0, 1, last / 2, last});
    }
  });
}

TEST("queries and keys are normalised where weights are given") {
  on_every_isa([](const std::string& isa) {
    Random random(2);
    Model model({4, 2, 32, 32, DType::kF32, 60}, random);
    model.q_weight = random.normals(32);
    model.k_weight = random.normals(32);
    Run run(model, isa, 2, random);
    run.norms(Stored("q", DType::kF32, {32}, model.q_weight), Stored("k", DType::kF32, {32}, model.k_weight));
    check_rows(model, run.chunks(60), {0, 17, 59});
  });
}

TEST("a row has the same bits decoded, verified, prefilled in any chunks, on any threads, in any blocks") {
  on_every_isa([](const std::string& isa) {
    Random random(3);
    for (const Shape& shape : kShapes) {
      const Model model(shape, random);
      const Matrix expected = Run(model, isa, 1, random).chunks(shape.context);
      for (const int chunk : {1, 6, 33, 100}) {
        if (chunk == 1 && shape.heads * shape.dim > 200) continue;  // time
        CHECK(all_same(Run(model, isa, random.between(1, 4), random).chunks(chunk), expected));
      }
    }
  });
}

TEST("long contexts: splits handed out to many threads or done by one give the same bits") {
  on_every_isa([](const std::string& isa) {
    Random random(4);
    const Model model({4, 2, 16, 32, DType::kF16, 2200}, random);
    Run one(model, isa, 1, random), many(model, isa, 4, random);
    const Matrix expected = one.chunks(700);
    for (auto& row : many.chunks(700)) CHECK(row.size() == expected[0].size());
    for (const auto& [begin, end] :
         std::vector<std::pair<int, int>>{{2199, 2200}, {2045, 2051}, {1023, 1025}, {2100, 2200}}) {
      const Matrix got = many.step(begin, end), again = one.step(begin, end);
      for (int p = begin; p < end; ++p) {
        CHECK(same_bits(got[static_cast<size_t>(p - begin)], expected[static_cast<size_t>(p)]));
        CHECK(same_bits(again[static_cast<size_t>(p - begin)], expected[static_cast<size_t>(p)]));
      }
    }
    check_rows(model, expected, {1500, 2199});
  });
}

TEST("more splits than are worked on at a time: the same bits, where tiles end in different waves too") {
  on_every_isa([](const std::string& isa) {
    struct Case {
      int heads, context;
      std::vector<std::pair<int, int>> steps;
    };
    for (const Case& c : {Case{7, 6300, {{6299, 6300}, {4090, 4100}, {6140, 6160}}},
                          Case{2, 5300, {{5060, 5180}, {5119, 5121}, {5290, 5300}}}}) {
      Random random(22);
      const Model model({c.heads, c.heads, 8, 32, DType::kF16, c.context}, random);
      Run one(model, isa, 1, random), two(model, isa, 2, random), three(model, isa, 3, random);
      for (Run* run : {&one, &two, &three}) run->step(0, c.context, false);
      for (const auto& [begin, end] : c.steps) {
        const Matrix expected = one.step(begin, end);
        CHECK(all_same(two.step(begin, end), expected));
        CHECK(all_same(three.step(begin, end), expected));
      }
      Matrix last(static_cast<size_t>(c.context));
      last.back() = two.step(c.context - 1, c.context)[0];
      check_rows(model, last, {c.context - 1});
    }
  });
}

TEST("sequences in one step do not touch each other") {
  on_every_isa([](const std::string& isa) {
    Random random(5);
    const Model model({4, 2, 32, 16, DType::kF16, 100}, random);
    Run alone(model, isa, 1, random);
    const Matrix expected = alone.chunks(100);

    Run both(model, isa, 3, random);
    const std::vector<int32_t> first(both.table.begin(), both.table.begin() + 3),
        second(both.table.begin() + 3, both.table.end());
    const auto slot = [](const std::vector<int32_t>& table, int position) {
      return table[static_cast<size_t>(position / 16)] * 16 + position % 16;
    };
    // Sequence a: positions 0..39 of the model's rows; sequence b: the same rows, 0..60. Prefilled together.
    std::vector<int32_t> positions, slots, tokens(101, 0);
    Matrix rows;
    for (int p = 0; p < 40; ++p)
      positions.push_back(p), slots.push_back(slot(first, p)),
          rows.push_back(model.rows[static_cast<size_t>(p)]);
    for (int p = 0; p < 61; ++p)
      positions.push_back(p), slots.push_back(slot(second, p)),
          rows.push_back(model.rows[static_cast<size_t>(p)]);
    const std::vector<StepSequence> sequences{{0, 40, 40, first}, {40, 101, 61, second}};
    both.backend->prepare({101, 2, 1, 100}, {4, 2, 32, model.scale()}, RopeTable{model.inv_freq});
    auto qkv = made_from(*both.backend, rows);
    auto out = both.backend->make_activation(101, model.out_width(), Feeds::kLinear);
    both.backend->begin_step({tokens, positions, slots, sequences, {}}, *both.cache);
    both.backend->write_kv(0, *qkv, nullptr, nullptr, 0);
    both.backend->attention(0, *qkv, *out);
    const Matrix got = contents(*both.backend, *out, 101);
    for (size_t r = 0; r < 101; ++r) CHECK(same_bits(got[r], expected[static_cast<size_t>(positions[r])]));
  });
}

TEST("stale NaN and infinity in unused slots of a block change nothing") {
  on_every_isa([](const std::string& isa) {
    Random random(6);
    Model model({4, 2, 24, 32, DType::kF16, 64}, random);
    const Matrix clean = model.rows, expected = Run(model, isa, 1, random).chunks(64);
    Run run(model, isa, 2, random);
    for (auto& row : model.rows)
      for (size_t i = 0; i < row.size(); ++i)
        row[i] = i % 3 == 0 ? std::nanf("") : i % 3 == 1 ? std::numeric_limits<float>::infinity() : -1e38f;
    CHECK(!std::isfinite(run.chunks(64)[5][0]));
    model.rows =
        clean;  // written over the poison, a few rows at a time: what follows them in a block is still poison
    CHECK(all_same(run.chunks(5), expected));
  });
}

TEST("values beyond f16 saturate when stored") {
  on_every_isa([](const std::string& isa) {
    Random random(7);
    Model model({1, 1, 32, 16, DType::kF16, 4}, random);
    for (auto& row : model.rows)
      for (size_t i = 64; i < 96; ++i) row[i] = i % 2 == 0 ? 1e6f : -1e30f;
    Run run(model, isa, 1, random);
    const Matrix got = run.chunks(4);
    for (const auto& row : got)
      for (size_t i = 0; i < 32; ++i) CHECK_NEAR(row[i], i % 2 == 0 ? 65504.0 : -65504.0, 0.02);
  });
}

TEST("blocks survive copies and a round trip through the host tier") {
  on_every_isa([](const std::string& isa) {
    Random random(8);
    for (const DType dtype : {DType::kF16, DType::kF32}) {
      const Model model({4, 2, 32, 32, dtype, 128}, random);
      Run run(model, isa, 2, random);
      const Matrix expected = run.chunks(128);
      const auto tail = [&] { return run.step(127, 128)[0]; };
      CHECK(same_bits(tail(), expected[127]));
      run.backend->copy_block(*run.cache, run.table[1], 0);
      run.table[1] = 0;
      CHECK(same_bits(tail(), expected[127]));
      // Two blocks leave, their device blocks are overwritten, and come back elsewhere.
      run.backend->block_to_host(*run.cache, run.table[0], 1);
      run.backend->block_to_host(*run.cache, run.table[2], 0);
      run.backend->copy_block(*run.cache, run.table[3], run.table[0]);
      run.backend->copy_block(*run.cache, run.table[3], run.table[2]);
      CHECK(!same_bits(tail(), expected[127]));
      run.backend->block_from_host(*run.cache, 1, 1);
      run.backend->block_from_host(*run.cache, 0, 2);
      run.table[0] = 1;
      run.table[2] = 2;
      run.backend->synchronize();
      CHECK(same_bits(tail(), expected[127]));
    }
  });
}

TEST("cache shapes that cannot work are refused by value") {
  const auto backend = make_cpu_backend({1, ""});
  for (const int size : {0, 8, 24, 272})
    CHECK_THROWS(backend->make_kv_cache({1, 1, 16, size, DType::kF16}, 1, 0), ErrorCode::kInvalidArgument,
                 std::to_string(size).c_str());
  CHECK_THROWS(backend->make_kv_cache({1, 1, 16, 32, DType::kI8}, 1, 0), ErrorCode::kInvalidArgument, "I8");
  CHECK_THROWS(backend->make_kv_cache({1000, 1000, 256, 256, DType::kF32}, 1 << 20, 0),
               ErrorCode::kOutOfMemory, "bytes");
  const auto cache = backend->make_kv_cache({2, 3, 16, 32, DType::kF16}, 5, 7);
  CHECK_EQ(cache->bytes, size_t{2} * 2 * 3 * 16 * 32 * 2 * 5);
  CHECK_EQ(cache->host_bytes, size_t{2} * 2 * 3 * 16 * 32 * 2 * 7);
}

CHECK_MAIN
