// Operators against PyTorch's results (fixtures.bin), within each operator's rounding.

#include "fixture.h"

namespace {

constexpr double kHalfUnit = 1.0 / 256;  // bf16 (8 significant bits), one rounding
constexpr double kUnit = 1.0 / 128;      // two roundings, or ties away from zero
constexpr double kExact = 0;

Tensor like(const FixtureTensor& shape, aclDataType dtype) {
  const size_t size = dtype == ACL_INT8 || dtype == ACL_BOOL      ? 1
                      : dtype == ACL_BF16 || dtype == ACL_FLOAT16 ? 2
                      : dtype == ACL_INT64                        ? 8
                                                                  : 4;
  return Tensor::empty(shape.dims, dtype, size);
}

// (N, K) row-major seen as (K, N)
struct Transposed {
  explicit Transposed(const FixtureTensor& w)
      : memory(w.bytes),
        t(make_tensor({w.dims[1], w.dims[0]}, w.dtype, memory.at, {1, w.dims[1]}, 0, ACL_FORMAT_ND,
                      {w.dims[0], w.dims[1]})) {}
  ~Transposed() { ACL(aclDestroyTensor)(t); }
  Buffer memory;
  aclTensor* t;
};

std::vector<char> pack_nz(const FixtureTensor& w, int64_t element) {
  const int64_t rows = w.dims[0], columns = w.dims[1], c0 = 32 / element, row_blocks = (rows + 15) / 16;
  std::vector<char> out(static_cast<size_t>((columns + c0 - 1) / c0 * row_blocks * 16 * c0 * element));
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c)
      std::memcpy(out.data() + (((c / c0 * row_blocks + r / 16) * 16 + r % 16) * c0 + c % c0) * element,
                  w.bytes.data() + (r * columns + c) * element, static_cast<size_t>(element));
  return out;
}

struct One {
  aclScalar* value = scalar(1);
  ~One() { ACL(aclDestroyScalar)(value); }
  operator aclScalar*() const { return value; }
};

}  // namespace

TEST("mm with a transposed weight view") {
  Bound d;
  const Fixture& f = fixture("mm");
  Tensor x = f.at("x").upload(), y = like(f.at("y"), ACL_BF16);
  Transposed w(f.at("w"));
  OK(RUN(aclnnMm, d.stream, x, w.t, y, int8_t{0}));
  CLOSE(y, f.at("y"), kHalfUnit, 1e-4);
  Tensor y2 = like(f.at("y"), ACL_BF16);
  OK(RUN(aclnnMatmul, d.stream, x, w.t, y2, int8_t{0}));
  CLOSE(y2, f.at("y"), kHalfUnit, 1e-4);
  CLEAN();
}

TEST("matmul in fp16") {
  Bound d;
  const Fixture& f = fixture("matmul_half");
  Tensor x = f.at("x").upload(), y = like(f.at("y"), ACL_FLOAT16);
  Transposed w(f.at("w"));
  OK(RUN(aclnnMm, d.stream, x, w.t, y, int8_t{0}));
  CLOSE(y, f.at("y"), 1.0 / 2048, 1e-4);
  CLEAN();
}

TEST("addmm with an fp32 bias, plain and in NZ") {
  Bound d;
  One one;
  const Fixture& f = fixture("addmm");
  Tensor x = f.at("x").upload(), bias = f.at("bias").upload(), y = like(f.at("y"), ACL_BF16),
         y2 = like(f.at("y"), ACL_BF16);
  Transposed w(f.at("w"));
  OK(RUN(aclnnAddmm, d.stream, bias, x, w.t, one, one, y, int8_t{0}));
  CLOSE(y, f.at("y"), kHalfUnit, 1e-4);
  const FixtureTensor& fw = f.at("w");
  Buffer packed(pack_nz(fw, 2));
  const int64_t n = fw.dims[0], k = fw.dims[1];
  aclTensor* nz =
      make_tensor({k, n}, ACL_BF16, packed.at, {1, k}, 0, ACL_FORMAT_FRACTAL_NZ, {k / 16, n / 16, 16, 16});
  OK(RUN(aclnnAddmmWeightNz, d.stream, bias, x, nz, one, one, y2, int8_t{0}));
  CLOSE(y2, f.at("y"), kHalfUnit, 1e-4);
  OK(ACL(aclDestroyTensor)(nz));
  CLEAN();
}

