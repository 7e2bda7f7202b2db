// Mm, Matmul, Addmm, their NZ forms, and weight layout conversion.

#include "abi/aclnn.h"
#include "ops/matmul.h"

namespace emu {
namespace {

void check_math_type(int8_t type, const aclTensor* operand) {
  require(type >= 0 && type <= 4, kParamBad, "cubeMathType ", static_cast<int>(type));
  require(!(type == 2 && operand->dtype == ACL_BF16), kParamBad, "cubeMathType 2 (fp16) with bf16 operands");
}

void check_operands(const aclTensor* a, const aclTensor* b, const aclTensor* out) {
  expect_dtype(a, "the first matrix", {ACL_BF16, ACL_FLOAT16, ACL_FLOAT});
  require(a->dtype == b->dtype, kParamBad, "the matrices differ in dtype: ", dtype_name(a->dtype), " and ",
          dtype_name(b->dtype));
  require(out->dtype == a->dtype || (a->dtype == ACL_FLOAT16 && out->dtype == ACL_FLOAT), kParamBad,
          "out of ", dtype_name(out->dtype), " for operands of ", dtype_name(a->dtype));
}

// A matrix operand may be a plain or a transposed 2-D view; anything else would be copied first by the API.
void check_matrix(const aclTensor* t, const char* name) {
  expect_rank(t, name, 2, 2);
}

// beta * self (when present) + alpha * mat1 @ mat2
struct Linear {
  float alpha = 1, beta = 0;
  size_t mat1 = 0, mat2 = 1;
  int self = -1;
};

void run_linear(Frame& k, const Linear& l) {
  const Operand& a = k.input(l.mat1);
  const Operand& b = k.input(l.mat2);
  Operand& out = k.output(0);
  const int64_t m = a.dim(0), inner = a.dim(1), n = b.dim(1);
  Floats c = multiply_rows(read_floats(a), columns_as_rows(b), m, n, inner);
  k.flops += static_cast<uint64_t>(2 * m * n * inner);
  if (l.alpha != 1)
    for (float& v : c) v *= l.alpha;
  if (l.self >= 0 && l.beta != 0) {
    const Operand& self = k.input(static_cast<size_t>(l.self));
    const Floats s = read_floats(self);
    const bool per_row = self.rank() == 2 && self.dim(0) == m && m != 1;
    const int64_t width = self.rank() ? self.dim(self.rank() - 1) : 1;
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j) {
        const int64_t at = (per_row ? i * width : 0) + (width == 1 ? 0 : j);
        c[static_cast<size_t>(i * n + j)] += l.beta * s[static_cast<size_t>(at)];
      }
  }
  write_floats(out, c);
}

void build_mm(Builder& b, const aclTensor* self, const aclTensor* mat2, const aclTensor* out, int8_t type,
              bool nz) {
  b.in(self, "self");
  b.in(mat2, "mat2");
  b.out(out, "out");
  check_operands(self, mat2, out);
  check_math_type(type, self);
  expect_nd(self, "self");
  check_matrix(self, "self");
  check_matrix(mat2, "mat2");
  if (nz)
    expect_nz(mat2, "mat2");
  else
    expect_nd(mat2, "mat2");
  require(self->dims[1] == mat2->dims[0], kParamBad, "self ", shape_text(self->dims), " @ mat2 ",
          shape_text(mat2->dims));
  expect_shape(out, "out", {self->dims[0], mat2->dims[1]});
  b.workspace(512);
  b.kernel([](Frame& k) { run_linear(k, Linear{}); });
}

void build_addmm(Builder& b, const aclTensor* self, const aclTensor* mat1, const aclTensor* mat2,
                 const aclScalar* beta, const aclScalar* alpha, const aclTensor* out, int8_t type, bool nz) {
  require(beta && alpha, kParamNull, "beta or alpha is null");
  require(meta_alive(Meta::kScalar, beta) && meta_alive(Meta::kScalar, alpha), kParamBad,
          "beta or alpha is not live");
  Linear l;
  l.alpha = static_cast<float>(alpha->value);
  l.beta = static_cast<float>(beta->value);
  l.mat1 = 1;
  l.mat2 = 2;
  l.self = 0;
  b.in(self, "self");
  b.in(mat1, "mat1");
  b.in(mat2, "mat2");
  b.out(out, "out");
  check_operands(mat1, mat2, out);
  check_math_type(type, mat1);
  expect_nd(self, "self");
  check_matrix(mat1, "mat1");
  check_matrix(mat2, "mat2");
  if (nz)
    expect_nz(mat2, "mat2");
  else
    expect_nd(mat2, "mat2");
  require(mat1->dims[1] == mat2->dims[0], kParamBad, "mat1 ", shape_text(mat1->dims), " @ mat2 ",
          shape_text(mat2->dims));
  expect_shape(out, "out", {mat1->dims[0], mat2->dims[1]});
  expect_rank(self, "self", 0, 2);
  require(self->dtype == mat1->dtype || self->dtype == ACL_FLOAT, kParamBad, "self is ",
          dtype_name(self->dtype), " with matrices of ", dtype_name(mat1->dtype));
  if (l.beta != 0) {
    for (size_t i = 0; i < self->dims.size(); ++i) {
      const int64_t have = self->dims[self->dims.size() - 1 - i], want = out->dims[1 - i];
      require(have == want || have == 1, kParamBad, "self ", shape_text(self->dims),
              " does not broadcast to ", shape_text(out->dims));
    }
  }
  b.workspace(512);
  b.kernel([l](Frame& k) { run_linear(k, l); });
}

// torch.matmul for what a decoder needs: (..., M, K) @ (K, N) or equal batch dimensions.
void build_matmul(Builder& b, const aclTensor* self, const aclTensor* mat2, const aclTensor* out,
                  int8_t type) {
  b.in(self, "self");
  b.in(mat2, "mat2");
  b.out(out, "out");
  check_operands(self, mat2, out);
  check_math_type(type, self);
  expect_rank(self, "self", 2, 6);
  expect_rank(mat2, "mat2", 2, 6);
  const size_t r = self->dims.size();
  const bool shared = mat2->dims.size() == 2;
  Dims expected = self->dims;
  expected.back() = mat2->dims.back();
  expect_shape(out, "out", expected);
  require(shared || mat2->dims.size() == r, kParamBad,
          "batch dimensions that broadcast are not supported here");
  require(self->dims.back() == mat2->dims[mat2->dims.size() - 2], kParamBad, "inner dimensions differ");
  for (size_t i = 0; !shared && i + 2 < r; ++i)
    require(self->dims[i] == mat2->dims[i], kParamBad, "batch dimensions differ");
  b.workspace(512);
  b.kernel([shared](Frame& k) {
    const Operand& a = k.input(0);
    const Operand& w = k.input(1);
    const size_t rank = a.rank();
    const int64_t m = a.dim(rank - 2), inner = a.dim(rank - 1), n = w.dim(w.rank() - 1);
    const int64_t batches = m > 0 && inner > 0 ? a.count() / (m * inner) : 0;
    const Floats x = read_floats(a), y = read_floats(w);
    Floats result;
    for (int64_t batch = 0; batch < batches; ++batch) {
      const float* from = y.data() + (shared ? 0 : batch * inner * n);
      Floats rows(static_cast<size_t>(inner * n));
      for (int64_t i = 0; i < inner; ++i)
        for (int64_t j = 0; j < n; ++j) rows[static_cast<size_t>(j * inner + i)] = from[i * n + j];
      const Floats part(x.begin() + batch * m * inner, x.begin() + (batch + 1) * m * inner);
      const Floats c = multiply_rows(part, rows, m, n, inner);
      result.insert(result.end(), c.begin(), c.end());
    }
    k.flops += static_cast<uint64_t>(2 * batches * m * n * inner);
    write_floats(k.output(0), result);
  });
}

uint64_t padded_elements(const std::vector<int64_t>& shape, aclDataType dtype) {
  require(shape.size() >= 2 && shape.size() <= 6, kParamBad, "rank ", shape.size());
  const int64_t c0 = 32 / static_cast<int64_t>(std::max<size_t>(element_size(dtype), 1));
  uint64_t n = 1;
  for (size_t i = 0; i < shape.size(); ++i) {
    const int64_t unit = i + 2 == shape.size() ? 16 : i + 1 == shape.size() ? c0 : 1;
    n *= static_cast<uint64_t>((shape[i] + unit - 1) / unit * unit);
  }
  return n;
}

// Rewrites a plain (R, C) buffer as blocks.
void to_blocks(const Operand& from, Operand& to, const Dims& storage) {
  const Floats values = read_floats(from);
  const int64_t rows = from.dim(0), columns = from.dim(1), c0 = storage[3];
  Floats blocks(static_cast<size_t>(element_count(storage)), 0);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c)
      blocks[static_cast<size_t>(((c / c0 * storage[1] + r / 16) * 16 + r % 16) * c0 + c % c0)] =
          values[static_cast<size_t>(r * columns + c)];
  Operand flat = to;
  flat.tensor.format = ACL_FORMAT_ND;
  flat.tensor.dims = {element_count(storage)};
  flat.tensor.strides = {1};
  write_floats(flat, blocks);
}

}  // namespace
}  // namespace emu

