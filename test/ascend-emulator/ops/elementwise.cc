// Arithmetic with broadcasting, unary functions, casts, fills.

#include <algorithm>
#include <cmath>

#include "abi/aclnn.h"
#include "ops/op.h"
#include "ops/values.h"

namespace emu {
namespace {

Dims broadcast(const Dims& a, const Dims& b) {
  Dims out(std::max(a.size(), b.size()));
  for (size_t i = 0; i < out.size(); ++i) {
    const int64_t x = i < a.size() ? a[a.size() - 1 - i] : 1, y = i < b.size() ? b[b.size() - 1 - i] : 1;
    require(x == y || x == 1 || y == 1, kParamBad, "shapes ", shape_text(a), " and ", shape_text(b),
            " do not broadcast");
    out[out.size() - 1 - i] = x == 1 ? y : x;
  }
  return out;
}

// The operand seen with the shape `dims`: broadcast dimensions get stride 0.
Operand expand(const Operand& operand, const Dims& dims) {
  Operand view = operand;
  const size_t lead = dims.size() - operand.rank();
  view.tensor.dims = dims;
  view.tensor.strides.assign(dims.size(), 0);
  for (size_t i = 0; i < operand.rank(); ++i)
    if (operand.dim(i) == dims[lead + i]) view.tensor.strides[lead + i] = operand.tensor.strides[i];
  return view;
}

struct Pair {
  Floats a, b;
};

using Function = float (*)(float a, float b, float alpha);
using IntFunction = int64_t (*)(int64_t a, int64_t b, int64_t alpha);

float add(float a, float b, float alpha) {
  return a + alpha * b;
}
float subtract(float a, float b, float alpha) {
  return a - alpha * b;
}
float multiply(float a, float b, float) {
  return a * b;
}
float divide(float a, float b, float) {
  return a / b;
}
int64_t add_int(int64_t a, int64_t b, int64_t alpha) {
  return a + alpha * b;
}
int64_t subtract_int(int64_t a, int64_t b, int64_t alpha) {
  return a - alpha * b;
}
int64_t multiply_int(int64_t a, int64_t b, int64_t) {
  return a * b;
}

void check_scalar(const aclScalar* scalar, const char* name) {
  require(scalar, kParamNull, name, " is null");
  require(meta_alive(Meta::kScalar, scalar), kParamBad, name, " is not a live scalar");
}

void check_result(const aclTensor* out, bool floating) {
  require(!(floating && is_integer(out->dtype) && out->dtype != ACL_BOOL), kParamBad,
          "a floating result cannot be cast to out of ", dtype_name(out->dtype));
}

// out = f(self, other, alpha) with broadcasting. `other` may be a scalar.
void binary(Builder& b, const aclTensor* self, const aclTensor* other, const aclScalar* scalar,
            const aclScalar* alpha, const aclTensor* out, bool in_place, Function f, IntFunction g) {
  in_place ? b.inout(self, "selfRef") : b.in(self, "self");
  if (!scalar) b.in(other, "other");
  if (!in_place) b.out(out, "out");
  const aclTensor* result = in_place ? self : out;
  expect_rank(self, "self", 0, 8);
  const Dims shape = scalar ? self->dims : broadcast(self->dims, other->dims);
  expect_shape(result, in_place ? "selfRef (broadcast with other)" : "out", shape);
  const bool floating =
      is_float(self->dtype) || (scalar ? is_float(scalar->dtype) : is_float(other->dtype)) || !g;
  check_result(result, floating);
  const float alpha_f = alpha ? static_cast<float>(alpha->value) : 1;
  const int64_t alpha_i = alpha ? alpha->integer : 1;
  const float scalar_f = scalar ? static_cast<float>(scalar->value) : 0;
  const int64_t scalar_i = scalar ? scalar->integer : 0;
  const bool has_scalar = scalar != nullptr;
  b.kernel([=](Frame& k) {
    const Operand x = expand(k.input(0), shape);
    Operand& y = k.output(0);
    if (floating) {
      Floats a = read_floats(x);
      const Floats c = has_scalar ? Floats(a.size(), scalar_f) : read_floats(expand(k.input(1), shape));
      for (size_t i = 0; i < a.size(); ++i) a[i] = f(a[i], c[i], alpha_f);
      write_floats(y, a);
    } else {
      Ints a = read_ints(x);
      const Ints c = has_scalar ? Ints(a.size(), scalar_i) : read_ints(expand(k.input(1), shape));
      for (size_t i = 0; i < a.size(); ++i) a[i] = g(a[i], c[i], alpha_i);
      write_ints(y, a);
    }
  });
}

void unary(Builder& b, const aclTensor* self, const aclTensor* out, float (*f)(float)) {
  b.in(self, "self");
  b.out(out, "out");
  expect_dtype(self, "self", {ACL_FLOAT, ACL_FLOAT16, ACL_BF16});
  expect_same_dtype(self, out, "self and out");
  expect_shape(out, "out", self->dims);
  b.kernel([f](Frame& k) {
    Floats x = read_floats(k.input(0));
    for (float& v : x) v = f(v);
    write_floats(k.output(0), x);
  });
}

// out <- cast(expanded self)
void cast_kernel(Frame& k, Operand from) {
  Operand& to = k.output(0);
  if (is_integer(from.dtype()) && is_integer(to.dtype()))
    write_ints(to, read_ints(from));
  else
    write_floats(to, read_floats(from));
}

}  // namespace
}  // namespace emu

