#pragma once
// Executors: what phase 1 makes and phase 2 runs.
//
// Two kinds of operators exist in CANN and differ in what an address update means: composite ones read the
// tensor object again at every run, individual ones keep the address in the executor. A caller cannot tell
// which it has, so a repeatable executor must be used in the way that suits both: the same tensor objects,
// alive, updated through this executor's index.

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "control/api.h"
#include "meta/meta.h"
#include "runtime/memory.h"
#include "runtime/stream.h"

namespace emu {

// A tensor as a kernel sees it: the description frozen by phase 1, the address as it was at phase 2, and the
// bytes.
struct Operand {
  aclTensor tensor;  // copy
  bool present = false;
  Bytes bytes;  // of the view's extent; set while the kernel runs
  Extent extent;
  uint64_t block = 0;  // allocation the address was in at phase 2
  bool written = false;

  const std::vector<int64_t>& dims() const { return tensor.dims; }
  int64_t dim(size_t i) const { return tensor.dims[i]; }
  size_t rank() const { return tensor.dims.size(); }
  int64_t count() const { return element_count(tensor.dims); }
  aclDataType dtype() const { return tensor.dtype; }
  // Element 0 of the view.
  char* at() const {
    return bytes.at + tensor.offset * static_cast<int64_t>(element_size(tensor.dtype)) - extent.begin;
  }
};

struct Frame {
  std::vector<std::vector<Operand>> in, out;  // by argument; a list argument has several
  Stream* stream = nullptr;
  std::string op;
  uint64_t flops = 0;

  Operand& input(size_t i) { return in[i].empty() ? none() : in[i][0]; }
  Operand& output(size_t i) { return out[i].empty() ? none() : out[i][0]; }
  bool has(size_t i) const { return !in[i].empty() && in[i][0].present; }
  static Operand& none();
};

using Kernel = std::function<void(Frame&)>;

struct Argument {
  std::vector<const aclTensor*> objects;  // null entries for absent optionals
  std::vector<aclTensor> tensors;         // as at phase 1, addresses as last set through the executor
  const aclTensorList* list = nullptr;
  bool is_tensor = false;  // false: a null or host array argument, which only takes an index
};

}  // namespace emu

struct aclOpExecutor {
  std::string op, key;  // name of phase 2; name with dtypes and shapes
  int device = -1;
  bool repeatable = false, may_repeat = true;
  bool tensors_kept = true;
  uint64_t workspace = 0, runs = 0;
  std::vector<emu::Argument> inputs, outputs;
  // An output that is an input too (in place): index of that input, else -1.
  std::vector<int> alias;
  emu::Kernel kernel;
  std::function<void()> on_launch;  // host-side effect of phase 2 (weight transposition changes its tensor)
};

namespace emu {

aclOpExecutor* adopt_executor(std::unique_ptr<aclOpExecutor> executor);
aclOpExecutor& checked_executor(const aclOpExecutor* executor, int null_code, int foreign_code);
void destroy_executor(aclOpExecutor* executor);
void set_repeatable(aclOpExecutor* executor);
uint64_t live_executors();

enum class Side { kInput, kOutput, kBoth };
void set_tensor_address(aclOpExecutor* executor, Side side, size_t index, aclTensor* tensor, void* address);
void set_list_address(aclOpExecutor* executor, Side side, size_t index, size_t element, aclTensorList* list,
                      void* address);

// Phase 2 of every operator.
aclnnStatus launch(const char* op, void* workspace, uint64_t workspace_size, aclOpExecutor* executor,
                   aclrtStream stream);

}  // namespace emu