using namespace emu;

extern "C" {

#define EMU_MM(op, nz)                                                                                       \
  aclnnStatus op##GetWorkspaceSize(const aclTensor* self, const aclTensor* mat2, aclTensor* out,             \
                                   int8_t cubeMathType, uint64_t* workspaceSize, aclOpExecutor** executor) { \
    return phase1(#op "GetWorkspaceSize", #op, workspaceSize, executor,                                      \
                  args(self, mat2, static_cast<const aclTensor*>(out), cubeMathType),                        \
                  [&](Builder& b) { build_mm(b, self, mat2, out, cubeMathType, nz); });                      \
  }                                                                                                          \
  EMU_PHASE2(op)
#define EMU_ADDMM(op, nz)                                                                                    \
  aclnnStatus op##GetWorkspaceSize(const aclTensor* self, const aclTensor* mat1, const aclTensor* mat2,      \
                                   const aclScalar* beta, const aclScalar* alpha, aclTensor* out,            \
                                   int8_t cubeMathType, uint64_t* workspaceSize, aclOpExecutor** executor) { \
    return phase1(                                                                                           \
        #op "GetWorkspaceSize", #op, workspaceSize, executor,                                                \
        args(self, mat1, mat2, beta, alpha, static_cast<const aclTensor*>(out), cubeMathType),               \
        [&](Builder& b) { build_addmm(b, self, mat1, mat2, beta, alpha, out, cubeMathType, nz); });          \
  }                                                                                                          \
  EMU_PHASE2(op)