using namespace emu;

extern "C" {

#define EMU_BINARY(op, f, g)                                                                        \
  aclnnStatus op##GetWorkspaceSize(const aclTensor* self, const aclTensor* other, aclTensor* out,   \
                                   uint64_t* workspaceSize, aclOpExecutor** executor) {             \
    return phase1(#op "GetWorkspaceSize", #op, workspaceSize, executor,                             \
                  args(self, other, static_cast<const aclTensor*>(out)),                            \
                  [&](Builder& b) { binary(b, self, other, nullptr, nullptr, out, false, f, g); }); \
  }                                                                                                 \
  EMU_PHASE2(op)
#define EMU_BINARY_INPLACE(op, f, g)                                                                      \
  aclnnStatus op##GetWorkspaceSize(aclTensor* selfRef, const aclTensor* other, uint64_t* workspaceSize,   \
                                   aclOpExecutor** executor) {                                            \
    return phase1(#op "GetWorkspaceSize", #op, workspaceSize, executor,                                   \
                  args(static_cast<const aclTensor*>(selfRef), other),                                    \
                  [&](Builder& b) { binary(b, selfRef, other, nullptr, nullptr, nullptr, true, f, g); }); \
  }                                                                                                       \
  EMU_PHASE2(op)
#define EMU_SCALED(op, f, g)                                                                              \
  aclnnStatus op##GetWorkspaceSize(const aclTensor* self, const aclTensor* other, const aclScalar* alpha, \
                                   aclTensor* out, uint64_t* workspaceSize, aclOpExecutor** executor) {   \
    return phase1(#op "GetWorkspaceSize", #op, workspaceSize, executor,                                   \
                  args(self, other, alpha, static_cast<const aclTensor*>(out)), [&](Builder& b) {         \
                    check_scalar(alpha, "alpha");                                                         \
                    binary(b, self, other, nullptr, alpha, out, false, f, g);                             \
                  });                                                                                     \
  }                                                                                                       \
  EMU_PHASE2(op)

EMU_SCALED(aclnnAdd, add, add_int)
EMU_SCALED(aclnnSub, subtract, subtract_int)
EMU_BINARY(aclnnMul, multiply, multiply_int)
EMU_BINARY(aclnnDiv, divide, nullptr)
EMU_BINARY_INPLACE(aclnnInplaceMul, multiply, multiply_int)
EMU_BINARY_INPLACE(aclnnInplaceDiv, divide, nullptr)

#define EMU_SCALED_INPLACE(op, Self, f, g)                                                        \
  aclnnStatus op##GetWorkspaceSize(Self* selfRef, const aclTensor* other, const aclScalar* alpha, \
                                   uint64_t* workspaceSize, aclOpExecutor** executor) {           \
    return phase1(#op "GetWorkspaceSize", #op, workspaceSize, executor,                           \
                  args(static_cast<const aclTensor*>(selfRef), other, alpha), [&](Builder& b) {   \
                    check_scalar(alpha, "alpha");                                                 \
                    binary(b, selfRef, other, nullptr, alpha, nullptr, true, f, g);               \
                  });                                                                             \
  }                                                                                               \
  EMU_PHASE2(op)

EMU_SCALED_INPLACE(aclnnInplaceAdd, const aclTensor, add, add_int)
EMU_SCALED_INPLACE(aclnnInplaceSub, aclTensor, subtract, subtract_int)

aclnnStatus aclnnAddsGetWorkspaceSize(const aclTensor* self, const aclScalar* other, const aclScalar* alpha,
                                      aclTensor* out, uint64_t* workspaceSize, aclOpExecutor** executor) {
  return phase1("aclnnAddsGetWorkspaceSize", "aclnnAdds", workspaceSize, executor,
                args(self, other, alpha, static_cast<const aclTensor*>(out)), [&](Builder& b) {
                  check_scalar(other, "other");
                  check_scalar(alpha, "alpha");
                  binary(b, self, nullptr, other, alpha, out, false, add, add_int);
                });
}
EMU_PHASE2(aclnnAdds)

