// Every operation of the Ascend backend beside its twin on the CPU, over the same 16-bit values: they differ
// by bf16's rounding and nothing else.

#include <algorithm>
#include <numeric>

#include "../backend/support.h"
#include "backend/ascend/ascend_backend.h"
#include "backend/ascend/cann.h"
#include "emulator.h"
#include "engine/sampler.h"

using namespace agentinfer;
using namespace agentinfer::testing;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr double kRounding = 1.0 / 256;  // half a bf16 unit, relative, with room for a second rounding

std::unique_ptr<AscendBackend> npu() {
  return make_ascend_backend({.device = 0, .timeout_ms = 20000});
}
std::unique_ptr<CpuBackend> cpu() {
  return make_cpu_backend({1, ""});
}

Matrix bf16_matrix(Random& random, int rows, int64_t cols, float deviation = 1) {
  Matrix made = random_matrix(random, rows, cols, deviation);
  for (auto& row : made)
    for (float& value : row) value = bf16_rounded(value);
  return made;
}

std::unique_ptr<Activation> activation(Backend& backend, const Matrix& values, Feeds feeds = Feeds::kOther) {
  auto* device = dynamic_cast<AscendBackend*>(&backend);
  if (device == nullptr) return made_from(backend, values, feeds);
  auto x = backend.make_activation(static_cast<int64_t>(values.size()),
                                   static_cast<int64_t>(values[0].size()), feeds);
  std::vector<float> flat;
  for (const auto& row : values) flat.insert(flat.end(), row.begin(), row.end());
  device->write_rows(*x, flat, static_cast<int>(values.size()));
  return x;
}

// |got - expected| <= relative * |expected| + absolute * the row's largest value
void check_close(const Matrix& got, const Matrix& expected, double relative, double absolute,
                 const char* what) {
  CHECK_EQ(got.size(), expected.size());
  for (size_t r = 0; r < std::min(got.size(), expected.size()); ++r) {
    double scale = 0, worst = 0;
    for (float value : expected[r]) scale = std::max(scale, std::fabs(static_cast<double>(value)));
    for (size_t c = 0; c < expected[r].size(); ++c) {
      const double off = std::fabs(static_cast<double>(got[r][c]) - expected[r][c]);
      worst =
          std::max(worst, off - relative * std::fabs(static_cast<double>(expected[r][c])) - absolute * scale);
      if (std::isnan(off)) worst = kInfinity;
    }
    if (worst > 0)
      check::report(what, static_cast<int>(r),
                    "row is off by " + std::to_string(worst) + " of " + std::to_string(scale));
  }
}

// Runs the body on both backends; what it returns must agree.
template <typename Body>
void twins(const char* what, double relative, double absolute, const Body& body) {
  const auto a = npu();
  const auto b = cpu();
  check_close(body(*a), body(*b), relative, absolute, what);
}

// A step of `rows` rows without attention, begun.
struct Step {
  std::unique_ptr<KvCache> cache;
  std::vector<int32_t> tokens, positions, slots, logit_rows, table{0};
  std::vector<StepSequence> sequences;

  Step(Backend& backend, std::vector<int32_t> step_tokens, std::vector<int32_t> wanted = {})
      : tokens(std::move(step_tokens)), logit_rows(std::move(wanted)) {
    const int rows = static_cast<int>(tokens.size());
    backend.prepare({rows, 1, rows, 256}, {2, 1, 64, 0.125f}, RopeTable{std::vector<float>(32, 0.1f)});
    cache = backend.make_kv_cache({1, 1, 64, 128, DType::kBF16}, 1, 0);
    for (int i = 0; i < rows; ++i) positions.push_back(i);
    slots = positions;
    sequences = {{0, rows, rows, table}};
    backend.begin_step({tokens, positions, slots, sequences, logit_rows}, *cache);
  }
};

}  // namespace

