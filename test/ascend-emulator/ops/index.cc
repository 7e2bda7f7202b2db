// Gathers and scatters. Indices are device contents: a bad one is found when the kernel runs.

#include <cstring>
#include <unordered_set>

#include "abi/aclnn.h"
#include "ops/op.h"
#include "ops/values.h"

namespace emu {
namespace {

constexpr int kFault = ACL_ERROR_RT_VECTOR_CORE_EXCEPTION;
constexpr Dtypes kIndexTypes = {ACL_INT32, ACL_INT64};

void check_index(int64_t index, int64_t size, const char* what) {
  require(index >= 0 && index < size, kFault, what, " ", index, " is out of range [0, ", size, ")");
}

// out[outer, j..., inner] = self[outer, index[j...], inner] along `dim`; bytes are copied.
void take(const Operand& self, const Ints& index, size_t dim, Operand& out) {
  const auto size = static_cast<int64_t>(element_size(self.dtype()));
  const std::vector<int64_t> to = offsets_of(out.tensor);
  int64_t inner = 1;
  for (size_t d = dim + 1; d < self.rank(); ++d) inner *= self.dim(d);
  const std::vector<int64_t> from = offsets_of(self.tensor);
  const auto n = static_cast<int64_t>(index.size());
  for (int64_t i = 0; i < static_cast<int64_t>(to.size()); ++i) {
    const int64_t row = index[static_cast<size_t>(i / inner % n)];
    check_index(row, self.dim(dim), "index");
    const int64_t source = (i / inner / n * self.dim(dim) + row) * inner + i % inner;
    std::memcpy(out.at() + to[static_cast<size_t>(i)] * size,
                self.at() + from[static_cast<size_t>(source)] * size, static_cast<size_t>(size));
  }
}

void gather_rows(Builder& b, const aclTensor* self, int64_t dim, const aclTensor* index,
                 const aclTensor* out) {
  b.in(self, "self");
  b.in(index, "index");
  b.out(out, "out");
  expect_dtype(index, "index", kIndexTypes);
  expect_same_dtype(self, out, "self and out");
  const auto d = static_cast<size_t>(normal_dim(dim, self->dims.size()));
  Dims shape(self->dims.begin(), self->dims.begin() + static_cast<ptrdiff_t>(d));
  shape.insert(shape.end(), index->dims.begin(), index->dims.end());
  shape.insert(shape.end(), self->dims.begin() + static_cast<ptrdiff_t>(d) + 1, self->dims.end());
  expect_shape(out, "out", shape);
  b.kernel([d](Frame& k) {
    const Operand& table = k.input(0);
    const Ints index_values = read_ints(k.input(1));
    Operand& out_rows = k.output(0);
    if (d != 0 || !is_contiguous(table.tensor) || !is_contiguous(out_rows.tensor))
      return take(table, index_values, d, out_rows);
    const auto width =
        static_cast<size_t>(table.dim(0) ? table.count() / table.dim(0) : 0) * element_size(table.dtype());
    for (size_t i = 0; i < index_values.size(); ++i) {
      check_index(index_values[i], table.dim(0), "index");
      std::memcpy(out_rows.at() + i * width, table.at() + static_cast<size_t>(index_values[i]) * width,
                  width);
    }
  });
}

}  // namespace
}  // namespace emu

using namespace emu;