TEST("weights are turned into NZ on the device, by both ways") {
  Bound d;
  const Fixture& f = fixture("mm");
  const FixtureTensor& fw = f.at("w");
  const int64_t n = fw.dims[0], k = fw.dims[1];
  Tensor x = f.at("x").upload(), y = like(f.at("y"), ACL_BF16), y2 = like(f.at("y"), ACL_BF16);
  // In place: the object reports the new format.
  aclIntArray* shape = ints({n, k});
  uint64_t elements = 0;
  OK(ACL(aclnnCalculateMatmulWeightSizeV2)(shape, ACL_BF16, &elements));
  OK(ACL(aclDestroyIntArray)(shape));
  CHECK_EQ(elements, static_cast<uint64_t>(n * k));
  Buffer weight(fw.bytes);
  aclTensor* stored = make_tensor({n, k}, ACL_BF16, weight.at);
  OK(RUN(aclnnTransMatmulWeight, d.stream, stored));
  aclFormat format = ACL_FORMAT_ND;
  OK(ACL(aclGetFormat)(stored, &format));
  CHECK_EQ(format, ACL_FORMAT_FRACTAL_NZ);
  aclTensor* view =
      make_tensor({k, n}, ACL_BF16, weight.at, {1, k}, 0, ACL_FORMAT_FRACTAL_NZ, {k / 16, n / 16, 16, 16});
  OK(RUN(aclnnMatmulWeightNz, d.stream, x, view, y, int8_t{0}));
  CLOSE(y, f.at("y"), kHalfUnit, 1e-4);
  // Out of place.
  Tensor plain = fw.upload();
  int64_t* dst_shape = nullptr;
  uint64_t rank = 0;
  int actual = 0;
  OK(ACL(aclnnNpuFormatCastCalculateSizeAndFormat)(plain, 29, ACL_BF16, &dst_shape, &rank, &actual));
  Buffer cast(static_cast<size_t>(n * k * 2));
  aclTensor* to = make_tensor({n, k}, ACL_BF16, cast.at, {}, 0, static_cast<aclFormat>(actual),
                              Dims(dst_shape, dst_shape + rank));
  delete[] dst_shape;
  OK(RUN(aclnnNpuFormatCast, d.stream, plain, to));
  aclTensor* view2 =
      make_tensor({k, n}, ACL_BF16, cast.at, {1, k}, 0, ACL_FORMAT_FRACTAL_NZ, {k / 16, n / 16, 16, 16});
  OK(RUN(aclnnMatmulWeightNz, d.stream, x, view2, y2, int8_t{0}));
  CLOSE(y2, f.at("y"), kHalfUnit, 1e-4);
  for (aclTensor* t : {stored, view, to, view2}) OK(ACL(aclDestroyTensor)(t));
  CLEAN();
}

TEST("rms norms") {
  Bound d;
  const Fixture& f = fixture("rms_norm");
  const double eps = f.at("eps").as<float>()[0];
  Tensor x = f.at("x").upload(), g = f.at("g").upload(), y = like(f.at("y"), ACL_BF16),
         rstd = like(f.at("rstd"), ACL_FLOAT);
  OK(RUN(aclnnRmsNorm, d.stream, x, g, eps, y, rstd));
  CLOSE(y, f.at("y"), kHalfUnit * 1.01, 1e-5);
  CLOSE(rstd, f.at("rstd"), 1e-5, 0);
  const Fixture& a = fixture("add_rms_norm");
  Tensor x1 = a.at("x").upload(), x2 = a.at("r").upload(), g2 = a.at("g").upload();
  Tensor y2 = like(a.at("y"), ACL_BF16), r2 = like(f.at("rstd"), ACL_FLOAT), s = like(a.at("s"), ACL_BF16);
  OK(RUN(aclnnAddRmsNorm, d.stream, x1, x2, g2, eps, y2, r2, s));
  CLOSE(y2, a.at("y"), kUnit, 1e-5);
  CLOSE(s, a.at("s"), kHalfUnit, 0);
  OK(RUN(aclnnInplaceAddRmsNorm, d.stream, x1, x2, g2, eps, r2));
  CLOSE(x1, a.at("y"), kUnit, 1e-5);
  CLOSE(x2, a.at("s"), kHalfUnit, 0);
  CLEAN();
}

