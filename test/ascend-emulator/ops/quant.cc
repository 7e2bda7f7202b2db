// Dynamic and static activation quantisation, int8 matrix products.

#include <algorithm>
#include <cmath>
#include <string>

#include "abi/aclnn.h"
#include "ops/matmul.h"
#include "ops/quantise.h"

namespace emu {

int64_t to_int8(float value) {
  if (value != value) return 0;
  return static_cast<int64_t>(std::clamp(std::nearbyint(value), -128.0f, 127.0f));
}

void quantise_rows(const Floats& x, const Floats& smooth, int64_t width, Operand& y, Operand& scale) {
  const auto w = static_cast<size_t>(width);
  Ints out(x.size());
  Floats scales;
  for (size_t row = 0; row < x.size(); row += w) {
    Floats t(x.begin() + static_cast<ptrdiff_t>(row), x.begin() + static_cast<ptrdiff_t>(row + w));
    for (size_t i = 0; i < smooth.size(); ++i) t[i] *= smooth[i];
    float high = 0;
    for (const float v : t) high = v != v || high != high ? NAN : std::max(high, std::fabs(v));
    const float s = high / 127.0f;
    scales.push_back(s);
    for (size_t i = 0; i < w; ++i) out[row + i] = s == 0 ? 0 : to_int8(t[i] / s);
  }
  write_ints(y, out);
  write_floats(scale, scales);
}

namespace {

constexpr int64_t kMaxLast = 65535;

struct QuantMatmul {
  bool transposed = false;
  // Positions among the inputs; -1 when the operator has no such argument.
  int x2_scale = 2, offset = 3, x1_scale = 4, bias = 5;
};

std::vector<int8_t> read_int8(const Operand& operand, bool columns) {
  const Floats values = columns ? columns_as_rows(operand) : read_floats(operand);
  return {values.begin(), values.end()};
}

void run(Frame& k, const QuantMatmul& q) {
  const Operand& a = k.input(0);
  const Operand& w = k.input(1);
  const int64_t m = a.dim(0), inner = a.dim(1), n = q.transposed ? w.dim(0) : w.dim(1);
  const std::vector<int32_t> c = multiply_rows(read_int8(a, false), read_int8(w, !q.transposed), m, n, inner);
  k.flops += static_cast<uint64_t>(2 * m * n * inner);
  const auto floats = [&](int at) {
    return at >= 0 && k.has(static_cast<size_t>(at)) ? read_floats(k.input(static_cast<size_t>(at)))
                                                     : Floats();
  };
  const Floats weight_scale = floats(q.x2_scale), token_scale = floats(q.x1_scale);
  const bool has_bias = k.has(static_cast<size_t>(q.bias));
  const bool int_bias = has_bias && k.input(static_cast<size_t>(q.bias)).dtype() == ACL_INT32;
  const Ints bias_i = int_bias ? read_ints(k.input(static_cast<size_t>(q.bias))) : Ints();
  const Floats bias_f = has_bias && !int_bias ? floats(q.bias) : Floats();
  Floats out(c.size());
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) {
      const auto at = static_cast<size_t>(i * n + j), col = static_cast<size_t>(j);
      const int64_t sum = c[at] + (int_bias ? bias_i[col] : 0);
      float v = static_cast<float>(sum) * weight_scale[weight_scale.size() == 1 ? 0 : col];
      if (!token_scale.empty()) v *= token_scale[static_cast<size_t>(i)];
      if (!bias_f.empty()) v += bias_f[col];
      out[at] = v;
    }
  if (k.output(0).dtype() == ACL_INT8)
    for (float& v : out) v = static_cast<float>(to_int8(v));
  write_floats(k.output(0), out);
}

struct QuantArguments {
  const aclTensor *x1, *x2, *x1_scale, *x2_scale, *bias, *out;
};

void check_scales(const QuantArguments& t, int64_t m, int64_t n) {
  expect_rank(t.x2_scale, "x2Scale", 1, 1);
  require(t.x2_scale->dims[0] == 1 || t.x2_scale->dims[0] == n, kParamBad, "x2Scale has ",
          t.x2_scale->dims[0], " elements, expected 1 or ", n);
  expect_shape(t.x1_scale, "x1Scale", {m});
  expect_dtype(t.x1_scale, "x1Scale", {ACL_FLOAT});
  expect_shape(t.bias, "bias", {n});
}

// The combinations of scale, bias and out dtypes that A2 has.
void check_types(const QuantArguments& t) {
  expect_dtype(t.out, "out", {ACL_BF16, ACL_FLOAT16, ACL_INT32});
  const bool bf16 = t.out->dtype == ACL_BF16;
  if (bf16) {
    expect_dtype(t.x2_scale, "x2Scale", {ACL_FLOAT, ACL_BF16});
    expect_dtype(t.bias, "bias", {ACL_INT32, ACL_BF16, ACL_FLOAT});
  } else if (t.out->dtype == ACL_FLOAT16) {
    require(t.x1_scale, kParamBad, "fp16 out needs x1Scale (or a uint64 x2Scale, not supported here)");
    expect_dtype(t.x2_scale, "x2Scale", {ACL_FLOAT});
    expect_dtype(t.bias, "bias", {ACL_INT32, ACL_FLOAT16, ACL_FLOAT});
  } else {
    require(!t.x1_scale, kParamBad, "int32 out takes no x1Scale");
    expect_dtype(t.x2_scale, "x2Scale", {ACL_FLOAT, ACL_BF16});
    expect_dtype(t.bias, "bias", {ACL_INT32});
  }
}

void check_matrices(const QuantArguments& t, bool transposed, bool nz) {
  expect_dtype(t.x1, "x1", {ACL_INT8});
  expect_dtype(t.x2, "x2", {ACL_INT8});
  expect_rank(t.x1, "x1", 2, 2);
  expect_rank(t.x2, "x2", 2, 2);
  expect_contiguous(t.x1, "x1");
  require(t.x1->dims[1] <= kMaxLast, kParamBad, "the last dim of x1 is ", t.x1->dims[1], ", at most ",
          kMaxLast);
  require(t.x2->dims[1] <= kMaxLast, kParamBad, "the last dim of x2 is ", t.x2->dims[1], ", at most ",
          kMaxLast);
  if (nz) {
    expect_nz(t.x2, "x2");
    require(t.x2->dims[0] % 32 == 0 || t.x2->dims[0] % 16 == 0, kParamBad, "x2 ", shape_text(t.x2->dims),
            " is not whole blocks");
  } else {
    expect_contiguous(t.x2, "x2");
  }
  const int64_t inner = transposed ? t.x2->dims[1] : t.x2->dims[0],
                n = transposed ? t.x2->dims[0] : t.x2->dims[1];
  require(t.x1->dims[1] == inner, kParamBad, "x1 ", shape_text(t.x1->dims), " with x2 ",
          shape_text(t.x2->dims), transposed ? " transposed" : "");
  expect_shape(t.out, "out", {t.x1->dims[0], n});
  check_scales(t, t.x1->dims[0], n);
  check_types(t);
}

void build(Builder& b, const QuantArguments& t, const QuantMatmul& q, bool transpose_x1, bool nz) {
  require(t.x2_scale, kParamNull, "x2Scale is null");
  require(!transpose_x1, kParamBad, "transposeX1 must be false");
  check_matrices(t, q.transposed, nz);
  b.workspace(256);
  b.kernel([q](Frame& k) { run(k, q); });
}

// V5 and the NZ form have one parameter list.
void build_v5(Builder& b, const QuantArguments& t, const aclTensor* y_scale, const aclTensor* x1_offset,
              const aclTensor* x2_offset, const aclTensor* y_offset, bool transpose_x1, bool transpose_x2,
              int64_t group, bool nz) {
  b.in(t.x1, "x1");
  b.in(t.x2, "x2");
  b.in(t.x1_scale, "x1Scale", Need::kOptional);
  b.in(t.x2_scale, "x2Scale");
  b.in(y_scale, "yScale", Need::kOptional);
  b.in(x1_offset, "x1Offset", Need::kOptional);
  b.in(x2_offset, "x2Offset", Need::kOptional);
  b.in(y_offset, "yOffset", Need::kOptional);
  b.in(t.bias, "bias", Need::kOptional);
  b.out(t.out, "out");
  require(!y_scale && !x1_offset && !y_offset, kParamBad, "yScale, x1Offset and yOffset must be null");
  require(!x2_offset, kParamBad, "x2Offset is for int8 output only");
  require(group == 0, kParamBad, "groupSize must be 0, is ", group);
  QuantMatmul q;
  q.transposed = transpose_x2;
  q.x1_scale = 2;
  q.x2_scale = 3;
  q.offset = 6;
  q.bias = 8;
  build(b, t, q, transpose_x1, nz);
}

}  // namespace
}  // namespace emu