TEST("norms, additions and gated units") {
  Random random(1);
  for (const int64_t width : {32, 64, 160, 1024}) {
    const int rows = random.between(1, 9);
    const Stored stored("norm", DType::kBF16, {width}, random.normals(static_cast<size_t>(width)));
    const Matrix x = bf16_matrix(random, rows, width), r = bf16_matrix(random, rows, width);
    const Matrix both = bf16_matrix(random, rows, 2 * width, 3);
    const auto joined = [&](Backend& backend, Activation& a, Activation& b) {
      Matrix all = contents(backend, a, rows);
      for (auto& row : contents(backend, b, rows)) all.push_back(row);
      return all;
    };
    twins("rms_norm", kRounding, 0, [&](Backend& backend) {
      const auto weight = backend.make_vector(stored.all());
      auto from = activation(backend, x), out = backend.make_activation(rows, width, Feeds::kOther);
      backend.rms_norm(*from, *weight, 1e-5f, rows, *out);
      return contents(backend, *out, rows);
    });
    twins("add_rms_norm", 2 * kRounding, 2e-3, [&](Backend& backend) {
      const auto weight = backend.make_vector(stored.all());
      auto residual = activation(backend, r), from = activation(backend, x);
      auto out = backend.make_activation(rows, width, Feeds::kOther);
      backend.add_rms_norm(*residual, *from, *weight, 1e-5f, rows, *out);
      backend.add_rms_norm(*residual, *from, *weight, 1e-5f, rows, *out);
      return joined(backend, *out, *residual);
    });
    twins("add", kRounding, 0, [&](Backend& backend) {
      auto residual = activation(backend, r), from = activation(backend, x);
      backend.add(*residual, *from, rows);
      return contents(backend, *residual, rows);
    });
    twins("swiglu", 2 * kRounding, 1e-6, [&](Backend& backend) {
      auto from = activation(backend, both), out = backend.make_activation(rows, width, Feeds::kOther);
      backend.swiglu(*from, rows, *out);
      return contents(backend, *out, rows);
    });
  }
  CLEAN();
}

TEST("products of bf16 and int8 weights, of parts and slices, with and without bias") {
  Random random(2);
  for (const WeightFormat format : {WeightFormat::kBF16, WeightFormat::kW8A8})
    for (int round = 0; round < 6; ++round) {
      const int rows = random.between(1, 20);
      const int64_t k = 32 * random.between(1, 6), n = 32 * random.between(1, 5);
      const Stored first("first", DType::kBF16, {n + 16, k + 32},
                         random.normals(static_cast<size_t>((n + 16) * (k + 32)), 0.2f));
      const Stored second("second", DType::kF32, {n, k}, random.normals(static_cast<size_t>(n * k), 0.2f));
      const Stored bias("bias", DType::kF32, {n}, random.normals(static_cast<size_t>(n)));
      LinearSource source{.parts = {{&first.view, 16, 16 + n, 32, 32 + k}, second.all()},
                          .bias = {},
                          .format = format,
                          .name = "product"};
      if (round % 2 == 0) source.bias = {Slice{}, bias.all()};
      const Matrix x = bf16_matrix(random, rows, k);
      // An int8 product quantises its input: half a level of 127, summed over k like noise.
      const double absolute = format == WeightFormat::kBF16 ? 1e-3 : 2e-2;
      twins("linear", kRounding, absolute, [&](Backend& backend) {
        const auto weight = backend.make_linear(source);
        CHECK_EQ(weight->in_features, k);
        CHECK_EQ(weight->out_features, 2 * n);
        auto from = activation(backend, x, Feeds::kLinear),
             out = backend.make_activation(rows, 2 * n, Feeds::kOther);
        backend.linear(*from, *weight, rows, *out);
        return contents(backend, *out, rows);
      });
    }
  CLEAN();
}

// The same sums, however the weights lie.
TEST("weights in FRACTAL_NZ give the bits of weights in rows; rows are looked up in order") {
  Random random(12);
  for (const WeightFormat format : {WeightFormat::kBF16, WeightFormat::kW8A8})
    for (const bool biased : {false, true}) {
      const int rows = random.between(1, 20);
      const int64_t k = 32 * random.between(1, 6), n = 48;
      const Stored first("first", DType::kBF16, {n + 16, k + 32},
                         random.normals(static_cast<size_t>((n + 16) * (k + 32)), 0.2f));
      const Stored second("second", DType::kF32, {n - 16, k},
                          random.normals(static_cast<size_t>((n - 16) * k), 0.2f));
      const Stored odd("odd", DType::kBF16, {n + 5, k}, random.normals(static_cast<size_t>((n + 5) * k)));
      const Stored bias("bias", DType::kF32, {n - 16}, random.normals(static_cast<size_t>(n - 16)));
      LinearSource source{.parts = {{&first.view, 16, 16 + n, 32, 32 + k}, second.all()},
                          .bias = {},
                          .format = format,
                          .name = "product"};
      if (biased) source.bias = {Slice{}, bias.all()};
      const Matrix x = bf16_matrix(random, rows, k);
      const auto products = [&](bool nz) {
        const auto backend = make_ascend_backend({.device = 0, .timeout_ms = 20000, .nz = nz});
        Matrix all;
        for (const LinearSource& one : {source, LinearSource{{odd.all()}, {}, format, "odd"}}) {
          const auto weight = backend->make_linear(one);
          auto from = activation(*backend, x, Feeds::kLinear),
               out = backend->make_activation(rows, weight->out_features, Feeds::kOther);
          backend->linear(*from, *weight, rows, *out);
          for (auto& row : contents(*backend, *out, rows)) all.push_back(row);
        }
        if (format == WeightFormat::kW8A8) return all;
        const auto head = backend->make_linear(source);
        const auto tied = backend->make_tied_embedding(*head, 0, head->out_features);
        Step step(*backend, {0, 3, 4, 79});
        auto found = backend->make_activation(4, k, Feeds::kOther);
        backend->embed(*tied, *found);
        for (auto& row : contents(*backend, *found, 4)) all.push_back(row);
        return all;
      };
      const char* name = format == WeightFormat::kW8A8 ? "aclnnQuantMatmulWeightNz"
                         : biased                      ? "aclnnAddmmWeightNz"
                                                       : "aclnnMatmulWeightNz";
      const Matrix in_rows = products(false);
      const uint64_t before = EMU(emu_calls)(name);
      CHECK(products(true) == in_rows);
      CHECK_EQ(EMU(emu_calls)(name) > before, cann().op.quant_matmul_nz.present());
    }
  CLEAN();
}