TEST("add, norm and quantise in one") {
  Bound d;
  const Fixture& f = fixture("add_rms_norm_quant");
  Tensor x = f.at("x").upload(), r = f.at("r").upload(), g = f.at("g").upload();
  Tensor y1 = like(f.at("y"), ACL_INT8), sum = like(f.at("s"), ACL_BF16),
         scale = Tensor::empty({5}, ACL_FLOAT, 4);
  Tensor y2 = Tensor::empty({1}, ACL_INT8, 1), scale2 = Tensor::empty({1}, ACL_FLOAT, 4);
  OK(RUN(aclnnAddRmsNormDynamicQuant, d.stream, x, r, g, nullptr, nullptr, 1e-5, y1, y2, sum, scale, scale2));
  const auto q = y1.buffer.read<int8_t>();
  const auto s = scale.buffer.read<float>();
  const auto want = f.at("y").as<float>();
  for (size_t i = 0; i < q.size(); ++i)
    CHECK(std::fabs(q[i] * s[i / 128] - want[i]) <= 0.51f * s[i / 128] + std::fabs(want[i]) / 100);
  CLOSE(sum, f.at("s"), kHalfUnit, 0);
  CLEAN();
}

TEST("activations") {
  Bound d;
  const Fixture& f = fixture("swiglu");
  Tensor x = f.at("x").upload(), y = like(f.at("y"), ACL_BF16);
  OK(RUN(aclnnSwiGlu, d.stream, x, int64_t{-1}, y));
  CLOSE(y, f.at("y"), kHalfUnit * 1.01, 1e-6);
  const auto unary = [&](const char* name, auto phase1, auto phase2) {
    const Fixture& u = fixture(name);
    Tensor in = u.at("x").upload(), out = like(u.at("y"), ACL_BF16);
    OK(run_operator(phase1, phase2, d.stream, in.t, out.t));
    CLOSE(out, u.at("y"), kHalfUnit * 1.01, 1e-6);
  };
  unary("silu", ACL(aclnnSiluGetWorkspaceSize), ACL(aclnnSilu));
  unary("sigmoid", ACL(aclnnSigmoidGetWorkspaceSize), ACL(aclnnSigmoid));
  unary("exp", ACL(aclnnExpGetWorkspaceSize), ACL(aclnnExp));
  CLEAN();
}

