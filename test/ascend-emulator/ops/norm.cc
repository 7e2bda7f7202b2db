// RMSNorm family, SwiGLU, dequantising SwiGLU.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <numeric>
#include <string>

#include "abi/aclnn.h"
#include "ops/numeric.h"
#include "ops/op.h"
#include "ops/quantise.h"
#include "ops/values.h"

namespace emu {
namespace {

constexpr Dtypes kFloatTypes = {ACL_FLOAT, ACL_FLOAT16, ACL_BF16};

float round_to(float value, aclDataType dtype) {
  if (dtype == ACL_BF16) return round_bf16(value);
  if (dtype == ACL_FLOAT16) return half_to_float(float_to_half(value));
  return value;
}

float reciprocal_rms(const float* x, int64_t width, double epsilon) {
  float sum = 0;
  for (int64_t i = 0; i < width; ++i) sum += x[i] * x[i];
  return 1.0f / std::sqrt(sum / static_cast<float>(width) + static_cast<float>(epsilon));
}

Dims rstd_shape(const aclTensor* x, const aclTensor* gamma) {
  Dims shape = x->dims;
  for (size_t i = 0; i < gamma->dims.size(); ++i) shape[shape.size() - 1 - i] = 1;
  return shape;
}

void check_gamma(const aclTensor* x, const aclTensor* gamma) {
  expect_rank(x, "x", 1, 8);
  require(gamma->dims.size() <= x->dims.size() && !gamma->dims.empty() &&
              std::equal(gamma->dims.rbegin(), gamma->dims.rend(), x->dims.rbegin()),
          kParamBad, "gamma ", shape_text(gamma->dims), " is not the trailing dims of x ",
          shape_text(x->dims));
}

// y = rms_norm(x1 + x2) * gamma with AddRmsNorm's rounding: the sum is rounded for xOut but normalised
// unrounded; the normalised value is rounded before gamma is applied.
void add_norm_row(const float* a, const float* b, const float* gamma, int64_t width, double epsilon,
                  aclDataType dtype, float* sum, float* y, float* rstd) {
  for (int64_t i = 0; i < width; ++i) sum[i] = a[i] + b[i];
  *rstd = reciprocal_rms(sum, width, epsilon);
  for (int64_t i = 0; i < width; ++i) y[i] = round_to(sum[i] * *rstd, dtype) * gamma[i];
}

struct AddNorm {
  Floats y, sum, rstd;
};

AddNorm add_norm(const Operand& x1, const Operand& x2, const Operand& gamma, double epsilon) {
  const Floats a = read_floats(x1), b = read_floats(x2), g = read_floats(gamma);
  const auto width = static_cast<int64_t>(g.size());
  const int64_t rows = width ? static_cast<int64_t>(a.size()) / width : 0;
  AddNorm out{Floats(a.size()), Floats(a.size()), Floats(static_cast<size_t>(rows))};
  for (int64_t r = 0; r < rows; ++r)
    add_norm_row(a.data() + r * width, b.data() + r * width, g.data(), width, epsilon, x1.dtype(),
                 out.sum.data() + r * width, out.y.data() + r * width, &out.rstd[static_cast<size_t>(r)]);
  return out;
}

void check_add_norm(const aclTensor* x1, const aclTensor* x2, const aclTensor* gamma) {
  expect_dtype(x1, "x1", kFloatTypes);
  expect_same_dtype(x1, x2, "x1 and x2");
  expect_same_dtype(x1, gamma, "x1 and gamma");
  expect_shape(x2, "x2", x1->dims);
  check_gamma(x1, gamma);
}

void check_like(const aclTensor* t, const char* name, const aclTensor* x) {
  expect_shape(t, name, x->dims);
  expect_contiguous(t, name);
  if (t->dtype != x->dtype)
    refuse(kParamBad, name, " is ", dtype_name(t->dtype), ", x is ", dtype_name(x->dtype));
}

void check_rstd(const aclTensor* rstd, const aclTensor* x, const aclTensor* gamma) {
  expect_dtype(rstd, "rstdOut", {ACL_FLOAT});
  expect_shape(rstd, "rstdOut", rstd_shape(x, gamma));
  expect_contiguous(rstd, "rstdOut");
}

}  // namespace
}  // namespace emu

using namespace emu;

