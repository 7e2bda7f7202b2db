// Arg-max, top-k, sorting, softmax, top-k/top-p filtering.

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "abi/aclnn.h"
#include "ops/op.h"
#include "ops/values.h"

namespace emu {
namespace {

constexpr Dtypes kFloatTypes = {ACL_FLOAT, ACL_FLOAT16, ACL_BF16};

// The operand as (outer, n, inner) around one dimension.
struct Lines {
  int64_t outer = 1, n = 1, inner = 1;
  size_t at(int64_t o, int64_t i, int64_t in) const { return static_cast<size_t>((o * n + i) * inner + in); }
};

Lines lines_of(const Dims& dims, size_t dim) {
  Lines l;
  for (size_t d = 0; d < dims.size(); ++d) (d < dim ? l.outer : d == dim ? l.n : l.inner) *= dims[d];
  return l;
}

template <class F>
void for_each_line(const Lines& l, F&& f) {
  for (int64_t o = 0; o < l.outer; ++o)
    for (int64_t i = 0; i < l.inner; ++i) f(o, i);
}

// Larger first; NaN counts as the largest; equal values keep their order.
bool before(float a, float b) {
  return (a != a && b == b) || a > b;
}

int64_t first_maximum(const Floats& v, const Lines& l, int64_t o, int64_t in) {
  int64_t best = 0;
  for (int64_t i = 1; i < l.n; ++i)
    if (before(v[l.at(o, i, in)], v[l.at(o, best, in)])) best = i;
  return best;
}

Dims reduced(const Dims& dims, size_t dim, bool keep) {
  Dims out = dims;
  if (keep)
    out[dim] = 1;
  else
    out.erase(out.begin() + static_cast<ptrdiff_t>(dim));
  return out;
}

void build_maximum(Builder& b, const aclTensor* self, int64_t dim, bool keepdim, const aclTensor* values,
                   const aclTensor* index) {
  const auto d = static_cast<size_t>(normal_dim(dim, self->dims.size()));
  const Dims shape = reduced(self->dims, d, keepdim);
  expect_shape(values, "out", shape);
  expect_shape(index, "indices", shape);
  require(self->dims[d] > 0, kParamBad, "the reduced dim is empty");
  b.workspace(64);
  const bool both = values != nullptr;
  b.kernel([d, both](Frame& k) {
    const Floats v = read_floats(k.input(0));
    const Lines l = lines_of(k.input(0).dims(), d);
    Floats best;
    Ints index_values;
    for_each_line(l, [&](int64_t o, int64_t in) {
      index_values.push_back(first_maximum(v, l, o, in));
      best.push_back(v[l.at(o, index_values.back(), in)]);
    });
    if (both) write_floats(k.output(0), best);
    write_ints(k.output(both ? 1 : 0), index_values);
  });
}

// The `keep` first of each line in order; values are copied, so they stay exact.
void sort_lines(Frame& k, size_t dim, int64_t keep, bool descending) {
  const Floats v = read_floats(k.input(0));
  const Lines l = lines_of(k.input(0).dims(), dim);
  Lines kept = l;
  kept.n = keep;
  Floats values(static_cast<size_t>(l.outer * keep * l.inner));
  Ints index(values.size());
  std::vector<int64_t> order(static_cast<size_t>(l.n));
  for_each_line(l, [&](int64_t o, int64_t in) {
    std::iota(order.begin(), order.end(), 0);
    const auto less = [&](int64_t a, int64_t c) {
      const float x = v[l.at(o, a, in)], y = v[l.at(o, c, in)];
      if (descending ? before(x, y) : before(y, x)) return true;
      if (descending ? before(y, x) : before(x, y)) return false;
      return a < c;
    };
    std::partial_sort(order.begin(), order.begin() + keep, order.end(), less);
    for (int64_t i = 0; i < keep; ++i) {
      values[kept.at(o, i, in)] = v[l.at(o, order[static_cast<size_t>(i)], in)];
      index[kept.at(o, i, in)] = order[static_cast<size_t>(i)];
    }
  });
  write_floats(k.output(0), values);
  write_ints(k.output(1), index);
}

void build_softmax(Builder& b, const aclTensor* self, int64_t dim, const aclTensor* out, bool logarithm) {
  b.in(self, "self");
  b.out(out, "out");
  expect_dtype(self, "self", kFloatTypes);
  expect_dtype(out, "out", kFloatTypes);
  require(out->dtype == self->dtype || (logarithm && out->dtype == ACL_FLOAT), kParamBad, "out is ",
          dtype_name(out->dtype));
  expect_shape(out, "out", self->dims);
  const auto d = static_cast<size_t>(normal_dim(dim, self->dims.size()));
  b.workspace(64);
  b.kernel([d, logarithm](Frame& k) {
    Floats v = read_floats(k.input(0));
    const Lines l = lines_of(k.input(0).dims(), d);
    for_each_line(l, [&](int64_t o, int64_t in) {
      float high = -std::numeric_limits<float>::infinity(), sum = 0;
      for (int64_t i = 0; i < l.n; ++i) high = std::max(high, v[l.at(o, i, in)]);
      for (int64_t i = 0; i < l.n; ++i) sum += std::exp(v[l.at(o, i, in)] - high);
      const float log_sum = std::log(sum);
      for (int64_t i = 0; i < l.n; ++i) {
        float& x = v[l.at(o, i, in)];
        x = logarithm ? x - high - log_sum : std::exp(x - high) / sum;
      }
    });
    write_floats(k.output(0), v);
  });
}

// One row of ApplyTopKTopP.
void filter_row(float* row, int64_t n, int64_t k, float p, bool has_p) {
  const float kNone = -std::numeric_limits<float>::infinity();
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t c) { return row[a] < row[c]; });
  if (k > 0 && k < n) {
    const float threshold = row[order[static_cast<size_t>(n - k)]];
    for (int64_t i = 0; i < n; ++i)
      if (row[i] < threshold) row[i] = kNone;
  }
  if (!has_p) return;
  const float high = row[order.back()];
  float sum = 0, running = 0;
  for (const int64_t i : order) sum += std::exp(row[i] - high);
  for (size_t j = 0; j + 1 < order.size(); ++j) {
    float& x = row[order[j]];
    running += std::exp(x - high) / sum;
    if (running <= 1 - p) x = kNone;
  }
}

}  // namespace
}  // namespace emu