TEST("the three rotary operators agree with PyTorch") {
  Bound d;
  const Fixture& f = fixture("rotary");
  const int64_t t = f.at("q").dims[0], hq = f.at("q").dims[1], hk = f.at("k").dims[1],
                dim = f.at("q").dims[2];
  {
    Buffer q(f.at("q").bytes), k(f.at("k").bytes), c(f.at("cos").bytes), s(f.at("sin").bytes);
    Tensor tq({1, t, hq, dim}, ACL_BF16, q.at), tk({1, t, hk, dim}, ACL_BF16, k.at);
    Tensor tc({1, t, 1, dim}, ACL_BF16, c.at), ts({1, t, 1, dim}, ACL_BF16, s.at);
    OK(RUN(aclnnApplyRotaryPosEmb, d.stream, tq, tk, tc, ts, int64_t{1}));
    Tensor rq(f.at("q").dims, ACL_BF16, std::move(q)), rk(f.at("k").dims, ACL_BF16, std::move(k));
    CLOSE(rq, f.at("yq"), kUnit, 2e-2);
    CLOSE(rk, f.at("yk"), kUnit, 2e-2);
  }
  Tensor q = f.at("q").upload(), y = like(f.at("q"), ACL_BF16);
  Buffer c(f.at("cos").bytes), s(f.at("sin").bytes);
  Tensor tc({t, 1, dim}, ACL_BF16, c.at), ts({t, 1, dim}, ACL_BF16, s.at);
  OK(RUN(aclnnRotaryPositionEmbedding, d.stream, q, tc, ts, int64_t{0}, y));
  CLOSE(y, f.at("yq"), kHalfUnit, 1e-5);
  Tensor pos = f.at("positions").upload(), cache = f.at("cache").upload();
  Buffer qb(f.at("q").bytes), kb(f.at("k").bytes);
  Tensor q2({t, hq * dim}, ACL_BF16, qb.at), k2({t, hk * dim}, ACL_BF16, kb.at);
  Tensor oq = Tensor::empty({t, hq * dim}, ACL_BF16, 2), ok = Tensor::empty({t, hk * dim}, ACL_BF16, 2);
  OK(RUN(aclnnRopeWithSinCosCache, d.stream, pos, q2, k2, cache, nullptr, dim, true, oq, ok));
  CLOSE(oq, f.at("yq"), kHalfUnit, 1e-5);
  CLOSE(ok, f.at("yk"), kHalfUnit, 1e-5);
  CLEAN();
}

namespace {

// Writes the fixture's tokens into a poisoned paged cache with the cache operator, then runs the attention
// call.
void check_attention(const char* name, bool causal, int version) {
  Bound d;
  const Fixture& f = fixture(name);
  const Dims q = f.at("q").dims, kd = f.at("k").dims;
  const int64_t blocks = f.at("blocks").as<int64_t>()[0], tokens = kd[0], hk = kd[1], dim = kd[2];
  const Dims kv = f.at("kv_lens").as<int64_t>(), q_lens = f.at("q_lens").as<int64_t>();
  const auto table = f.at("table").as<int32_t>();
  const int64_t width = f.at("table").dims[1];
  std::vector<int32_t> slots;
  for (size_t s = 0; s < kv.size(); ++s)
    for (int64_t i = 0; i < kv[s]; ++i)
      slots.push_back(table[s * static_cast<size_t>(width) + static_cast<size_t>(i / 128)] * 128 +
                      static_cast<int32_t>(i % 128));
  Tensor k = f.at("k").upload(), v = f.at("v").upload(), slot({tokens}, ACL_INT32, slots);
  Buffer kc(static_cast<size_t>(blocks * 128 * hk * dim * 2)),
      vc(static_cast<size_t>(blocks * 128 * hk * dim * 2));
  Tensor k4({blocks, 128, hk, dim}, ACL_BF16, kc.at), v4({blocks, 128, hk, dim}, ACL_BF16, vc.at);
  OK(RUN(aclnnScatterPaKvCache, d.stream, k, k4, slot, v, v4, nullptr, nullptr, nullptr, nullptr, nullptr,
         nullptr, nullptr));
  aclTensor *k3 = make_tensor({blocks, 128, hk * dim}, ACL_BF16, kc.at),
            *v3 = make_tensor({blocks, 128, hk * dim}, ACL_BF16, vc.at);
  aclTensorList *keys = ACL(aclCreateTensorList)(&k3, 1), *values = ACL(aclCreateTensorList)(&v3, 1);
  std::vector<int8_t> upper(2048 * 2048);
  for (size_t i = 0; i < 2048; ++i)
    for (size_t j = i + 1; j < 2048; ++j) upper[i * 2048 + j] = 1;
  Tensor mask({2048, 2048}, ACL_INT8, upper), block_table = f.at("table").upload(),
                                              query = f.at("q").upload();
  Tensor out = like(f.at("q"), ACL_BF16);
  Dims ends;
  for (const int64_t n : q_lens) ends.push_back((ends.empty() ? 0 : ends.back()) + n);
  aclIntArray *lengths = ints(ends), *kv_lengths = ints(kv);
  char layout[] = "TND";
  aclTensor* m = causal ? mask.t : nullptr;
  const double scale = 1 / std::sqrt(static_cast<double>(dim));
  const int64_t far = 2147483647, mode = causal ? 3 : 0, none = 0;
  aclTensor* const n = nullptr;
  aclIntArray* const na = nullptr;
  if (version == 3)
    OK(RUN(aclnnFusedInferAttentionScoreV3, d.stream, query, keys, values, n, m, lengths, kv_lengths, n, n, n,
           n, n, n, n, block_table, n, n, n, n, n, n, n, n, na, n, n, n, q[1], scale, far, far, layout, hk,
           mode, none, int64_t{128}, none, false, none, none, out, n));
  if (version == 2)
    OK(RUN(aclnnFusedInferAttentionScoreV2, d.stream, query, keys, values, n, m, lengths, kv_lengths, n, n, n,
           n, n, n, n, block_table, n, n, n, n, n, n, n, n, na, q[1], scale, far, far, layout, hk, mode, none,
           int64_t{128}, none, false, none, none, out, n));
  if (version == 4)
    OK(RUN(aclnnFusedInferAttentionScoreV4, d.stream, query, keys, values, n, m, lengths, kv_lengths, n, n, n,
           n, n, n, n, block_table, n, n, n, n, n, n, n, n, na, n, n, n, n, n, q[1], scale, far, far, layout,
           hk, mode, none, int64_t{128}, none, false, none, none, none, out, n));
  CLOSE(out, f.at("y"), kUnit, 8e-3);
  for (aclIntArray* array : {lengths, kv_lengths}) OK(ACL(aclDestroyIntArray)(array));
  for (aclTensorList* list : {keys, values}) OK(ACL(aclDestroyTensorList)(list));
  CLEAN();
}

}  // namespace

