// Row-wise operators and moves against PyTorch's results (fixtures.bin), within each operator's rounding.
// Products are in ops_products_test.cc, attention in ops_attention_test.cc; all three are one executable.

#include "fixture.h"

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

HARNESS_MAIN