extern "C" {

aclnnStatus aclnnEmbeddingGetWorkspaceSize(const aclTensor* weight, const aclTensor* indices,
                                           const aclTensor* out, uint64_t* workspaceSize,
                                           aclOpExecutor** executor) {
  return phase1("aclnnEmbeddingGetWorkspaceSize", "aclnnEmbedding", workspaceSize, executor,
                args(weight, indices, out), [&](Builder& b) {
                  expect_rank(weight, "weight", 2, 2);
                  gather_rows(b, weight, 0, indices, out);
                });
}
EMU_PHASE2(aclnnEmbedding)

aclnnStatus aclnnIndexSelectGetWorkspaceSize(const aclTensor* self, int64_t dim, const aclTensor* index,
                                             aclTensor* out, uint64_t* workspaceSize,
                                             aclOpExecutor** executor) {
  return phase1("aclnnIndexSelectGetWorkspaceSize", "aclnnIndexSelect", workspaceSize, executor,
                args(self, dim, index, static_cast<const aclTensor*>(out)), [&](Builder& b) {
                  expect_rank(index, "index", 0, 1);
                  gather_rows(b, self, dim, index, out);
                });
}
EMU_PHASE2(aclnnIndexSelect)

aclnnStatus aclnnGatherV2GetWorkspaceSize(const aclTensor* self, int64_t dim, const aclTensor* index,
                                          aclTensor* out, uint64_t* workspaceSize, aclOpExecutor** executor) {
  return phase1("aclnnGatherV2GetWorkspaceSize", "aclnnGatherV2", workspaceSize, executor,
                args(self, dim, index, static_cast<const aclTensor*>(out)), [&](Builder& b) {
                  expect_rank(index, "index", 1, 8);
                  gather_rows(b, self, dim, index, out);
                });
}
EMU_PHASE2(aclnnGatherV2)

aclnnStatus aclnnGatherGetWorkspaceSize(const aclTensor* self, const int64_t dim, const aclTensor* index,
                                        aclTensor* out, uint64_t* workspaceSize, aclOpExecutor** executor) {
  return phase1(
      "aclnnGatherGetWorkspaceSize", "aclnnGather", workspaceSize, executor,
      args(self, dim, index, static_cast<const aclTensor*>(out)), [&](Builder& b) {
        b.in(self, "self");
        b.in(index, "index");
        b.out(out, "out");
        expect_dtype(index, "index", kIndexTypes);
        expect_same_dtype(self, out, "self and out");
        require(index->dims.size() == self->dims.size(), kParamBad, "index and self differ in rank");
        expect_shape(out, "out", index->dims);
        const auto d = static_cast<size_t>(normal_dim(dim, self->dims.size()));
        for (size_t i = 0; i < self->dims.size(); ++i)
          require(i == d || index->dims[i] <= self->dims[i], kParamBad, "index is larger than self");
        b.kernel([d](Frame& k) {
          const Operand& self_values = k.input(0);
          const Ints index_values = read_ints(k.input(1));
          // The index view walks self with the chosen dimension frozen.
          Operand walk = self_values;
          walk.tensor.dims = k.input(1).dims();
          walk.tensor.strides[d] = 0;
          const std::vector<int64_t> base = offsets_of(walk.tensor), to = offsets_of(k.output(0).tensor);
          const size_t size = element_size(self_values.dtype());
          for (size_t i = 0; i < to.size(); ++i) {
            check_index(index_values[i], self_values.dim(d), "index");
            const int64_t from = base[i] + index_values[i] * self_values.tensor.strides[d];
            std::memcpy(k.output(0).at() + to[i] * static_cast<int64_t>(size),
                        self_values.at() + from * static_cast<int64_t>(size), size);
          }
        });
      });
}
EMU_PHASE2(aclnnGather)

aclnnStatus aclnnScatterNdUpdateGetWorkspaceSize(aclTensor* varRef, const aclTensor* indices,
                                                 const aclTensor* updates, uint64_t* workspaceSize,
                                                 aclOpExecutor** executor) {
  return phase1(
      "aclnnScatterNdUpdateGetWorkspaceSize", "aclnnScatterNdUpdate", workspaceSize, executor,
      args(static_cast<const aclTensor*>(varRef), indices, updates), [&](Builder& b) {
        b.inout(varRef, "varRef");
        b.in(indices, "indices");
        b.in(updates, "updates");
        expect_dtype(varRef, "varRef", {ACL_BF16, ACL_FLOAT16, ACL_FLOAT, ACL_INT64, ACL_INT8, ACL_BOOL});
        expect_dtype(indices, "indices", kIndexTypes);
        expect_same_dtype(varRef, updates, "varRef and updates");
        expect_rank(indices, "indices", 2, 8);
        const int64_t lead = indices->dims.back();
        require(lead >= 1 && lead <= 7 && lead <= static_cast<int64_t>(varRef->dims.size()), kParamBad,
                "the last dim of indices is ", lead);
        Dims shape(indices->dims.begin(), indices->dims.end() - 1);
        shape.insert(shape.end(), varRef->dims.begin() + lead, varRef->dims.end());
        expect_shape(updates, "updates", shape);
        expect_contiguous(varRef, "varRef");
        b.workspace(64);
        b.kernel([lead](Frame& k) {
          Operand& var = k.output(0);
          const Ints index = read_ints(k.input(1));
          const Operand& update = k.input(2);
          int64_t row = static_cast<int64_t>(element_size(var.dtype()));
          for (size_t d = static_cast<size_t>(lead); d < var.rank(); ++d) row *= var.dim(d);
          require(is_contiguous(update.tensor), kFault, "updates is not contiguous");
          std::unordered_set<int64_t> seen;
          for (size_t i = 0; i * static_cast<size_t>(lead) < index.size(); ++i) {
            int64_t at = 0;
            for (int64_t d = 0; d < lead; ++d) {
              const int64_t v = index[i * static_cast<size_t>(lead) + static_cast<size_t>(d)];
              check_index(v, var.dim(static_cast<size_t>(d)), "index");
              at = at * var.dim(static_cast<size_t>(d)) + v;
            }
            require(seen.insert(at).second, kFault, "the same row is written twice: ", at);
            std::memcpy(var.at() + at * row, update.at() + static_cast<int64_t>(i) * row,
                        static_cast<size_t>(row));
          }
        });
      });
}
EMU_PHASE2(aclnnScatterNdUpdate)

aclnnStatus aclnnInplaceIndexCopyGetWorkspaceSize(aclTensor* selfRef, int64_t dim, const aclTensor* index,
                                                  const aclTensor* source, uint64_t* workspaceSize,
                                                  aclOpExecutor** executor) {
  return phase1("aclnnInplaceIndexCopyGetWorkspaceSize", "aclnnInplaceIndexCopy", workspaceSize, executor,
                args(static_cast<const aclTensor*>(selfRef), dim, index, source), [&](Builder& b) {
                  b.inout(selfRef, "selfRef");
                  b.in(index, "index");
                  b.in(source, "source");
                  expect_dtype(index, "index", kIndexTypes);
                  expect_rank(index, "index", 1, 1);
                  expect_same_dtype(selfRef, source, "selfRef and source");
                  const auto d = static_cast<size_t>(normal_dim(dim, selfRef->dims.size()));
                  Dims shape = selfRef->dims;
                  shape[d] = index->dims[0];
                  expect_shape(source, "source", shape);
                  b.workspace(64);
                  b.kernel([d](Frame& k) {
                    Operand& self = k.output(0);
                    const Ints index_values = read_ints(k.input(1));
                    const Operand& from = k.input(2);
                    std::unordered_set<int64_t> seen;
                    for (size_t j = 0; j < index_values.size(); ++j) {
                      check_index(index_values[j], self.dim(d), "index");
                      require(seen.insert(index_values[j]).second, kFault,
                              "the same row is written twice: ", index_values[j]);
                      Operand to = self, part = from;
                      to.tensor.dims[d] = part.tensor.dims[d] = 1;
                      to.tensor.offset += index_values[j] * self.tensor.strides[d];
                      part.tensor.offset += static_cast<int64_t>(j) * from.tensor.strides[d];
                      is_float(self.dtype()) ? write_floats(to, read_floats(part))
                                             : write_ints(to, read_ints(part));
                    }
                  });
                });
}
EMU_PHASE2(aclnnInplaceIndexCopy)

}  // extern "C"