TEST("attention: decode") {
  check_attention("attention_decode", true, 3);
}
TEST("attention: prefill chunks, decode and verification mixed") {
  check_attention("attention_mixed", true, 3);
}
TEST("attention: head dim 128, first chunk") {
  check_attention("attention_128", true, 3);
}
TEST("attention: no mask") {
  check_attention("attention_unmasked", false, 3);
}
TEST("attention: versions 2 and 4") {
  check_attention("attention_mixed", true, 2);
  check_attention("attention_mixed", true, 4);
}

TEST("dynamic quantisation") {
  Bound d;
  const Fixture& f = fixture("dynamic_quant");
  Tensor x = f.at("x").upload(), y = like(f.at("y"), ACL_INT8), scale = like(f.at("scale"), ACL_FLOAT);
  OK(RUN(aclnnDynamicQuant, d.stream, x, nullptr, y, scale));
  CLOSE(scale, f.at("scale"), 1e-6, 0);
  const auto got = y.buffer.read<int8_t>(), want = f.at("y").as<int8_t>();
  for (size_t i = 0; i < got.size(); ++i) CHECK(std::abs(got[i] - want[i]) <= 1);
  CLEAN();
}

TEST("int8 matrix products in three forms") {
  Bound d;
  const Fixture& f = fixture("quant_matmul");
  Tensor a = f.at("a").upload(), w = f.at("w").upload(), ws = f.at("ws").upload(), ts = f.at("ts").upload(),
         bias = f.at("bias").upload();
  aclTensor* const none = nullptr;
  Tensor y = like(f.at("y"), ACL_BF16);
  OK(RUN(aclnnQuantMatmulV5, d.stream, a, w, ts, ws, none, none, none, none, bias, false, true, int64_t{0},
         y));
  CLOSE(y, f.at("y"), kHalfUnit, 1e-5);
  Tensor y4 = like(f.at("y"), ACL_BF16);
  OK(RUN(aclnnQuantMatmulV4, d.stream, a, w, ws, none, ts, bias, false, true, y4));
  CLOSE(y4, f.at("y"), kHalfUnit, 1e-5);
  const int64_t n = f.at("w").dims[0], k = f.at("w").dims[1];
  Buffer packed(pack_nz(f.at("w"), 1));
  aclTensor* nz =
      make_tensor({n, k}, ACL_INT8, packed.at, {}, 0, ACL_FORMAT_FRACTAL_NZ, {k / 32, n / 16, 16, 32});
  Tensor y5 = like(f.at("y"), ACL_BF16);
  OK(RUN(aclnnQuantMatmulWeightNz, d.stream, a, nz, ts, ws, none, none, none, none, bias, false, true,
         int64_t{0}, y5));
  CLOSE(y5, f.at("y"), kHalfUnit, 1e-5);
  OK(ACL(aclDestroyTensor)(nz));
  CLEAN();
}