using namespace emu;

extern "C" {

aclnnStatus aclnnArgMaxGetWorkspaceSize(const aclTensor* self, int64_t dim, bool keepdim, aclTensor* out,
                                        uint64_t* workspaceSize, aclOpExecutor** executor) {
  return phase1("aclnnArgMaxGetWorkspaceSize", "aclnnArgMax", workspaceSize, executor,
                args(self, dim, keepdim, static_cast<const aclTensor*>(out)), [&](Builder& b) {
                  b.in(self, "self");
                  b.out(out, "out");
                  expect_dtype(out, "out", {ACL_INT32, ACL_INT64});
                  build_maximum(b, self, dim, keepdim, nullptr, out);
                });
}
EMU_PHASE2(aclnnArgMax)

aclnnStatus aclnnMaxDimGetWorkspaceSize(const aclTensor* self, int64_t dim, bool keepdim, aclTensor* out,
                                        aclTensor* indices, uint64_t* workspaceSize,
                                        aclOpExecutor** executor) {
  return phase1(
      "aclnnMaxDimGetWorkspaceSize", "aclnnMaxDim", workspaceSize, executor,
      args(self, dim, keepdim, static_cast<const aclTensor*>(out), static_cast<const aclTensor*>(indices)),
      [&](Builder& b) {
        b.in(self, "self");
        b.out(out, "out");
        b.out(indices, "indices");
        expect_same_dtype(self, out, "self and out");
        expect_dtype(indices, "indices", {ACL_INT64});
        build_maximum(b, self, dim, keepdim, out, indices);
      });
}
EMU_PHASE2(aclnnMaxDim)

aclnnStatus aclnnTopkGetWorkspaceSize(const aclTensor* self, int64_t k, int64_t dim, bool largest,
                                      bool sorted, aclTensor* valuesOut, aclTensor* indicesOut,
                                      uint64_t* workspaceSize, aclOpExecutor** executor) {
  return phase1("aclnnTopkGetWorkspaceSize", "aclnnTopk", workspaceSize, executor,
                args(self, k, dim, largest, sorted, static_cast<const aclTensor*>(valuesOut),
                     static_cast<const aclTensor*>(indicesOut)),
                [&](Builder& b) {
                  b.in(self, "self");
                  b.out(valuesOut, "valuesOut");
                  b.out(indicesOut, "indicesOut");
                  require(sorted, kParamBad, "sorted must be true");
                  const auto d = static_cast<size_t>(normal_dim(dim, self->dims.size()));
                  require(k >= 0 && k <= self->dims[d], kParamBad, "k ", k, " of ", self->dims[d]);
                  Dims shape = self->dims;
                  shape[d] = k;
                  expect_same_dtype(self, valuesOut, "self and valuesOut");
                  expect_shape(valuesOut, "valuesOut", shape);
                  expect_dtype(indicesOut, "indicesOut", {ACL_INT64});
                  expect_shape(indicesOut, "indicesOut", shape);
                  b.workspace(1024);
                  b.kernel([d, k, largest](Frame& f) { sort_lines(f, d, k, largest); });
                });
}
EMU_PHASE2(aclnnTopk)

aclnnStatus aclnnSortGetWorkspaceSize(const aclTensor* self, bool stable, int64_t dim, bool descending,
                                      aclTensor* valuesOut, aclTensor* indicesOut, uint64_t* workspaceSize,
                                      aclOpExecutor** executor) {
  return phase1("aclnnSortGetWorkspaceSize", "aclnnSort", workspaceSize, executor,
                args(self, stable, dim, descending, static_cast<const aclTensor*>(valuesOut),
                     static_cast<const aclTensor*>(indicesOut)),
                [&](Builder& b) {
                  b.in(self, "self");
                  b.out(valuesOut, "valuesOut");
                  b.out(indicesOut, "indicesOut");
                  const auto d = static_cast<size_t>(normal_dim(dim, self->dims.size()));
                  require(!(self->dtype == ACL_BF16 && self->dims[d] == 1), kParamBad,
                          "bf16 with a sorted dim of size 1");
                  expect_same_dtype(self, valuesOut, "self and valuesOut");
                  expect_shape(valuesOut, "valuesOut", self->dims);
                  expect_dtype(indicesOut, "indicesOut", {ACL_INT64});
                  expect_shape(indicesOut, "indicesOut", self->dims);
                  b.workspace(1024);
                  const int64_t n = self->dims[d];
                  b.kernel([d, n, descending](Frame& f) { sort_lines(f, d, n, descending); });
                });
}
EMU_PHASE2(aclnnSort)

aclnnStatus aclnnSoftmaxGetWorkspaceSize(const aclTensor* self, int64_t dim, aclTensor* out,
                                         uint64_t* workspaceSize, aclOpExecutor** executor) {
  return phase1("aclnnSoftmaxGetWorkspaceSize", "aclnnSoftmax", workspaceSize, executor,
                args(self, dim, static_cast<const aclTensor*>(out)),
                [&](Builder& b) { build_softmax(b, self, dim, out, false); });
}
EMU_PHASE2(aclnnSoftmax)

aclnnStatus aclnnLogSoftmaxGetWorkspaceSize(const aclTensor* self, int64_t dim, aclTensor* out,
                                            uint64_t* workspaceSize, aclOpExecutor** executor) {
  return phase1("aclnnLogSoftmaxGetWorkspaceSize", "aclnnLogSoftmax", workspaceSize, executor,
                args(self, dim, static_cast<const aclTensor*>(out)),
                [&](Builder& b) { build_softmax(b, self, dim, out, true); });
}
EMU_PHASE2(aclnnLogSoftmax)

aclnnStatus aclnnCumsumGetWorkspaceSize(const aclTensor* self, int64_t dim, aclDataType dtype, aclTensor* out,
                                        uint64_t* workspaceSize, aclOpExecutor** executor) {
  return phase1("aclnnCumsumGetWorkspaceSize", "aclnnCumsum", workspaceSize, executor,
                args(self, dim, dtype, static_cast<const aclTensor*>(out)), [&](Builder& b) {
                  b.in(self, "self");
                  b.out(out, "out");
                  require(dtype == out->dtype, kParamBad, "dtype ", static_cast<int>(dtype),
                          " differs from out's");
                  expect_shape(out, "out", self->dims);
                  const auto d = static_cast<size_t>(normal_dim(dim, self->dims.size()));
                  b.workspace(64);
                  b.kernel([d](Frame& k) {
                    const Lines l = lines_of(k.input(0).dims(), d);
                    Floats v = read_floats(k.input(0));
                    for_each_line(l, [&](int64_t o, int64_t in) {
                      for (int64_t i = 1; i < l.n; ++i) v[l.at(o, i, in)] += v[l.at(o, i - 1, in)];
                    });
                    write_floats(k.output(0), v);
                  });
                });
}
EMU_PHASE2(aclnnCumsum)

aclnnStatus aclnnApplyTopKTopPGetWorkspaceSize(const aclTensor* logits, const aclTensor* p,
                                               const aclTensor* k, aclTensor* out, uint64_t* workspaceSize,
                                               aclOpExecutor** executor) {
  return phase1("aclnnApplyTopKTopPGetWorkspaceSize", "aclnnApplyTopKTopP", workspaceSize, executor,
                args(logits, p, k, static_cast<const aclTensor*>(out)), [&](Builder& b) {
                  b.in(logits, "logits");
                  b.in(p, "p", Need::kOptional);
                  b.in(k, "k", Need::kOptional);
                  b.out(out, "out");
                  require(p || k, kParamNull, "p and k are both null");
                  expect_dtype(logits, "logits", kFloatTypes);
                  expect_rank(logits, "logits", 2, 2);
                  expect_same_dtype(logits, p, "logits and p");
                  expect_same_dtype(logits, out, "logits and out");
                  expect_dtype(k, "k", {ACL_INT32});
                  expect_shape(p, "p", {logits->dims[0]});
                  expect_shape(k, "k", {logits->dims[0]});
                  expect_shape(out, "out", logits->dims);
                  b.workspace(4096);
                  b.kernel([](Frame& f) {
                    Floats v = read_floats(f.input(0));
                    const Floats top_p = f.has(1) ? read_floats(f.input(1)) : Floats();
                    const Ints top_k = f.has(2) ? read_ints(f.input(2)) : Ints();
                    const int64_t n = f.input(0).dim(1);
                    for (int64_t r = 0; r < f.input(0).dim(0); ++r) {
                      const auto row = static_cast<size_t>(r);
                      filter_row(v.data() + r * n, n, top_k.empty() ? 0 : top_k[row],
                                 top_p.empty() ? 1 : top_p[row], !top_p.empty());
                    }
                    write_floats(f.output(0), v);
                  });
                });
}
EMU_PHASE2(aclnnApplyTopKTopP)

}  // extern "C"
