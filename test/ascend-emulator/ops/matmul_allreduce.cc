// A matrix product whose partial results are summed over the ranks of a communicator.

#include <string>

#include "abi/aclnn.h"
#include "hccl/comm.h"
#include "ops/matmul.h"
#include "ops/numeric.h"

namespace emu {
namespace {

struct Fused {
  const aclTensor *x1, *x2, *bias, *x3, *output;
  const char *group, *op;
  int64_t turn, stream_mode;
};

void build(Builder& b, const Fused& f, bool with_x3) {
  b.in(f.x1, "x1");
  b.in(f.x2, "x2");
  b.in(f.bias, "bias", Need::kOptional);
  if (with_x3) b.in(f.x3, "x3", Need::kOptional);
  b.out(f.output, "output");
  require(f.group && f.op, kParamNull, "group or reduceOp is null");
  require(std::string(f.op) == "sum", kParamBad, "reduceOp must be \"sum\"");
  require(f.turn == 0 && f.stream_mode == 1, kParamBad, "commTurn must be 0 and streamMode 1");
  expect_dtype(f.x1, "x1", {ACL_BF16, ACL_FLOAT16});
  for (const aclTensor* t : {f.x2, f.bias, f.x3, f.output}) expect_same_dtype(f.x1, t, "the operands");
  expect_rank(f.x1, "x1", 2, 2);
  expect_rank(f.x2, "x2", 2, 2);
  expect_contiguous(f.x1, "x1");
  require(f.x1->dims[1] == f.x2->dims[0], kParamBad, "x1 ", shape_text(f.x1->dims), " @ x2 ",
          shape_text(f.x2->dims));
  const Dims shape = {f.x1->dims[0], f.x2->dims[1]};
  expect_shape(f.output, "output", shape);
  expect_shape(f.x3, "x3", shape);
  expect_shape(f.bias, "bias", {shape[1]});
  Comm& comm = comm_by_name(f.group, current_context().device);
  b.workspace(4096);
  b.kernel([&comm, with_x3](Frame& k) {
    const Operand& a = k.input(0);
    const int64_t m = a.dim(0), inner = a.dim(1), n = k.input(1).dim(1);
    Floats c = multiply_rows(read_floats(a), columns_as_rows(k.input(1)), m, n, inner);
    k.flops += static_cast<uint64_t>(2 * m * n * inner);
    const Floats bias = k.has(2) ? read_floats(k.input(2)) : Floats();
    const bool bf16 = a.dtype() == ACL_BF16;
    for (size_t i = 0; i < c.size(); ++i) {
      if (!bias.empty()) c[i] += bias[i % bias.size()];
      c[i] = bf16 ? round_bf16(c[i]) : half_to_float(float_to_half(c[i]));
    }
    Share share;
    share.kind = Collective::kFusedSum;
    share.count = c.size();
    share.dtype = bf16 ? HCCL_DATA_TYPE_BFP16 : HCCL_DATA_TYPE_FP16;
    share.floats = &c;
    meet(comm, share, *k.stream);
    if (with_x3 && k.has(3)) {
      const Floats x3 = read_floats(k.input(3));
      for (size_t i = 0; i < c.size(); ++i) c[i] += x3[i];
    }
    write_floats(k.output(0), c);
  });
}

}  // namespace
}  // namespace emu

using namespace emu;

extern "C" {

aclnnStatus aclnnMatmulAllReduceGetWorkspaceSize(const aclTensor* x1, const aclTensor* x2,
                                                 const aclTensor* bias, const char* group,
                                                 const char* reduceOp, int64_t commTurn, int64_t streamMode,
                                                 const aclTensor* output, uint64_t* workspaceSize,
                                                 aclOpExecutor** executor) {
  return phase1("aclnnMatmulAllReduceGetWorkspaceSize", "aclnnMatmulAllReduce", workspaceSize, executor,
                args(x1, x2, bias, group, reduceOp, commTurn, streamMode, output), [&](Builder& b) {
                  build(b, {x1, x2, bias, nullptr, output, group, reduceOp, commTurn, streamMode}, false);
                });
}
EMU_PHASE2(aclnnMatmulAllReduce)

aclnnStatus aclnnMatmulAllReduceV2GetWorkspaceSize(const aclTensor* x1, const aclTensor* x2,
                                                   const aclTensor* bias, const aclTensor* x3,
                                                   const char* group, const char* reduceOp, int64_t commTurn,
                                                   int64_t streamMode, const aclTensor* output,
                                                   uint64_t* workspaceSize, aclOpExecutor** executor) {
  return phase1("aclnnMatmulAllReduceV2GetWorkspaceSize", "aclnnMatmulAllReduceV2", workspaceSize, executor,
                args(x1, x2, bias, x3, group, reduceOp, commTurn, streamMode, output), [&](Builder& b) {
                  build(b, {x1, x2, bias, x3, output, group, reduceOp, commTurn, streamMode}, true);
                });
}
EMU_PHASE2(aclnnMatmulAllReduceV2)

}  // extern "C"