TEST("arg-max takes the first of equals; top-k and sort") {
  Bound d;
  const Fixture& f = fixture("argmax");
  Tensor x = f.at("x").upload(), y = like(f.at("y"), ACL_INT64);
  OK(RUN(aclnnArgMax, d.stream, x, int64_t{-1}, false, y));
  CHECK(y.buffer.read<int64_t>() == f.at("y").as<int64_t>());
  const Fixture& t = fixture("topk");
  Tensor tx = t.at("x").upload(), tv = like(t.at("v"), ACL_FLOAT), ti = like(t.at("i"), ACL_INT64);
  OK(RUN(aclnnTopk, d.stream, tx, int64_t{5}, int64_t{1}, true, true, tv, ti));
  CHECK(ti.buffer.read<int64_t>() == t.at("i").as<int64_t>());
  CLOSE(tv, t.at("v"), kExact, 0);
  const Fixture& s = fixture("sort");
  Tensor sx = s.at("x").upload(), sv = like(s.at("v"), ACL_FLOAT), si = like(s.at("i"), ACL_INT64);
  OK(RUN(aclnnSort, d.stream, sx, true, int64_t{1}, false, sv, si));
  CHECK(si.buffer.read<int64_t>() == s.at("i").as<int64_t>());
  CLEAN();
}

TEST("softmax, log-softmax, cumulative sum, top-k with top-p") {
  Bound d;
  const auto one = [&](const char* name, auto phase1, auto phase2, double room, auto... extra) {
    const Fixture& f = fixture(name);
    Tensor x = f.at("x").upload(), y = like(f.at("y"), ACL_FLOAT);
    OK(run_operator(phase1, phase2, d.stream, x.t, int64_t{-1}, extra..., y.t));
    CLOSE(y, f.at("y"), room, 1e-5);
  };
  one("softmax", ACL(aclnnSoftmaxGetWorkspaceSize), ACL(aclnnSoftmax), 1e-5);
  one("log_softmax", ACL(aclnnLogSoftmaxGetWorkspaceSize), ACL(aclnnLogSoftmax), 1e-5);
  one("cumsum", ACL(aclnnCumsumGetWorkspaceSize), ACL(aclnnCumsum), 1e-5, ACL_FLOAT);
  const Fixture& f = fixture("top_k_top_p");
  Tensor x = f.at("x").upload(), p = f.at("p").upload(), k = f.at("k").upload();
  OK(RUN(aclnnApplyTopKTopP, d.stream, x, p, k, x));
  CLOSE(x, f.at("y"), kExact, 0);
  CLEAN();
}

