#pragma once
// The table of CANN functions this package calls: one line each, with its need and its exact signature. The
// loader walks the lists; call sites use the typed members. ABI source: the public CANN headers, identical
// from 8.1.RC1 to 9.2 wherever a name exists.

#include <string>

#include "backend/ascend/acl_types.h"

namespace agentinfer::acl {

enum class Need : uint8_t {
  kRequired,  // without it nothing runs: the loader refuses the installation and names it
  kOptional,  // null where absent; the caller has another way, or does without the feature
};

// R = required, O = optional: (result, name, parameters...)
#define AGENTINFER_ACL_RUNTIME(R, O)                                                              \
  R(aclError, aclInit, const char*)                                                               \
  R(aclError, aclrtGetDeviceCount, uint32_t*)                                                     \
  R(const char*, aclrtGetSocName, void)                                                           \
  R(const char*, aclGetRecentErrMsg, void)                                                        \
  R(aclError, aclrtSetDevice, int32_t)                                                            \
  R(aclError, aclrtResetDevice, int32_t)                                                          \
  R(aclError, aclrtCreateStreamWithConfig, aclrtStream*, uint32_t, uint32_t)                      \
  R(aclError, aclrtDestroyStream, aclrtStream)                                                    \
  R(aclError, aclrtDestroyStreamForce, aclrtStream)                                               \
  R(aclError, aclrtSynchronizeStreamWithTimeout, aclrtStream, int32_t)                            \
  R(aclError, aclrtStreamWaitEvent, aclrtStream, aclrtEvent)                                      \
  R(aclError, aclrtCreateEventExWithFlag, aclrtEvent*, uint32_t)                                  \
  R(aclError, aclrtDestroyEvent, aclrtEvent)                                                      \
  R(aclError, aclrtRecordEvent, aclrtEvent, aclrtStream)                                          \
  R(aclError, aclrtMalloc, void**, size_t, aclrtMemMallocPolicy)                                  \
  R(aclError, aclrtFree, void*)                                                                   \
  R(aclError, aclrtMallocHost, void**, size_t)                                                    \
  R(aclError, aclrtFreeHost, void*)                                                               \
  R(aclError, aclrtGetMemInfo, aclrtMemAttr, size_t*, size_t*)                                    \
  R(aclError, aclrtMemcpyAsync, void*, size_t, const void*, size_t, aclrtMemcpyKind, aclrtStream) \
  R(aclError, aclrtMemsetAsync, void*, size_t, int32_t, size_t, aclrtStream)                      \
  R(aclError, aclrtSetDeviceSatMode, aclrtFloatOverflowMode)                                      \
  O(aclError, aclrtStreamAbort, aclrtStream)                                                      \
  O(aclError, aclrtSynchronizeEventWithTimeout, aclrtEvent, int32_t)                              \
  O(aclError, aclrtGetVersion, int32_t*, int32_t*, int32_t*)                                      \
  O(aclError, aclsysGetVersionStr, char*, char*)                                                  \
  O(aclError, aclsysGetCANNVersion, aclCANNPackageName, aclCANNPackageVersion*)                   \
  O(aclError, aclrtGetStreamAvailableNum, uint32_t*)                                              \
  O(aclError, aclmdlRICaptureBegin, aclrtStream, aclmdlRICaptureMode)                             \
  O(aclError, aclmdlRICaptureEnd, aclrtStream, aclmdlRI*)                                         \
  O(aclError, aclmdlRIExecuteAsync, aclmdlRI, aclrtStream)                                        \
  O(aclError, aclmdlRIDestroy, aclmdlRI)                                                          \
  O(aclError, aclmdlRICaptureTaskGrpBegin, aclrtStream)                                           \
  O(aclError, aclmdlRICaptureTaskGrpEnd, aclrtStream, aclrtTaskGrp*)                              \
  O(aclError, aclmdlRICaptureTaskUpdateBegin, aclrtStream, aclrtTaskGrp)                          \
  O(aclError, aclmdlRICaptureTaskUpdateEnd, aclrtStream)

#define AGENTINFER_ACL_META(R, O)                                                                           \
  R(aclTensor*, aclCreateTensor, const int64_t*, uint64_t, aclDataType, const int64_t*, int64_t, aclFormat, \
    const int64_t*, uint64_t, void*)                                                                        \
  R(aclnnStatus, aclDestroyTensor, const aclTensor*)                                                        \
  R(aclScalar*, aclCreateScalar, void*, aclDataType)                                                        \
  R(aclnnStatus, aclDestroyScalar, const aclScalar*)                                                        \
  R(aclIntArray*, aclCreateIntArray, const int64_t*, uint64_t)                                              \
  R(aclnnStatus, aclDestroyIntArray, const aclIntArray*)                                                    \
  R(aclTensorList*, aclCreateTensorList, const aclTensor* const*, uint64_t)                                 \
  R(aclnnStatus, aclDestroyTensorList, const aclTensorList*)                                                \
  R(aclnnStatus, aclSetAclOpExecutorRepeatable, aclOpExecutor*)                                             \
  R(aclnnStatus, aclDestroyAclOpExecutor, aclOpExecutor*)                                                   \
  R(aclnnStatus, aclSetInputTensorAddr, aclOpExecutor*, size_t, aclTensor*, void*)                          \
  R(aclnnStatus, aclSetOutputTensorAddr, aclOpExecutor*, size_t, aclTensor*, void*)                         \
  R(aclnnStatus, aclSetDynamicInputTensorAddr, aclOpExecutor*, size_t, size_t, aclTensorList*, void*)

// Resolved only when an engine spans several devices.
#define AGENTINFER_HCCL(R, O)                                                                             \
  R(HcclResult, HcclCommInitAll, uint32_t, int32_t*, HcclComm*)                                           \
  R(HcclResult, HcclCommDestroy, HcclComm)                                                                \
  R(HcclResult, HcclGetCommAsyncError, HcclComm, HcclResult*)                                             \
  R(HcclResult, HcclAllReduce, void*, void*, uint64_t, HcclDataType, HcclReduceOp, HcclComm, aclrtStream) \
  R(HcclResult, HcclAllGather, void*, void*, uint64_t, HcclDataType, HcclComm, aclrtStream)

// A two-phase operator; P are phase 1's parameters before (workspaceSize, executor).
template <typename... P>
struct Operator {
  const char* name;
  aclnnStatus (*phase1)(P..., uint64_t*, aclOpExecutor**) = nullptr;
  aclnnStatus (*phase2)(void*, uint64_t, aclOpExecutor*, aclrtStream) = nullptr;
  bool present() const { return phase1 != nullptr && phase2 != nullptr; }
};

using T = const aclTensor*;
using Out = aclTensor*;

// Fused attention: V3, with V4 (two more tensors, one more attribute) where V3 is gone.
#define AGENTINFER_FIA_INPUTS                                                                              \
  T, const aclTensorList*, const aclTensorList*, T, T, const aclIntArray*, const aclIntArray*, T, T, T, T, \
      T, T, T, T, T, T, T, T, T, T, T, T, const aclIntArray*, T, T, T
#define AGENTINFER_FIA_ATTRIBUTES                                                                       \
  int64_t, double, int64_t, int64_t, char*, int64_t, int64_t, int64_t, int64_t, int64_t, bool, int64_t, \
      int64_t

// (field, symbol, need, phase-1 parameters...)
#define AGENTINFER_OPERATORS(X)                                                                            \
  X(mm, aclnnMm, kRequired, T, T, Out, int8_t)                                                             \
  X(addmm, aclnnAddmm, kRequired, T, T, T, const aclScalar*, const aclScalar*, Out, int8_t)                \
  X(mm_nz, aclnnMatmulWeightNz, kOptional, T, T, Out, int8_t)                                              \
  X(addmm_nz, aclnnAddmmWeightNz, kOptional, T, T, T, const aclScalar*, const aclScalar*, Out, int8_t)     \
  X(embedding, aclnnEmbedding, kRequired, T, T, T)                                                         \
  X(index_select, aclnnIndexSelect, kRequired, T, int64_t, T, Out)                                         \
  X(rms_norm, aclnnRmsNorm, kRequired, T, T, double, T, T)                                                 \
  X(add_rms_norm, aclnnAddRmsNorm, kOptional, T, T, T, double, Out, Out, Out)                              \
  X(inplace_add, aclnnInplaceAdd, kRequired, T, T, const aclScalar*)                                       \
  X(inplace_copy, aclnnInplaceCopy, kRequired, Out, T)                                                     \
  X(permute, aclnnPermute, kOptional, T, const aclIntArray*, Out)                                          \
  X(split, aclnnSplitWithSize, kOptional, T, const aclIntArray*, int64_t, aclTensorList*)                  \
  X(rotary, aclnnApplyRotaryPosEmb, kOptional, Out, Out, T, T, int64_t)                                    \
  X(rotary_single, aclnnRotaryPositionEmbedding, kOptional, T, T, T, int64_t, Out)                         \
  X(scatter_kv, aclnnScatterPaKvCache, kOptional, T, Out, T, T, Out, T, T, T, char*, char*,                \
    const aclIntArray*, const aclIntArray*)                                                                \
  X(scatter_nd, aclnnScatterNdUpdate, kOptional, Out, T, T)                                                \
  X(attention_v3, aclnnFusedInferAttentionScoreV3, kOptional, AGENTINFER_FIA_INPUTS,                       \
    AGENTINFER_FIA_ATTRIBUTES, T, T)                                                                       \
  X(attention_v4, aclnnFusedInferAttentionScoreV4, kOptional, AGENTINFER_FIA_INPUTS, T, T,                 \
    AGENTINFER_FIA_ATTRIBUTES, int64_t, T, T)                                                              \
  X(swiglu, aclnnSwiGlu, kOptional, T, int64_t, T)                                                         \
  X(silu, aclnnSilu, kOptional, T, Out)                                                                    \
  X(mul, aclnnMul, kOptional, T, T, Out)                                                                   \
  X(dynamic_quant, aclnnDynamicQuant, kOptional, T, T, T, T)                                               \
  X(add_rms_norm_quant, aclnnAddRmsNormDynamicQuant, kOptional, T, T, T, T, T, double, Out, Out, Out, Out, \
    Out)                                                                                                   \
  X(quant_matmul_v5, aclnnQuantMatmulV5, kOptional, T, T, T, T, T, T, T, T, T, bool, bool, int64_t, Out)   \
  X(quant_matmul_nz, aclnnQuantMatmulWeightNz, kOptional, T, T, T, T, T, T, T, T, T, bool, bool, int64_t,  \
    Out)                                                                                                   \
  X(quant_matmul_v4, aclnnQuantMatmulV4, kOptional, T, T, T, T, T, T, bool, bool, T)                       \
  X(arg_max, aclnnArgMax, kRequired, T, int64_t, bool, Out)                                                \
  X(gather, aclnnGather, kRequired, T, int64_t, T, Out)                                                    \
  X(topk, aclnnTopk, kOptional, T, int64_t, int64_t, bool, bool, Out, Out)

#define AGENTINFER_FUNCTION(result, name, ...) result (*name)(__VA_ARGS__) = nullptr;
struct RuntimeFunctions {
  AGENTINFER_ACL_RUNTIME(AGENTINFER_FUNCTION, AGENTINFER_FUNCTION)
  AGENTINFER_ACL_META(AGENTINFER_FUNCTION, AGENTINFER_FUNCTION)
};
struct HcclFunctions {
  AGENTINFER_HCCL(AGENTINFER_FUNCTION, AGENTINFER_FUNCTION)
};
#undef AGENTINFER_FUNCTION

#define AGENTINFER_FIELD(field, symbol, need, ...) Operator<__VA_ARGS__> field{#symbol};
struct OperatorFunctions {
  AGENTINFER_OPERATORS(AGENTINFER_FIELD)
};
#undef AGENTINFER_FIELD

}  // namespace agentinfer::acl