EMU_MM(aclnnMm, false)
EMU_MM(aclnnMatmulWeightNz, true)
EMU_ADDMM(aclnnAddmm, false)
EMU_ADDMM(aclnnAddmmWeightNz, true)

aclnnStatus aclnnMatmulGetWorkspaceSize(const aclTensor* self, const aclTensor* mat2, aclTensor* out,
                                        int8_t cubeMathType, uint64_t* workspaceSize,
                                        aclOpExecutor** executor) {
  return phase1("aclnnMatmulGetWorkspaceSize", "aclnnMatmul", workspaceSize, executor,
                args(self, mat2, static_cast<const aclTensor*>(out), cubeMathType),
                [&](Builder& b) { build_matmul(b, self, mat2, out, cubeMathType); });
}
EMU_PHASE2(aclnnMatmul)

// In place on the buffer; the tensor object reports the new layout once phase 2 was called.
aclnnStatus aclnnTransMatmulWeightGetWorkspaceSize(aclTensor* mmWeightRef, uint64_t* workspaceSize,
                                                   aclOpExecutor** executor) {
  return phase1(
      "aclnnTransMatmulWeightGetWorkspaceSize", "aclnnTransMatmulWeight", workspaceSize, executor,
      args(static_cast<const aclTensor*>(mmWeightRef)), [&](Builder& b) {
        b.inout(mmWeightRef, "mmWeightRef");
        expect_dtype(mmWeightRef, "mmWeightRef", {ACL_FLOAT16, ACL_BF16, ACL_INT8});
        expect_rank(mmWeightRef, "mmWeightRef", 2, 2);
        expect_nd(mmWeightRef, "mmWeightRef");
        expect_contiguous(mmWeightRef, "mmWeightRef");
        const Dims storage = nz_storage(mmWeightRef->dims[0], mmWeightRef->dims[1], mmWeightRef->dtype);
        b.not_repeatable();
        b.workspace(static_cast<uint64_t>(element_count(storage)) * element_size(mmWeightRef->dtype));
        b.on_launch([mmWeightRef, storage] {
          mmWeightRef->format = ACL_FORMAT_FRACTAL_NZ;
          mmWeightRef->storage = storage;
        });
        b.kernel([storage](Frame& k) {
          Operand& to = k.output(0);
          // The buffer was made with aclnnCalculateMatmulWeightSize: it holds the padded blocks.
          const auto bytes = static_cast<size_t>(element_count(storage)) * element_size(to.dtype());
          to.bytes = device_bytes(to.tensor.data, bytes, k.stream->device(),
                                  ACL_ERROR_RT_VECTOR_CORE_EXCEPTION, "the padded weight", false);
          to_blocks(k.input(0), to, storage);
        });
      });
}
EMU_PHASE2(aclnnTransMatmulWeight)