TEST("element-wise with broadcasting, casts, masks") {
  Bound d;
  One one;
  const auto check = [&](const char* name, auto&& call) {
    const Fixture& f = fixture(name);
    Tensor y = like(f.at("y"), ACL_BF16);
    OK(call(f, y));
    CLOSE(y, f.at("y"), kHalfUnit, 0);
  };
  check("add", [&](const Fixture& f, Tensor& y) {
    return RUN(aclnnAdd, d.stream, f.at("a").upload(), f.at("b").upload(), one, y);
  });
  check("sub", [&](const Fixture& f, Tensor& y) {
    return RUN(aclnnSub, d.stream, f.at("a").upload(), f.at("b").upload(), one, y);
  });
  check("mul", [&](const Fixture& f, Tensor& y) {
    return RUN(aclnnMul, d.stream, f.at("a").upload(), f.at("b").upload(), y);
  });
  check("div", [&](const Fixture& f, Tensor& y) {
    return RUN(aclnnDiv, d.stream, f.at("a").upload(), f.at("b").upload(), y);
  });
  check("where", [&](const Fixture& f, Tensor& y) {
    return RUN(aclnnSWhere, d.stream, f.at("m").upload(), f.at("x").upload(), f.at("o").upload(), y);
  });
  for (const char* name : {"cast_bf16", "cast_half", "cast_int"}) {
    const Fixture& f = fixture(name);
    Tensor x = f.at("x").upload(), y = like(f.at("y"), f.at("y").dtype);
    OK(RUN(aclnnCast, d.stream, x, f.at("y").dtype, y));
    CHECK(y.buffer.read<char>() == f.at("y").bytes);
  }
  const Fixture& f = fixture("masked_fill");
  Tensor x = f.at("x").upload(), m = f.at("m").upload();
  aclScalar* value = scalar(-7);
  OK(RUN(aclnnInplaceMaskedFillScalar, d.stream, x, m, value));
  CLOSE(x, f.at("y"), kExact, 0);
  OK(ACL(aclDestroyScalar)(value));
  CLEAN();
}

TEST("in-place forms equal the out-of-place ones") {
  Bound d;
  One one;
  const Fixture& f = fixture("add");
  Tensor x = f.at("a").upload(), row = f.at("b").upload();
  OK(RUN(aclnnInplaceAdd, d.stream, x, row, one));
  CLOSE(x, f.at("y"), kHalfUnit, 0);
  aclScalar* four = scalar(4);
  Tensor halves({3}, ACL_FLOAT, std::vector<float>{1, 2, -8});
  OK(RUN(aclnnInplaceDivs, d.stream, halves, four));
  CHECK((halves.buffer.read<float>() == std::vector<float>{0.25f, 0.5f, -2}));
  OK(RUN(aclnnInplaceMuls, d.stream, halves, four));
  OK(RUN(aclnnInplaceFillScalar, d.stream, halves, four));
  CHECK((halves.buffer.read<float>() == std::vector<float>{4, 4, 4}));
  OK(RUN(aclnnInplaceZero, d.stream, halves));
  CHECK((halves.buffer.read<float>() == std::vector<float>{0, 0, 0}));
  OK(ACL(aclDestroyScalar)(four));
  CLEAN();
}

TEST("moves: permute, slice, cat, split, embedding, gathers") {
  Bound d;
  const auto check = [&](const char* name, auto&& call) {
    const Fixture& f = fixture(name);
    Tensor y = like(f.at("y"), ACL_BF16);
    OK(call(f, y));
    CLOSE(y, f.at("y"), kExact, 0);
  };
  aclIntArray *order = ints({2, 0, 1}), *sizes = ints({64, 16, 16});
  check("permute", [&](const Fixture& f, Tensor& y) {
    return RUN(aclnnPermute, d.stream, f.at("x").upload(), order, y);
  });
  check("slice", [&](const Fixture& f, Tensor& y) {
    return RUN(aclnnSlice, d.stream, f.at("x").upload(), int64_t{2}, int64_t{1}, int64_t{9}, int64_t{3}, y);
  });
  check("cat", [&](const Fixture& f, Tensor& y) {
    Buffer a(f.at("a").bytes), b(f.at("b").bytes);
    aclTensor* parts[] = {make_tensor(f.at("a").dims, ACL_BF16, a.at),
                          make_tensor(f.at("b").dims, ACL_BF16, b.at)};
    aclTensorList* list = ACL(aclCreateTensorList)(parts, 2);
    const int status = RUN(aclnnCat, d.stream, list, int64_t{0}, y);
    ACL(aclDestroyTensorList)(list);
    return status;
  });
  check("embedding", [&](const Fixture& f, Tensor& y) {
    return RUN(aclnnEmbedding, d.stream, f.at("w").upload(), f.at("i").upload(), y);
  });
  check("index_select", [&](const Fixture& f, Tensor& y) {
    return RUN(aclnnIndexSelect, d.stream, f.at("w").upload(), int64_t{0}, f.at("i").upload(), y);
  });
  check("index_select", [&](const Fixture& f, Tensor& y) {
    return RUN(aclnnGatherV2, d.stream, f.at("w").upload(), int64_t{0}, f.at("i").upload(), y);
  });
  check("gather", [&](const Fixture& f, Tensor& y) {
    return RUN(aclnnGather, d.stream, f.at("w").upload(), int64_t{1}, f.at("i").upload(), y);
  });
  const Fixture& f = fixture("split");
  Buffer a(5 * 64 * 2), b(5 * 16 * 2), c(5 * 16 * 2);
  aclTensor* parts[] = {make_tensor({5, 64}, ACL_BF16, a.at), make_tensor({5, 16}, ACL_BF16, b.at),
                        make_tensor({5, 16}, ACL_BF16, c.at)};
  aclTensorList* list = ACL(aclCreateTensorList)(parts, 3);
  OK(RUN(aclnnSplitWithSize, d.stream, f.at("x").upload(), sizes, int64_t{1}, list));
  OK(ACL(aclDestroyTensorList)(list));
  Tensor ta({5, 64}, ACL_BF16, std::move(a)), tb({5, 16}, ACL_BF16, std::move(b)),
      tc({5, 16}, ACL_BF16, std::move(c));
  CLOSE(ta, f.at("a"), kExact, 0);
  CLOSE(tb, f.at("b"), kExact, 0);
  CLOSE(tc, f.at("c"), kExact, 0);
  OK(ACL(aclDestroyIntArray)(order));
  OK(ACL(aclDestroyIntArray)(sizes));
  CLEAN();
}

