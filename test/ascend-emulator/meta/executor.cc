#include "meta/executor.h"

#include <mutex>
#include <unordered_map>
#include <unordered_set>

#include "control/config.h"

namespace emu {
namespace {

constexpr int kNullCode = ACLNN_ERR_INNER_NULLPTR;
constexpr int kInner = ACLNN_ERR_INNER;

struct Live {
  std::mutex mutex;
  std::unordered_set<const aclOpExecutor*> executors;  // guarded by mutex
  std::unordered_map<const void*, std::string>
      consumed;  // address -> operator, until the address is used again
};

Live& live() {
  static auto* instance = new Live;
  return *instance;
}

Argument& argument_at(aclOpExecutor& executor, Side side, size_t index) {
  if (side == Side::kInput || (side == Side::kBoth && index < executor.inputs.size())) {
    require(index < executor.inputs.size(), ACLNN_ERR_PARAM_INVALID, executor.op, " has ",
            executor.inputs.size(), " inputs, index ", index);
    return executor.inputs[index];
  }
  const size_t at = side == Side::kBoth ? index - executor.inputs.size() : index;
  require(at < executor.outputs.size(), ACLNN_ERR_PARAM_INVALID, executor.op, " has ",
          executor.outputs.size(), " outputs, index ", at);
  return executor.outputs[at];
}

// An in-place operand is one tensor: setting either end moves both.
void follow_alias(aclOpExecutor& executor, const Argument& changed) {
  for (size_t i = 0; i < executor.outputs.size(); ++i) {
    if (executor.alias[i] < 0) continue;
    Argument& in = executor.inputs[static_cast<size_t>(executor.alias[i])];
    Argument& out = executor.outputs[i];
    if (&changed == &in) out.tensors = in.tensors;
    if (&changed == &out) in.tensors = out.tensors;
  }
}

void check_address(const void* address) {
  require(reinterpret_cast<uintptr_t>(address) % 32 == 0, ACLNN_ERR_PARAM_INVALID, "tensor address ", address,
          " is not 32-byte aligned");
}

}  // namespace

Operand& Frame::none() {
  static Operand absent;
  return absent;
}

aclOpExecutor* adopt_executor(std::unique_ptr<aclOpExecutor> executor) {
  Live& l = live();
  const std::lock_guard lock(l.mutex);
  l.executors.insert(executor.get());
  l.consumed.erase(executor.get());
  return executor.release();
}

aclOpExecutor& checked_executor(const aclOpExecutor* executor, int null_code, int foreign_code) {
  require(executor, null_code, "executor is null");
  Live& l = live();
  const std::lock_guard lock(l.mutex);
  if (l.executors.contains(executor)) return *const_cast<aclOpExecutor*>(executor);
  const auto gone = l.consumed.find(executor);
  require(gone == l.consumed.end(), foreign_code, "the executor of ",
          gone == l.consumed.end() ? std::string() : gone->second, " was consumed or destroyed before");
  refuse(foreign_code, static_cast<const void*>(executor), " is not an executor");
}

namespace {

void remove_executor(aclOpExecutor* executor) {
  Live& l = live();
  const std::lock_guard lock(l.mutex);
  l.executors.erase(executor);
  l.consumed[executor] = executor->op;
  delete executor;
}

}  // namespace

void destroy_executor(aclOpExecutor* executor) {
  checked_executor(executor, kNullCode, kInner);
  remove_executor(executor);
}

void set_repeatable(aclOpExecutor* executor) {
  aclOpExecutor& e = checked_executor(executor, kNullCode, kInner);
  require(e.runs == 0, kInner, "aclSetAclOpExecutorRepeatable after phase 2");
  if (!e.may_repeat) decline(kInner, "this executor copies from the host and cannot be repeated");
  e.repeatable = true;
}

uint64_t live_executors() {
  Live& l = live();
  const std::lock_guard lock(l.mutex);
  return l.executors.size();
}

void set_tensor_address(aclOpExecutor* executor, Side side, size_t index, aclTensor* tensor, void* address) {
  require(tensor, kNullCode, "tensor is null");
  require(meta_alive(Meta::kTensor, tensor), kInner, "not a live tensor");
  check_address(address);
  aclOpExecutor& e = checked_executor(executor, kNullCode, kInner);
  require(e.repeatable, kInner, "addresses are set on repeatable executors only");
  Argument& argument = argument_at(e, side, index);
  require(argument.is_tensor && !argument.list && !argument.tensors.empty(), ACLNN_ERR_PARAM_INVALID,
          "argument ", index, " of ", e.op, " is null, an array or a list");
  require(argument.objects[0] == tensor, ACLNN_ERR_PARAM_INVALID, "argument ", index, " of ", e.op,
          " was made with another tensor object: composite operators would not see the new address");
  tensor->data = address;
  argument.tensors[0].data = address;
  follow_alias(e, argument);
}

void set_list_address(aclOpExecutor* executor, Side side, size_t index, size_t element, aclTensorList* list,
                      void* address) {
  require(list, kNullCode, "list is null");
  require(meta_alive(Meta::kTensorList, list), kInner, "not a live tensor list");
  check_address(address);
  aclOpExecutor& e = checked_executor(executor, kNullCode, kInner);
  require(e.repeatable, kInner, "addresses are set on repeatable executors only");
  Argument& argument = argument_at(e, side, index);
  require(argument.list == list, ACLNN_ERR_PARAM_INVALID, "argument ", index, " of ", e.op,
          " was not made with this tensor list");
  require(element < argument.tensors.size(), ACLNN_ERR_PARAM_INVALID, "element ", element, " of a list of ",
          argument.tensors.size());
  list->tensors[element]->data = address;
  argument.tensors[element].data = address;
}

}  // namespace emu
