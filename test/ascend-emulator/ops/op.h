#pragma once
// Phase 1 of every operator: declares its arguments in ABI order, checks them, and leaves an executor with a
// kernel.

#include <initializer_list>
#include <string>
#include <vector>

#include "control/api.h"
#include "control/counters.h"
#include "meta/executor.h"

namespace emu {

constexpr int kParamNull = ACLNN_ERR_PARAM_NULLPTR;
constexpr int kParamBad = ACLNN_ERR_PARAM_INVALID;
constexpr int kTiling = ACLNN_ERR_INNER_TILING_ERROR;

using Dims = std::vector<int64_t>;
using Dtypes = std::initializer_list<aclDataType>;

enum class Need { kRequired, kOptional };

class Builder {
 public:
  explicit Builder(const char* op);

  // Arguments, in the order of the ABI. Each takes an index among the inputs or outputs, null or not. They
  // return the tensor (null when an optional one is absent).
  const aclTensor* in(const aclTensor* tensor, const char* name, Need need = Need::kRequired);
  const aclTensorList* in_list(const aclTensorList* list, const char* name);
  const aclIntArray* in_array(const aclIntArray* array, const char* name, Need need = Need::kOptional);
  const aclTensor* out(const aclTensor* tensor, const char* name, Need need = Need::kRequired);
  const aclTensorList* out_list(const aclTensorList* list, const char* name);
  const aclTensor* inout(const aclTensor* tensor, const char* name);  // an in-place operand: input and output

  void kernel(Kernel kernel) { executor_->kernel = std::move(kernel); }
  void workspace(uint64_t bytes) { executor_->workspace = bytes; }
  void on_launch(std::function<void()> effect) { executor_->on_launch = std::move(effect); }
  void not_repeatable() { executor_->may_repeat = false; }
  aclOpExecutor* finish();
  uint64_t workspace_size() const { return executor_->workspace; }

 private:
  Argument tensor_argument(const aclTensor* tensor, const char* name, Need need);
  std::unique_ptr<aclOpExecutor> executor_;
  bool any_output_ = false;
};

// Checks on one tensor; `code` 161002 unless said.
void expect_dtype(const aclTensor* tensor, const char* name, Dtypes allowed, int code = kParamBad);
void expect_same_dtype(const aclTensor* a, const aclTensor* b, const char* what);
void expect_shape(const aclTensor* tensor, const char* name, const Dims& dims, int code = kParamBad);
void expect_rank(const aclTensor* tensor, const char* name, size_t low, size_t high, int code = kParamBad);
void expect_contiguous(const aclTensor* tensor, const char* name, int code = kParamBad);
void expect_nd(const aclTensor* tensor, const char* name);
int64_t normal_dim(int64_t dim, size_t rank);

template <class Build, class... A>
aclnnStatus phase1(const char* function, const char* op, uint64_t* workspace_size, aclOpExecutor** executor,
                   const std::tuple<A...>& arguments, Build&& build) {
  return api(function, arguments, [&] {
    count(Count::kPhase1);
    current_context();
    require(workspace_size && executor, kParamNull, "workspaceSize or executor is null");
    Builder builder(op);
    build(builder);
    *executor = builder.finish();
    *workspace_size = (*executor)->workspace;
  });
}

}  // namespace emu

// Phase 2 of an operator.
#define EMU_PHASE2(op)                                                                        \
  extern "C" aclnnStatus op(void* workspace, uint64_t workspaceSize, aclOpExecutor* executor, \
                            aclrtStream stream) {                                             \
    return emu::launch(#op, workspace, workspaceSize, executor, stream);                      \
  }