aclnnStatus aclnnInplaceAddsGetWorkspaceSize(const aclTensor* selfRef, const aclScalar* other,
                                             const aclScalar* alpha, uint64_t* workspaceSize,
                                             aclOpExecutor** executor) {
  return phase1("aclnnInplaceAddsGetWorkspaceSize", "aclnnInplaceAdds", workspaceSize, executor,
                args(selfRef, other, alpha), [&](Builder& b) {
                  check_scalar(other, "other");
                  check_scalar(alpha, "alpha");
                  binary(b, selfRef, nullptr, other, alpha, nullptr, true, add, add_int);
                });
}
EMU_PHASE2(aclnnInplaceAdds)

#define EMU_BY_SCALAR(op, inplace_op, f, g)                                                       \
  aclnnStatus op##GetWorkspaceSize(const aclTensor* self, const aclScalar* other, aclTensor* out, \
                                   uint64_t* workspaceSize, aclOpExecutor** executor) {           \
    return phase1(#op "GetWorkspaceSize", #op, workspaceSize, executor,                           \
                  args(self, other, static_cast<const aclTensor*>(out)), [&](Builder& b) {        \
                    check_scalar(other, "other");                                                 \
                    binary(b, self, nullptr, other, nullptr, out, false, f, g);                   \
                  });                                                                             \
  }                                                                                               \
  EMU_PHASE2(op)                                                                                  \
  aclnnStatus inplace_op##GetWorkspaceSize(aclTensor* selfRef, const aclScalar* other,            \
                                           uint64_t* workspaceSize, aclOpExecutor** executor) {   \
    return phase1(#inplace_op "GetWorkspaceSize", #inplace_op, workspaceSize, executor,           \
                  args(static_cast<const aclTensor*>(selfRef), other), [&](Builder& b) {          \
                    check_scalar(other, "other");                                                 \
                    binary(b, selfRef, nullptr, other, nullptr, nullptr, true, f, g);             \
                  });                                                                             \
  }                                                                                               \
  EMU_PHASE2(inplace_op)

EMU_BY_SCALAR(aclnnMuls, aclnnInplaceMuls, multiply, multiply_int)
EMU_BY_SCALAR(aclnnDivs, aclnnInplaceDivs, divide, nullptr)

#define EMU_UNARY(op, f)                                                                           \
  aclnnStatus op##GetWorkspaceSize(const aclTensor* self, aclTensor* out, uint64_t* workspaceSize, \
                                   aclOpExecutor** executor) {                                     \
    return phase1(#op "GetWorkspaceSize", #op, workspaceSize, executor,                            \
                  args(self, static_cast<const aclTensor*>(out)),                                  \
                  [&](Builder& b) { unary(b, self, out, f); });                                    \
  }                                                                                                \
  EMU_PHASE2(op)

EMU_UNARY(aclnnExp, [](float v) { return std::exp(v); })
EMU_UNARY(aclnnSigmoid, [](float v) { return 1 / (1 + std::exp(-v)); })
EMU_UNARY(aclnnSilu, [](float v) { return v / (1 + std::exp(-v)); })

aclnnStatus aclnnCastGetWorkspaceSize(const aclTensor* self, const aclDataType dtype, aclTensor* out,
                                      uint64_t* workspaceSize, aclOpExecutor** executor) {
  return phase1("aclnnCastGetWorkspaceSize", "aclnnCast", workspaceSize, executor,
                args(self, dtype, static_cast<const aclTensor*>(out)), [&](Builder& b) {
                  b.in(self, "self");
                  b.out(out, "out");
                  require(out->dtype == dtype, kParamBad, "dtype ", static_cast<int>(dtype),
                          " differs from out's ", dtype_name(out->dtype));
                  expect_shape(out, "out", self->dims);
                  b.kernel([](Frame& k) { cast_kernel(k, k.input(0)); });
                });
}
EMU_PHASE2(aclnnCast)

aclnnStatus aclnnInplaceCopyGetWorkspaceSize(aclTensor* selfRef, const aclTensor* src,
                                             uint64_t* workspaceSize, aclOpExecutor** executor) {
  return phase1("aclnnInplaceCopyGetWorkspaceSize", "aclnnInplaceCopy", workspaceSize, executor,
                args(static_cast<const aclTensor*>(selfRef), src), [&](Builder& b) {
                  b.inout(selfRef, "selfRef");
                  b.in(src, "src");
                  expect_rank(selfRef, "selfRef", 1, 8);
                  expect_shape(selfRef, "selfRef (broadcast with src)", broadcast(selfRef->dims, src->dims));
                  b.kernel([](Frame& k) { cast_kernel(k, expand(k.input(1), k.output(0).dims())); });
                });
}
EMU_PHASE2(aclnnInplaceCopy)