using namespace emu;

extern "C" {

aclnnStatus aclnnDynamicQuantGetWorkspaceSize(const aclTensor* x, const aclTensor* smoothScalesOptional,
                                              const aclTensor* yOut, const aclTensor* scaleOut,
                                              uint64_t* workspaceSize, aclOpExecutor** executor) {
  return phase1("aclnnDynamicQuantGetWorkspaceSize", "aclnnDynamicQuant", workspaceSize, executor,
                args(x, smoothScalesOptional, yOut, scaleOut), [&](Builder& b) {
                  b.in(x, "x");
                  b.in(smoothScalesOptional, "smoothScalesOptional", Need::kOptional);
                  b.out(yOut, "yOut");
                  b.out(scaleOut, "scaleOut");
                  expect_dtype(x, "x", {ACL_BF16, ACL_FLOAT16});
                  expect_rank(x, "x", 2, 8);
                  expect_same_dtype(x, smoothScalesOptional, "x and smoothScales");
                  expect_shape(smoothScalesOptional, "smoothScalesOptional", {x->dims.back()});
                  expect_dtype(yOut, "yOut", {ACL_INT8});
                  expect_shape(yOut, "yOut", x->dims);
                  expect_dtype(scaleOut, "scaleOut", {ACL_FLOAT});
                  expect_shape(scaleOut, "scaleOut", Dims(x->dims.begin(), x->dims.end() - 1));
                  const int64_t width = x->dims.back();
                  b.workspace(64);
                  b.kernel([width](Frame& k) {
                    quantise_rows(read_floats(k.input(0)), k.has(1) ? read_floats(k.input(1)) : Floats(),
                                  width, k.output(0), k.output(1));
                  });
                });
}
EMU_PHASE2(aclnnDynamicQuant)

aclnnStatus aclnnAscendQuantGetWorkspaceSize(const aclTensor* x, const aclTensor* scale,
                                             const aclTensor* offset, bool sqrtMode, const char* roundMode,
                                             int32_t dstType, const aclTensor* y, uint64_t* workspaceSize,
                                             aclOpExecutor** executor) {
  return phase1("aclnnAscendQuantGetWorkspaceSize", "aclnnAscendQuant", workspaceSize, executor,
                args(x, scale, offset, sqrtMode, roundMode, dstType, y), [&](Builder& b) {
                  b.in(x, "x");
                  b.in(scale, "scale");
                  b.in(offset, "offset", Need::kOptional);
                  b.out(y, "y");
                  expect_dtype(x, "x", {ACL_FLOAT, ACL_FLOAT16, ACL_BF16});
                  expect_same_dtype(scale, offset, "scale and offset");
                  expect_dtype(y, "y", {ACL_INT8});
                  expect_shape(y, "y", x->dims);
                  require(dstType == ACL_INT8, kParamBad, "dstType ", dstType, ", only int8 here");
                  const int64_t n = element_count(scale->dims);
                  require(n == 1 || n == x->dims.back(), kParamBad, "scale has ", n, " elements");
                  require(roundMode, kParamNull, "roundMode is null");
                  const std::string mode = roundMode;
                  require(mode == "round" || mode == "floor" || mode == "ceil" || mode == "trunc", kParamBad,
                          "unknown roundMode ", mode);
                  b.kernel([mode, sqrtMode](Frame& k) {
                    const Floats v = read_floats(k.input(0)), s = read_floats(k.input(1));
                    const Floats o = k.has(2) ? read_floats(k.input(2)) : Floats(s.size(), 0);
                    Ints out(v.size());
                    for (size_t i = 0; i < v.size(); ++i) {
                      const size_t c = s.size() == 1 ? 0 : i % s.size();
                      float t = v[i] * s[c] * (sqrtMode ? s[c] : 1) + o[o.size() == 1 ? 0 : c];
                      if (mode == "floor") t = std::floor(t);
                      if (mode == "ceil") t = std::ceil(t);
                      if (mode == "trunc") t = std::trunc(t);
                      out[i] = to_int8(t);
                    }
                    write_ints(k.output(0), out);
                  });
                });
}
EMU_PHASE2(aclnnAscendQuant)

aclnnStatus aclnnQuantMatmulV4GetWorkspaceSize(const aclTensor* x1, const aclTensor* x2,
                                               const aclTensor* scale, const aclTensor* offset,
                                               const aclTensor* pertokenScaleOptional, const aclTensor* bias,
                                               bool transposeX1, bool transposeX2, const aclTensor* out,
                                               uint64_t* workspaceSize, aclOpExecutor** executor) {
  return phase1("aclnnQuantMatmulV4GetWorkspaceSize", "aclnnQuantMatmulV4", workspaceSize, executor,
                args(x1, x2, scale, offset, pertokenScaleOptional, bias, transposeX1, transposeX2, out),
                [&](Builder& b) {
                  b.in(x1, "x1");
                  b.in(x2, "x2");
                  b.in(scale, "scale");
                  b.in(offset, "offset", Need::kOptional);
                  b.in(pertokenScaleOptional, "pertokenScaleOptional", Need::kOptional);
                  b.in(bias, "bias", Need::kOptional);
                  b.out(out, "out");
                  require(!offset, kParamBad, "offset is for int8 output only");
                  QuantMatmul q;
                  q.transposed = transposeX2;
                  build(b, {x1, x2, pertokenScaleOptional, scale, bias, out}, q, transposeX1,
                        x2->format == ACL_FORMAT_FRACTAL_NZ);
                });
}
EMU_PHASE2(aclnnQuantMatmulV4)

#define EMU_QUANT_MATMUL(op, nz)                                                                            \
  aclnnStatus op##GetWorkspaceSize(                                                                         \
      const aclTensor* x1, const aclTensor* x2, const aclTensor* x1Scale, const aclTensor* x2Scale,         \
      const aclTensor* yScale, const aclTensor* x1Offset, const aclTensor* x2Offset,                        \
      const aclTensor* yOffset, const aclTensor* bias, bool transposeX1, bool transposeX2,                  \
      int64_t groupSize, aclTensor* out, uint64_t* workspaceSize, aclOpExecutor** executor) {               \
    return phase1(#op "GetWorkspaceSize", #op, workspaceSize, executor,                                     \
                  args(x1, x2, x1Scale, x2Scale, bias, transposeX1, transposeX2, groupSize,                 \
                       static_cast<const aclTensor*>(out)),                                                 \
                  [&](Builder& b) {                                                                         \
                    build_v5(b, {x1, x2, x1Scale, x2Scale, bias, out}, yScale, x1Offset, x2Offset, yOffset, \
                             transposeX1, transposeX2, groupSize, nz);                                      \
                  });                                                                                       \
  }                                                                                                         \
  EMU_PHASE2(op)

EMU_QUANT_MATMUL(aclnnQuantMatmulV5, false)
EMU_QUANT_MATMUL(aclnnQuantMatmulWeightNz, true)

}  // extern "C"
