// The ABI of executors (libnnopbase.so).

#include "abi/acl_meta.h"
#include "control/api.h"
#include "meta/executor.h"

using namespace emu;

extern "C" {

aclnnStatus aclSetAclOpExecutorRepeatable(aclOpExecutor* executor) {
  return api("aclSetAclOpExecutorRepeatable", args(executor), [&] { set_repeatable(executor); });
}

aclnnStatus aclDestroyAclOpExecutor(aclOpExecutor* executor) {
  return api("aclDestroyAclOpExecutor", args(executor), [&] { destroy_executor(executor); });
}

aclnnStatus aclSetTensorAddr(aclOpExecutor* executor, const size_t index, aclTensor* tensor, void* addr) {
  return api("aclSetTensorAddr", args(executor, index, static_cast<const aclTensor*>(tensor), addr),
             [&] { set_tensor_address(executor, Side::kBoth, index, tensor, addr); });
}

aclnnStatus aclSetInputTensorAddr(aclOpExecutor* executor, const size_t index, aclTensor* tensor,
                                  void* addr) {
  return api("aclSetInputTensorAddr", args(executor, index, static_cast<const aclTensor*>(tensor), addr),
             [&] { set_tensor_address(executor, Side::kInput, index, tensor, addr); });
}

aclnnStatus aclSetOutputTensorAddr(aclOpExecutor* executor, const size_t index, aclTensor* tensor,
                                   void* addr) {
  return api("aclSetOutputTensorAddr", args(executor, index, static_cast<const aclTensor*>(tensor), addr),
             [&] { set_tensor_address(executor, Side::kOutput, index, tensor, addr); });
}

aclnnStatus aclSetDynamicTensorAddr(aclOpExecutor* executor, size_t irIndex, const size_t relativeIndex,
                                    aclTensorList* tensors, void* addr) {
  return api("aclSetDynamicTensorAddr", args(executor, irIndex, relativeIndex, tensors, addr),
             [&] { set_list_address(executor, Side::kBoth, irIndex, relativeIndex, tensors, addr); });
}

aclnnStatus aclSetDynamicInputTensorAddr(aclOpExecutor* executor, size_t irIndex, const size_t relativeIndex,
                                         aclTensorList* tensors, void* addr) {
  return api("aclSetDynamicInputTensorAddr", args(executor, irIndex, relativeIndex, tensors, addr),
             [&] { set_list_address(executor, Side::kInput, irIndex, relativeIndex, tensors, addr); });
}

aclnnStatus aclSetDynamicOutputTensorAddr(aclOpExecutor* executor, size_t irIndex, const size_t relativeIndex,
                                          aclTensorList* tensors, void* addr) {
  return api("aclSetDynamicOutputTensorAddr", args(executor, irIndex, relativeIndex, tensors, addr),
             [&] { set_list_address(executor, Side::kOutput, irIndex, relativeIndex, tensors, addr); });
}

}  // extern "C"