aclnnStatus aclnnInplaceZeroGetWorkspaceSize(aclTensor* selfRef, uint64_t* workspaceSize,
                                             aclOpExecutor** executor) {
  return phase1("aclnnInplaceZeroGetWorkspaceSize", "aclnnInplaceZero", workspaceSize, executor,
                args(static_cast<const aclTensor*>(selfRef)), [&](Builder& b) {
                  b.inout(selfRef, "selfRef");
                  b.kernel([](Frame& k) {
                    write_ints(k.output(0), Ints(static_cast<size_t>(k.output(0).count()), 0));
                  });
                });
}
EMU_PHASE2(aclnnInplaceZero)

aclnnStatus aclnnInplaceFillScalarGetWorkspaceSize(aclTensor* selfRef, const aclScalar* value,
                                                   uint64_t* workspaceSize, aclOpExecutor** executor) {
  return phase1("aclnnInplaceFillScalarGetWorkspaceSize", "aclnnInplaceFillScalar", workspaceSize, executor,
                args(static_cast<const aclTensor*>(selfRef), value), [&](Builder& b) {
                  b.inout(selfRef, "selfRef");
                  check_scalar(value, "value");
                  const auto v = static_cast<float>(value->value);
                  b.kernel([v](Frame& k) {
                    write_floats(k.output(0), Floats(static_cast<size_t>(k.output(0).count()), v));
                  });
                });
}
EMU_PHASE2(aclnnInplaceFillScalar)

aclnnStatus aclnnInplaceMaskedFillScalarGetWorkspaceSize(aclTensor* selfRef, const aclTensor* mask,
                                                         const aclScalar* value, uint64_t* workspaceSize,
                                                         aclOpExecutor** executor) {
  return phase1("aclnnInplaceMaskedFillScalarGetWorkspaceSize", "aclnnInplaceMaskedFillScalar", workspaceSize,
                executor, args(static_cast<const aclTensor*>(selfRef), mask, value), [&](Builder& b) {
                  b.inout(selfRef, "selfRef");
                  b.in(mask, "mask");
                  check_scalar(value, "value");
                  expect_dtype(mask, "mask", {ACL_BOOL});
                  expect_dtype(selfRef, "selfRef",
                               {ACL_FLOAT, ACL_FLOAT16, ACL_BF16, ACL_INT8, ACL_INT32, ACL_INT64, ACL_BOOL});
                  expect_shape(selfRef, "selfRef (broadcast with mask)",
                               broadcast(selfRef->dims, mask->dims));
                  const auto v = static_cast<float>(value->value);
                  b.kernel([v](Frame& k) {
                    const Ints masked = read_ints(expand(k.input(1), k.output(0).dims()));
                    Operand& self = k.output(0);
                    const std::vector<int64_t> offsets = offsets_of(self.tensor);
                    for (size_t i = 0; i < masked.size(); ++i)
                      if (masked[i])
                        store_float(self.at() + offsets[i] * static_cast<int64_t>(element_size(self.dtype())),
                                    self.dtype(), v);
                  });
                });
}
EMU_PHASE2(aclnnInplaceMaskedFillScalar)

aclnnStatus aclnnSWhereGetWorkspaceSize(const aclTensor* condition, const aclTensor* self,
                                        const aclTensor* other, aclTensor* out, uint64_t* workspaceSize,
                                        aclOpExecutor** executor) {
  return phase1("aclnnSWhereGetWorkspaceSize", "aclnnSWhere", workspaceSize, executor,
                args(condition, self, other, static_cast<const aclTensor*>(out)), [&](Builder& b) {
                  b.in(condition, "condition");
                  b.in(self, "self");
                  b.in(other, "other");
                  b.out(out, "out");
                  expect_dtype(condition, "condition", {ACL_BOOL, ACL_UINT8});
                  expect_shape(out, "out", broadcast(condition->dims, broadcast(self->dims, other->dims)));
                  b.kernel([](Frame& k) {
                    const Dims& shape = k.output(0).dims();
                    const Ints chosen = read_ints(expand(k.input(0), shape));
                    Floats yes = read_floats(expand(k.input(1), shape));
                    const Floats no = read_floats(expand(k.input(2), shape));
                    for (size_t i = 0; i < yes.size(); ++i)
                      if (!chosen[i]) yes[i] = no[i];
                    write_floats(k.output(0), yes);
                  });
                });
}
EMU_PHASE2(aclnnSWhere)

}  // extern "C"