aclnnStatus aclnnNpuFormatCastGetWorkspaceSize(const aclTensor* srcTensor, aclTensor* dstTensor,
                                               uint64_t* workspaceSize, aclOpExecutor** executor) {
  return phase1("aclnnNpuFormatCastGetWorkspaceSize", "aclnnNpuFormatCast", workspaceSize, executor,
                args(srcTensor, static_cast<const aclTensor*>(dstTensor)), [&](Builder& b) {
                  b.in(srcTensor, "srcTensor");
                  b.out(dstTensor, "dstTensor");
                  expect_same_dtype(srcTensor, dstTensor, "src and dst");
                  expect_shape(dstTensor, "dstTensor", srcTensor->dims);
                  expect_nd(srcTensor, "srcTensor");
                  expect_nz(dstTensor, "dstTensor");
                  require(srcTensor->dims[0] != 1 && srcTensor->dims[1] != 1, kParamBad,
                          "a (K,1) or (1,N) matrix");
                  const Dims storage = dstTensor->storage;
                  b.kernel([storage](Frame& k) { to_blocks(k.input(0), k.output(0), storage); });
                });
}
EMU_PHASE2(aclnnNpuFormatCast)

aclnnStatus aclnnNpuFormatCastCalculateSizeAndFormat(const aclTensor* srcTensor, const int dstFormat,
                                                     int additionalDtype, int64_t** dstShape,
                                                     uint64_t* dstShapeSize, int* actualFormat) {
  return api("aclnnNpuFormatCastCalculateSizeAndFormat", args(srcTensor, dstFormat, additionalDtype), [&] {
    require(srcTensor && dstShape && dstShapeSize && actualFormat, kParamNull, "null argument");
    require(meta_alive(Meta::kTensor, srcTensor), kParamBad, "srcTensor is not a live tensor");
    require(dstFormat == ACL_FORMAT_FRACTAL_NZ, kParamBad, "dstFormat ", dstFormat, ", only FRACTAL_NZ (29)");
    require(additionalDtype == srcTensor->dtype, kParamBad, "additionalDtype ", additionalDtype);
    expect_rank(srcTensor, "srcTensor", 2, 2);
    const Dims storage = nz_storage(srcTensor->dims[0], srcTensor->dims[1], srcTensor->dtype);
    *dstShape = new int64_t[storage.size()];
    std::copy(storage.begin(), storage.end(), *dstShape);
    *dstShapeSize = storage.size();
    *actualFormat = ACL_FORMAT_FRACTAL_NZ;
  });
}

aclnnStatus aclnnCalculateMatmulWeightSize(const aclIntArray* tensorShape, uint64_t* weightTensorSize) {
  return api("aclnnCalculateMatmulWeightSize", args(tensorShape, weightTensorSize), [&] {
    require(tensorShape && weightTensorSize, kParamNull, "null argument");
    *weightTensorSize = padded_elements(tensorShape->values, ACL_FLOAT16);
  });
}

aclnnStatus aclnnCalculateMatmulWeightSizeV2(const aclIntArray* tensorShape, aclDataType dataType,
                                             uint64_t* weightTensorSize) {
  return api("aclnnCalculateMatmulWeightSizeV2", args(tensorShape, dataType, weightTensorSize), [&] {
    require(tensorShape && weightTensorSize, kParamNull, "null argument");
    *weightTensorSize = padded_elements(tensorShape->values, dataType);
  });
}

}  // extern "C"