TEST("cache writers: slots below zero are skipped, fallbacks write the same rows, pages are gathered back") {
  Bound d;
  const std::vector<uint16_t> rows = {1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16,
                                      21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36};
  Tensor k({2, 1, 16}, ACL_BF16, rows), v({2, 1, 16}, ACL_BF16, rows);
  const std::vector<uint16_t> zeros(3 * 2 * 16);
  Tensor kc({3, 2, 1, 16}, ACL_BF16, zeros), vc({3, 2, 1, 16}, ACL_BF16, zeros),
      slots({2}, ACL_INT32, std::vector<int32_t>{-1, 3});
  OK(RUN(aclnnScatterPaKvCache, d.stream, k, kc, slots, v, vc, nullptr, nullptr, nullptr, nullptr, nullptr,
         nullptr, nullptr));
  const auto cache = kc.buffer.read<uint16_t>();
  CHECK_EQ(cache[0], 0);
  CHECK_EQ(cache[3 * 16], 21);
  Tensor flat({6, 16}, ACL_BF16, zeros), index({1, 1}, ACL_INT64, std::vector<int64_t>{3}),
      index1({1}, ACL_INT64, std::vector<int64_t>{3});
  aclTensor* second = make_tensor({1, 16}, ACL_BF16, k.buffer.at, {16, 1}, 16, ACL_FORMAT_ND, {2, 16});
  OK(RUN(aclnnScatterNdUpdate, d.stream, flat, index, second));
  CHECK(flat.buffer.read<uint16_t>() == cache);
  Tensor flat2({6, 16}, ACL_BF16, zeros);
  OK(RUN(aclnnInplaceIndexCopy, d.stream, flat2, int64_t{0}, index1, second));
  CHECK(flat2.buffer.read<uint16_t>() == cache);
  Tensor table({1, 2}, ACL_INT32, std::vector<int32_t>{1, 0}),
      length({1}, ACL_INT32, std::vector<int32_t>{2});
  Tensor gk = Tensor::empty({2, 1, 16}, ACL_BF16, 2), gv = Tensor::empty({2, 1, 16}, ACL_BF16, 2);
  OK(RUN(aclnnGatherPaKvCache, d.stream, kc, vc, table, length, gk, gv, nullptr, nullptr, false));
  CHECK_EQ(gk.buffer.read<uint16_t>()[16], 21);
  OK(ACL(aclDestroyTensor)(second));
  CLEAN();
}

HARNESS_MAIN