TEST("a norm that quantises serves int8 and 16-bit products alike") {
  Random random(3);
  const int64_t width = 96;
  const int rows = 5;
  const Stored stored("norm", DType::kBF16, {width}, random.normals(static_cast<size_t>(width)));
  const Stored matrix("matrix", DType::kBF16, {64, width},
                      random.normals(static_cast<size_t>(64 * width), 0.2f));
  const Matrix x = bf16_matrix(random, rows, width), r = bf16_matrix(random, rows, width);
  for (const WeightFormat second : {WeightFormat::kW8A8, WeightFormat::kBF16})
    twins("mixed formats", kRounding, 2e-2, [&](Backend& backend) {
      const auto weight = backend.make_vector(stored.all());
      const auto int8 = backend.make_linear({{matrix.all()}, {}, WeightFormat::kW8A8, "int8"});
      const auto other = backend.make_linear({{matrix.all()}, {}, second, "other"});
      auto residual = activation(backend, r), from = activation(backend, x);
      auto normed = backend.make_activation(rows, width, Feeds::kLinear),
           out = backend.make_activation(rows, 64, Feeds::kOther);
      backend.add_rms_norm(*residual, *from, *weight, 1e-5f, rows, *normed);
      backend.linear(*normed, *int8, rows, *out);
      Matrix all = contents(backend, *out, rows);
      backend.linear(*normed, *other, rows, *out);
      for (auto& row : contents(backend, *out, rows)) all.push_back(row);
      return all;
    });
  CLEAN();
}

TEST("rows by token and by index; tokens outside the table are refused") {
  Random random(4);
  const int64_t rows = 133, cols = 48;
  const Stored stored("embed", DType::kF32, {rows, cols}, random.normals(static_cast<size_t>(rows * cols)));
  std::vector<int32_t> tokens(30);
  for (int32_t& token : tokens) token = random.between(0, static_cast<int>(rows) - 1);
  twins("embed and gather_rows", 0, 0, [&](Backend& backend) {
    Step step(backend, tokens, {0, 3, 4, 17, 29});
    const auto table = backend.make_embedding(stored.all());
    const auto head = backend.make_linear({{stored.all()}, {}, WeightFormat::kBF16, "head"});
    const auto tied = backend.make_tied_embedding(*head, 0, rows);
    auto a = backend.make_activation(30, cols, Feeds::kOther),
         b = backend.make_activation(30, cols, Feeds::kOther);
    auto picked = backend.make_activation(5, cols, Feeds::kOther);
    backend.embed(*table, *a);
    backend.embed(*tied, *b);
    backend.gather_rows(*b, 0, 5, *picked);
    Matrix all = contents(backend, *a, 30);
    for (auto& row : contents(backend, *picked, 5)) all.push_back(row);
    return all;
  });
  // A rank's part of a vocabulary: rows of the others are zero.
  twins("embed a part", 0, 0, [&](Backend& backend) {
    const auto part = backend.make_embedding({&stored.view, 40, 90, 0, cols});
    Step step(backend, tokens);
    CHECK(part->first_row == 40 && part->rows == 50 && part->vocabulary == rows);
    auto out = backend.make_activation(30, cols, Feeds::kOther);
    backend.embed(*part, *out);
    return contents(backend, *out, 30);
  });
  for (const int32_t token : {-1, 133}) {
    const auto fresh = npu();
    Step step(*fresh, {0, token});
    const auto table = fresh->make_embedding(stored.all());
    auto out = fresh->make_activation(2, cols, Feeds::kOther);
    CHECK_THROWS(fresh->embed(*table, *out), ErrorCode::kInternal, std::to_string(token).c_str());
  }
  CLEAN();
}

