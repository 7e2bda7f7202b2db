// Permute, Cat, SplitWithSize, Slice: bytes are moved, not converted (Cat promotes through the float path).

#include <algorithm>
#include <numeric>

#include "abi/aclnn.h"
#include "ops/op.h"
#include "ops/values.h"

namespace emu {
namespace {

// A piece of an operand along one dimension.
Operand narrow(const Operand& operand, size_t dim, int64_t begin, int64_t length, int64_t step = 1) {
  Operand view = operand;
  view.tensor.offset += begin * operand.tensor.strides[dim];
  view.tensor.dims[dim] = length;
  view.tensor.strides[dim] *= step;
  return view;
}

void move_values(const Operand& from, Operand& to) {
  if (is_integer(from.dtype()) && is_integer(to.dtype()))
    write_ints(to, read_ints(from));
  else
    write_floats(to, read_floats(from));
}

}  // namespace
}  // namespace emu

using namespace emu;

extern "C" {

aclnnStatus aclnnPermuteGetWorkspaceSize(const aclTensor* self, const aclIntArray* dims, aclTensor* out,
                                         uint64_t* workspaceSize, aclOpExecutor** executor) {
  return phase1("aclnnPermuteGetWorkspaceSize", "aclnnPermute", workspaceSize, executor,
                args(self, dims, static_cast<const aclTensor*>(out)), [&](Builder& b) {
                  b.in(self, "self");
                  b.in_array(dims, "dims", Need::kRequired);
                  b.out(out, "out");
                  expect_rank(self, "self", 1, 8);
                  expect_same_dtype(self, out, "self and out");
                  const std::vector<int64_t> order = dims->values;
                  require(order.size() == self->dims.size(), kParamBad, "dims has ", order.size(),
                          " entries");
                  Dims shape;
                  for (const int64_t d : order)
                    shape.push_back(self->dims[static_cast<size_t>(normal_dim(d, self->dims.size()))]);
                  expect_shape(out, "out", shape);
                  b.kernel([order](Frame& k) {
                    const Operand& x = k.input(0);
                    Operand view = x;
                    for (size_t i = 0; i < order.size(); ++i) {
                      const auto d = static_cast<size_t>(normal_dim(order[i], order.size()));
                      view.tensor.dims[i] = x.tensor.dims[d];
                      view.tensor.strides[i] = x.tensor.strides[d];
                    }
                    move_values(view, k.output(0));
                  });
                });
}
EMU_PHASE2(aclnnPermute)

aclnnStatus aclnnCatGetWorkspaceSize(const aclTensorList* tensors, int64_t dim, aclTensor* out,
                                     uint64_t* workspaceSize, aclOpExecutor** executor) {
  return phase1("aclnnCatGetWorkspaceSize", "aclnnCat", workspaceSize, executor,
                args(tensors, dim, static_cast<const aclTensor*>(out)), [&](Builder& b) {
                  b.in_list(tensors, "tensors");
                  b.out(out, "out");
                  require(!tensors->tensors.empty(), kParamBad, "empty list");
                  const auto d = static_cast<size_t>(normal_dim(dim, out->dims.size()));
                  int64_t total = 0;
                  for (const aclTensor* t : tensors->tensors) {
                    Dims shape = out->dims;
                    require(t->dims.size() == shape.size(), kParamBad, "ranks differ");
                    shape[d] = t->dims[d];
                    expect_shape(t, "a tensor of the list", shape);
                    total += t->dims[d];
                  }
                  require(total == out->dims[d], kParamBad, "the pieces sum to ", total, ", out has ",
                          out->dims[d]);
                  b.kernel([d](Frame& k) {
                    int64_t at = 0;
                    for (const Operand& piece : k.in[0]) {
                      Operand part = narrow(k.output(0), d, at, piece.dim(d));
                      move_values(piece, part);
                      at += piece.dim(d);
                    }
                  });
                });
}
EMU_PHASE2(aclnnCat)

aclnnStatus aclnnSplitWithSizeGetWorkspaceSize(const aclTensor* self, const aclIntArray* splitSize,
                                               int64_t dim, aclTensorList* out, uint64_t* workspaceSize,
                                               aclOpExecutor** executor) {
  return phase1("aclnnSplitWithSizeGetWorkspaceSize", "aclnnSplitWithSize", workspaceSize, executor,
                args(self, splitSize, dim, static_cast<const aclTensorList*>(out)), [&](Builder& b) {
                  b.in(self, "self");
                  b.in_array(splitSize, "splitSize", Need::kRequired);
                  b.out_list(out, "out");
                  const auto d = static_cast<size_t>(normal_dim(dim, self->dims.size()));
                  const std::vector<int64_t> sizes = splitSize->values;
                  require(sizes.size() == out->tensors.size(), kParamBad, sizes.size(), " sizes, ",
                          out->tensors.size(), " outputs");
                  require(std::accumulate(sizes.begin(), sizes.end(), int64_t{0}) == self->dims[d], kParamBad,
                          "the sizes do not sum to ", self->dims[d]);
                  for (size_t i = 0; i < sizes.size(); ++i) {
                    Dims shape = self->dims;
                    shape[d] = sizes[i];
                    expect_shape(out->tensors[i], "a tensor of out", shape);
                    expect_same_dtype(self, out->tensors[i], "self and out");
                  }
                  b.kernel([d](Frame& k) {
                    int64_t at = 0;
                    for (Operand& piece : k.out[0]) {
                      move_values(narrow(k.input(0), d, at, piece.dim(d)), piece);
                      at += piece.dim(d);
                    }
                  });
                });
}
EMU_PHASE2(aclnnSplitWithSize)

aclnnStatus aclnnSliceGetWorkspaceSize(const aclTensor* self, int64_t dim, int64_t start, int64_t end,
                                       int64_t step, aclTensor* out, uint64_t* workspaceSize,
                                       aclOpExecutor** executor) {
  return phase1(
      "aclnnSliceGetWorkspaceSize", "aclnnSlice", workspaceSize, executor,
      args(self, dim, start, end, step, static_cast<const aclTensor*>(out)), [&](Builder& b) {
        b.in(self, "self");
        b.out(out, "out");
        expect_same_dtype(self, out, "self and out");
        require(step > 0, kParamBad, "step ", step);
        const auto d = static_cast<size_t>(normal_dim(dim, self->dims.size()));
        const int64_t n = self->dims[d];
        const int64_t from = std::clamp(start < 0 ? start + n : start, int64_t{0}, n);
        const int64_t to = std::clamp(end < 0 ? end + n : end, from, n);
        Dims shape = self->dims;
        shape[d] = (to - from + step - 1) / step;
        expect_shape(out, "out", shape);
        b.kernel([=](Frame& k) { move_values(narrow(k.input(0), d, from, shape[d], step), k.output(0)); });
      });
}
EMU_PHASE2(aclnnSlice)

}  // extern "C"