extern "C" {

aclnnStatus aclnnRmsNormGetWorkspaceSize(const aclTensor* x, const aclTensor* gamma, double epsilon,
                                         const aclTensor* yOut, const aclTensor* rstdOut,
                                         uint64_t* workspaceSize, aclOpExecutor** executor) {
  return phase1("aclnnRmsNormGetWorkspaceSize", "aclnnRmsNorm", workspaceSize, executor,
                args(x, gamma, epsilon, yOut, rstdOut), [&](Builder& b) {
                  b.in(x, "x");
                  b.in(gamma, "gamma");
                  b.out(yOut, "yOut");
                  b.out(rstdOut, "rstdOut");
                  expect_dtype(x, "x", kFloatTypes);
                  require(gamma->dtype == x->dtype || gamma->dtype == ACL_FLOAT, kParamBad, "gamma is ",
                          dtype_name(gamma->dtype), ", x is ", dtype_name(x->dtype));
                  check_gamma(x, gamma);
                  check_like(yOut, "yOut", x);
                  check_rstd(rstdOut, x, gamma);
                  b.workspace(32);
                  b.kernel([epsilon](Frame& k) {
                    Floats v = read_floats(k.input(0));
                    const Floats g = read_floats(k.input(1));
                    const auto width = static_cast<int64_t>(g.size());
                    Floats rstd;
                    for (size_t at = 0; at < v.size(); at += g.size()) {
                      rstd.push_back(reciprocal_rms(v.data() + at, width, epsilon));
                      for (size_t i = 0; i < g.size(); ++i) v[at + i] = v[at + i] * rstd.back() * g[i];
                    }
                    write_floats(k.output(0), v);
                    write_floats(k.output(1), rstd);
                  });
                });
}
EMU_PHASE2(aclnnRmsNorm)

aclnnStatus aclnnAddRmsNormGetWorkspaceSize(const aclTensor* x1, const aclTensor* x2, const aclTensor* gamma,
                                            double epsilon, aclTensor* yOut, aclTensor* rstdOut,
                                            aclTensor* xOut, uint64_t* workspaceSize,
                                            aclOpExecutor** executor) {
  return phase1("aclnnAddRmsNormGetWorkspaceSize", "aclnnAddRmsNorm", workspaceSize, executor,
                args(x1, x2, gamma, epsilon, static_cast<const aclTensor*>(yOut),
                     static_cast<const aclTensor*>(rstdOut), static_cast<const aclTensor*>(xOut)),
                [&](Builder& b) {
                  b.in(x1, "x1");
                  b.in(x2, "x2");
                  b.in(gamma, "gamma");
                  b.out(yOut, "yOut");
                  b.out(rstdOut, "rstdOut");
                  b.out(xOut, "xOut");
                  check_add_norm(x1, x2, gamma);
                  check_like(yOut, "yOut", x1);
                  check_like(xOut, "xOut", x1);
                  check_rstd(rstdOut, x1, gamma);
                  b.workspace(32);
                  b.kernel([epsilon](Frame& k) {
                    const AddNorm n = add_norm(k.input(0), k.input(1), k.input(2), epsilon);
                    write_floats(k.output(0), n.y);
                    write_floats(k.output(1), n.rstd);
                    write_floats(k.output(2), n.sum);
                  });
                });
}
EMU_PHASE2(aclnnAddRmsNorm)

aclnnStatus aclnnInplaceAddRmsNormGetWorkspaceSize(aclTensor* x1Ref, aclTensor* x2Ref, const aclTensor* gamma,
                                                   double epsilon, const aclTensor* rstdOut,
                                                   uint64_t* workspaceSize, aclOpExecutor** executor) {
  return phase1("aclnnInplaceAddRmsNormGetWorkspaceSize", "aclnnInplaceAddRmsNorm", workspaceSize, executor,
                args(static_cast<const aclTensor*>(x1Ref), static_cast<const aclTensor*>(x2Ref), gamma,
                     epsilon, rstdOut),
                [&](Builder& b) {
                  b.inout(x1Ref, "x1Ref");
                  b.inout(x2Ref, "x2Ref");
                  b.in(gamma, "gamma");
                  b.out(rstdOut, "rstdOut");
                  check_add_norm(x1Ref, x2Ref, gamma);
                  check_rstd(rstdOut, x1Ref, gamma);
                  b.workspace(32);
                  b.kernel([epsilon](Frame& k) {
                    const AddNorm n = add_norm(k.input(0), k.input(1), k.input(2), epsilon);
                    write_floats(k.output(0), n.y);
                    write_floats(k.output(1), n.sum);
                    write_floats(k.output(2), n.rstd);
                  });
                });
}
EMU_PHASE2(aclnnInplaceAddRmsNorm)

aclnnStatus aclnnAddRmsNormDynamicQuantGetWorkspaceSize(const aclTensor* x1, const aclTensor* x2,
                                                        const aclTensor* gamma,
                                                        const aclTensor* smoothScale1Optional,
                                                        const aclTensor* smoothScale2Optional, double epsilon,
                                                        aclTensor* y1Out, aclTensor* y2Out, aclTensor* xOut,
                                                        aclTensor* scale1Out, aclTensor* scale2Out,
                                                        uint64_t* workspaceSize, aclOpExecutor** executor) {
  return phase1("aclnnAddRmsNormDynamicQuantGetWorkspaceSize", "aclnnAddRmsNormDynamicQuant", workspaceSize,
                executor,
                args(x1, x2, gamma, smoothScale1Optional, smoothScale2Optional, epsilon,
                     static_cast<const aclTensor*>(y1Out), static_cast<const aclTensor*>(y2Out),
                     static_cast<const aclTensor*>(xOut), static_cast<const aclTensor*>(scale1Out),
                     static_cast<const aclTensor*>(scale2Out)),
                [&](Builder& b) {
                  b.in(x1, "x1");
                  b.in(x2, "x2");
                  b.in(gamma, "gamma");
                  b.in(smoothScale1Optional, "smoothScale1Optional", Need::kOptional);
                  b.in(smoothScale2Optional, "smoothScale2Optional", Need::kOptional);
                  b.out(y1Out, "y1Out");
                  b.out(y2Out, "y2Out");
                  b.out(xOut, "xOut");
                  b.out(scale1Out, "scale1Out");
                  b.out(scale2Out, "scale2Out");
                  expect_dtype(x1, "x1", {ACL_FLOAT16, ACL_BF16});
                  check_add_norm(x1, x2, gamma);
                  expect_rank(gamma, "gamma", 1, 1);
                  require(smoothScale1Optional || !smoothScale2Optional, kParamBad,
                          "smoothScale2 without smoothScale1");
                  expect_shape(smoothScale1Optional, "smoothScale1Optional", gamma->dims);
                  expect_shape(smoothScale2Optional, "smoothScale2Optional", gamma->dims);
                  check_like(xOut, "xOut", x1);
                  const Dims rows(x1->dims.begin(), x1->dims.end() - 1);
                  const auto check_pair = [&](const aclTensor* y, const aclTensor* scale, bool real) {
                    expect_dtype(y, "yOut", {ACL_INT8});
                    expect_dtype(scale, "scaleOut", {ACL_FLOAT});
                    if (real) expect_shape(y, "yOut", x1->dims);
                    if (real) expect_shape(scale, "scaleOut", rows);
                  };
                  const bool two = smoothScale2Optional != nullptr;
                  check_pair(y1Out, scale1Out, true);
                  check_pair(y2Out, scale2Out, two);
                  b.workspace(64);
                  b.kernel([epsilon, two](Frame& k) {
                    const AddNorm n = add_norm(k.input(0), k.input(1), k.input(2), epsilon);
                    const auto width = static_cast<int64_t>(k.input(2).count());
                    Floats y = n.y;
                    for (float& v : y) v = round_to(v, k.input(0).dtype());
                    const Floats smooth1 = k.has(3) ? read_floats(k.input(3)) : Floats();
                    quantise_rows(y, smooth1, width, k.output(0), k.output(3));
                    if (two) quantise_rows(y, read_floats(k.input(4)), width, k.output(1), k.output(4));
                    write_floats(k.output(2), n.sum);
                  });
                });
}
EMU_PHASE2(aclnnAddRmsNormDynamicQuant)

aclnnStatus aclnnSwiGluGetWorkspaceSize(const aclTensor* x, int64_t dim, const aclTensor* out,
                                        uint64_t* workspaceSize, aclOpExecutor** executor) {
  return phase1("aclnnSwiGluGetWorkspaceSize", "aclnnSwiGlu", workspaceSize, executor, args(x, dim, out),
                [&](Builder& b) {
                  b.in(x, "x");
                  b.out(out, "out");
                  expect_dtype(x, "x", kFloatTypes);
                  expect_same_dtype(x, out, "x and out");
                  expect_rank(x, "x", 1, 8);
                  expect_contiguous(x, "x");
                  expect_contiguous(out, "out");
                  const auto d = static_cast<size_t>(normal_dim(dim, x->dims.size()));
                  require(x->dims[d] % 2 == 0, kParamBad, "the split dim is odd: ", x->dims[d]);
                  Dims shape = x->dims;
                  shape[d] /= 2;
                  expect_shape(out, "out", shape);
                  const int64_t inner = std::accumulate(shape.begin() + static_cast<ptrdiff_t>(d),
                                                        shape.end(), int64_t{1}, std::multiplies<>());
                  b.kernel([inner](Frame& k) {
                    const Floats v = read_floats(k.input(0));
                    Floats y(v.size() / 2);
                    const auto half = static_cast<size_t>(inner);
                    for (size_t i = 0; i < y.size(); ++i) {
                      const size_t at = i / half * 2 * half + i % half;
                      y[i] = v[at] / (1 + std::exp(-v[at])) * v[at + half];
                    }
                    write_floats(k.output(0), y);
                  });
                });
}
EMU_PHASE2(aclnnSwiGlu)

aclnnStatus aclnnDequantSwigluQuantGetWorkspaceSize(
    const aclTensor* x, const aclTensor* weightScaleOptional, const aclTensor* activationScaleOptional,
    const aclTensor* biasOptional, const aclTensor* quantScaleOptional, const aclTensor* quantOffsetOptional,
    const aclTensor* groupIndexOptional, bool activateLeft, char* quantModeOptional, const aclTensor* yOut,
    const aclTensor* scaleOut, uint64_t* workspaceSize, aclOpExecutor** executor) {
  return phase1(
      "aclnnDequantSwigluQuantGetWorkspaceSize", "aclnnDequantSwigluQuant", workspaceSize, executor,
      args(x, weightScaleOptional, activationScaleOptional, biasOptional, quantScaleOptional,
           quantOffsetOptional, groupIndexOptional, activateLeft, quantModeOptional, yOut, scaleOut),
      [&](Builder& b) {
        b.in(x, "x");
        b.in(weightScaleOptional, "weightScale", Need::kOptional);
        b.in(activationScaleOptional, "activationScale", Need::kOptional);
        b.in(biasOptional, "bias", Need::kOptional);
        b.in(quantScaleOptional, "quantScale", Need::kOptional);
        b.in(quantOffsetOptional, "quantOffset", Need::kOptional);
        b.in(groupIndexOptional, "groupIndex", Need::kOptional);
        b.out(yOut, "yOut");
        b.out(scaleOut, "scaleOut");
        expect_dtype(x, "x", {ACL_INT32, ACL_BF16, ACL_FLOAT16});
        expect_rank(x, "x", 2, 2);
        expect_contiguous(x, "x");
        const int64_t t = x->dims[0], h = x->dims[1] / 2;
        require((x->dtype == ACL_INT32) == (weightScaleOptional != nullptr), kParamBad,
                "weightScale goes with int32 x");
        require((x->dtype == ACL_INT32) == (activationScaleOptional != nullptr), kParamBad,
                "activationScale goes with int32 x");
        expect_shape(weightScaleOptional, "weightScale", {2 * h});
        expect_dtype(weightScaleOptional, "weightScale", {ACL_FLOAT});
        require(!activationScaleOptional || element_count(activationScaleOptional->dims) == t, kParamBad,
                "activationScale has ",
                activationScaleOptional ? shape_text(activationScaleOptional->dims) : "");
        require(!biasOptional && !groupIndexOptional && !quantOffsetOptional, kParamBad,
                "bias, groupIndex and quantOffset are not supported here");
        require(quantModeOptional && std::string(quantModeOptional) == "dynamic", kParamBad,
                "only \"dynamic\" is supported here");
        expect_dtype(yOut, "yOut", {ACL_INT8});
        expect_shape(yOut, "yOut", {t, h});
        expect_dtype(scaleOut, "scaleOut", {ACL_FLOAT});
        expect_shape(scaleOut, "scaleOut", {t});
        b.workspace(64);
        b.kernel([t, h, activateLeft](Frame& k) {
          Floats v = read_floats(k.input(0));
          if (k.has(1)) {
            const Floats w = read_floats(k.input(1)), a = read_floats(k.input(2));
            for (size_t i = 0; i < v.size(); ++i)
              v[i] = v[i] * w[i % static_cast<size_t>(2 * h)] * a[i / static_cast<size_t>(2 * h)];
          }
          Floats y(static_cast<size_t>(t * h));
          for (int64_t r = 0; r < t; ++r)
            for (int64_t i = 0; i < h; ++i) {
              const float left = v[static_cast<size_t>(r * 2 * h + i)],
                          right = v[static_cast<size_t>(r * 2 * h + h + i)];
              const float gate = activateLeft ? left : right, up = activateLeft ? right : left;
              y[static_cast<size_t>(r * h + i)] = gate / (1 + std::exp(-gate)) * up;
            }
          quantise_rows(y, k.has(4) ? read_floats(k.input(4)) : Floats(), h, k.output(0), k.output(1));
        });
      });
}
EMU_PHASE2(aclnnDequantSwigluQuant)

}  // extern "C"