TEST("argmax is the first of the largest; -1 where a row holds NaN, +infinity, or nothing finite") {
  Random random(5);
  const auto backend = npu();
  const float nan = std::nanf("");
  for (const int64_t width : {1, 3, 16, 1000}) {
    Matrix rows = bf16_matrix(random, 12, width);
    for (float& value : rows[1]) value = nan;
    for (float& value : rows[2]) value = -kInfinity;
    for (float& value : rows[3]) value = 2.5f;
    rows[4][0] = nan;
    rows[5][static_cast<size_t>(width) - 1] = kInfinity;
    rows[6][static_cast<size_t>(width) / 2] = -kInfinity;
    std::vector<int32_t> got(rows.size()), expected(rows.size());
    backend->argmax(*activation(*backend, rows), static_cast<int>(rows.size()), got);
    const auto reference = cpu();
    reference->argmax(*activation(*reference, rows), static_cast<int>(rows.size()), expected);
    expected[4] = expected[5] = -1;  // which the CPU lets pass
    CHECK(got == expected);
  }
  CLEAN();
}

// The candidates of a row decide what is sampled from it: whatever the parameters ask of the highest logits,
// whole row or not.
TEST("the highest logits, or the whole row where they do not decide") {
  Random random(8);
  const auto backend = npu();
  Matrix rows = bf16_matrix(random, 6, 1000);
  for (size_t i = 0; i < 300; ++i) rows[1][i] = 7;  // more ties than are fetched
  rows[2][5] = std::nanf("");
  rows[3][6] = kInfinity;
  const auto x = activation(*backend, rows);
  Sampler sampler(1000);
  for (int row = 0; row < 6; ++row)
    for (const int count : {1, 5, 40, 127, 128, 1000}) {
      const auto top = backend->top_logits(*x, row, count);
      std::vector<float> got(top.begin(), top.end());
      const auto whole = backend->logits(*x, row);
      std::vector<float> all(whole.begin(), whole.end()), sorted(all);
      if (row == 2 || row == 3) {  // nothing may be chosen from them
        for (const auto& values : {got, all})
          CHECK(std::all_of(values.begin(), values.end(), [](float value) { return std::isnan(value); }));
        continue;
      }
      std::sort(sorted.begin(), sorted.end(), std::greater<>());
      const float least = sorted[std::min<size_t>(static_cast<size_t>(count), sorted.size()) - 1];
      for (size_t i = 0; i < all.size(); ++i) {
        if (all[i] >= least)
          CHECK_EQ(got[i], all[i]);
        else
          CHECK(got[i] == all[i] || got[i] == -kInfinity);
      }
      SamplingParams params;
      params.top_k = count;
      params.temperature = 0.8f;
      params.top_p = 0.95f;
      CHECK_EQ(params.deciding_logits(0), count);
      for (uint64_t seed = 0; seed < 5; ++seed) {
        params.seed = seed;
        CHECK_EQ(sampler.sample(got, params, {}, 3).token, sampler.sample(all, params, {}, 3).token);
      }
    }
  CLEAN();
}

// Sequences of several steps in one batch: prefill in chunks, decode and verification, their blocks shuffled,
// copied and sent to the host and back. The last rows' attention covers everything written before.
TEST("attention over paged KV, with rotation and norms of heads") {
  struct Shape {
    int heads, kv_heads, dim;
    bool norms;
  };
  for (const Shape shape :
       {Shape{4, 2, 64, false}, Shape{4, 1, 128, true}, Shape{8, 8, 64, true}, Shape{64, 16, 128, false}}) {
    Random random(static_cast<uint32_t>(6 + shape.heads));
    const int64_t width = int64_t{shape.heads + 2 * shape.kv_heads} * shape.dim;
    // Rows of each sequence in each step. Many heads need a second way of rotating, not many rows.
    const std::vector<std::vector<int>> lengths =
        shape.heads > 16 ? std::vector<std::vector<int>>{{3, 1, 1}, {2, 3, 1}, {129, 2, 1}}
                         : std::vector<std::vector<int>>{{130, 1, 1}, {5, 3, 7}, {260, 16, 1}};
    RopeTable rope;
    for (int i = 0; i < shape.dim / 2; ++i)
      rope.inv_freq.push_back(static_cast<float>(std::pow(10000.0, -2.0 * i / shape.dim)));
    const Stored q_weight("q", DType::kBF16, {shape.dim}, random.normals(static_cast<size_t>(shape.dim)));
    const Stored k_weight("k", DType::kBF16, {shape.dim}, random.normals(static_cast<size_t>(shape.dim)));
    std::vector<Matrix> inputs;
    for (size_t i = 0; i < 3; ++i)
      inputs.push_back(bf16_matrix(random, lengths[0][i] + lengths[1][i] + lengths[2][i], width));
    std::vector<int32_t> blocks(8);
    std::iota(blocks.begin(), blocks.end(), 0);
    std::shuffle(blocks.begin(), blocks.end(), random.engine);
    twins("attention", 2 * kRounding, 3e-2, [&](Backend& backend) {
      std::vector<int32_t> spare = {blocks[6], blocks[7]};
      backend.prepare({512, 4, 4, 300},
                      {shape.heads, shape.kv_heads, shape.dim, static_cast<float>(1 / std::sqrt(shape.dim))},
                      rope);
      const auto cache = backend.make_kv_cache({2, shape.kv_heads, shape.dim, 128, DType::kBF16}, 8, 2);
      const auto q_norm = backend.make_vector(q_weight.all()), k_norm = backend.make_vector(k_weight.all());
      std::vector<std::vector<int32_t>> tables = {
          {blocks[0], blocks[1]}, {blocks[2]}, {blocks[3], blocks[4], blocks[5]}};
      std::vector<int> computed(3, 0);
      Matrix all;
      for (size_t at = 0; at < 3; ++at) {
        std::vector<int32_t> tokens, positions, slots;
        std::vector<StepSequence> sequences;
        for (size_t s = 0; s < 3; ++s) {
          const int begin = static_cast<int>(tokens.size());
          for (int i = 0; i < lengths[s][at]; ++i, ++computed[s]) {
            tokens.push_back(0);
            positions.push_back(computed[s]);
            slots.push_back(tables[s][static_cast<size_t>(computed[s] / 128)] * 128 + computed[s] % 128);
          }
          sequences.push_back({begin, static_cast<int>(tokens.size()), computed[s], tables[s]});
        }
        const int rows = static_cast<int>(tokens.size());
        auto qkv = activation(backend, inputs[at]);
        auto out = backend.make_activation(rows, int64_t{shape.heads} * shape.dim, Feeds::kOther);
        backend.begin_step({tokens, positions, slots, sequences, {}}, *cache);
        backend.write_kv(1, *qkv, shape.norms ? q_norm.get() : nullptr, shape.norms ? k_norm.get() : nullptr,
                         1e-6f);
        backend.attention(1, *qkv, *out);
        for (auto& row : contents(backend, *out, rows)) all.push_back(row);
        // Move a block by copy and another through the host.
        backend.copy_block(*cache, tables[2][1], spare[0]);
        tables[2][1] = std::exchange(spare[0], tables[2][1]);
        backend.block_to_host(*cache, tables[0][0], 1);
        backend.block_from_host(*cache, 1, spare[1]);
        tables[0][0] = std::exchange(spare[1], tables[0][0]);
      }
      return all;
    });
  }
  CLEAN();
}

TEST("everything taken is given back") {
  {
    const auto backend = npu();
    Step step(*backend, {0, 0});
    backend->synchronize();
    CHECK(emulator::live().device_blocks > 0);
  }
  const EmuLive live = emulator::live();
  CHECK_EQ(live.device_blocks, 0u);
  CHECK_EQ(live.host_blocks, 0u);
  CHECK_EQ(live.tensors, 0u);
  CHECK_EQ(live.executors, 0u);
  CHECK_EQ(live.streams, 0u);
  CHECK_EQ(live.events, 0u);
}

TEST("device names") {
  CHECK(npu_devices("npu:0") == std::vector{0});
  CHECK(npu_devices("npu:3,1,12") == (std::vector{3, 1, 12}));
  for (const char* wrong :
       {"npu:", "npu", "npu:a", "npu:-1", "npu:0,", "npu:0,,1", "npu:1,1", "npu:0 ", "npu:99999999999"})
    CHECK_THROWS(npu_devices(wrong), ErrorCode::kInvalidArgument, wrong);
}

CHECK_MAIN
