#pragma once
// Meta objects and executors: libnnopbase.so.
// Written from the public CANN headers' documented signatures; `since` in control/symbols.cc says from which
// release on.

#include "abi/types.h"

extern "C" {

EMU_API aclnnStatus aclnnInit(const char* configPath);
EMU_API aclnnStatus aclnnFinalize(void);
EMU_API aclTensor* aclCreateTensor(const int64_t* viewDims, uint64_t viewDimsNum, aclDataType dataType,
                                   const int64_t* stride, int64_t offset, aclFormat format,
                                   const int64_t* storageDims, uint64_t storageDimsNum, void* tensorData);
EMU_API aclnnStatus aclInitTensor(aclTensor* tensor, const int64_t* viewDims, uint64_t viewDimsNum,
                                  aclDataType dataType, const int64_t* stride, int64_t offset,
                                  aclFormat format, const int64_t* storageDims, uint64_t storageDimsNum,
                                  void* tensorDataAddr);
EMU_API aclnnStatus aclDestroyTensor(const aclTensor* tensor);
EMU_API aclScalar* aclCreateScalar(void* value, aclDataType dataType);
EMU_API aclnnStatus aclDestroyScalar(const aclScalar* scalar);
EMU_API aclIntArray* aclCreateIntArray(const int64_t* value, uint64_t size);
EMU_API aclnnStatus aclDestroyIntArray(const aclIntArray* array);
EMU_API aclnnStatus aclGetIntArraySize(const aclIntArray* array, uint64_t* size);
EMU_API aclFloatArray* aclCreateFloatArray(const float* value, uint64_t size);
EMU_API aclnnStatus aclDestroyFloatArray(const aclFloatArray* array);
EMU_API aclBoolArray* aclCreateBoolArray(const bool* value, uint64_t size);
EMU_API aclnnStatus aclDestroyBoolArray(const aclBoolArray* array);
EMU_API aclTensorList* aclCreateTensorList(const aclTensor* const* value, uint64_t size);
EMU_API aclnnStatus aclDestroyTensorList(const aclTensorList* array);
EMU_API aclnnStatus aclGetTensorListSize(const aclTensorList* tensorList, uint64_t* size);
EMU_API aclScalarList* aclCreateScalarList(const aclScalar* const* value, uint64_t size);
EMU_API aclnnStatus aclDestroyScalarList(const aclScalarList* array);
EMU_API aclnnStatus aclGetViewShape(const aclTensor* tensor, int64_t** viewDims, uint64_t* viewDimsNum);
EMU_API aclnnStatus aclGetStorageShape(const aclTensor* tensor, int64_t** storageDims,
                                       uint64_t* storageDimsNum);
EMU_API aclnnStatus aclGetViewStrides(const aclTensor* tensor, int64_t** stridesValue, uint64_t* stridesNum);
EMU_API aclnnStatus aclGetViewOffset(const aclTensor* tensor, int64_t* offset);
EMU_API aclnnStatus aclGetFormat(const aclTensor* tensor, aclFormat* format);
EMU_API aclnnStatus aclGetDataType(const aclTensor* tensor, aclDataType* dataType);
EMU_API aclnnStatus aclGetRawTensorAddr(const aclTensor* tensor, void** addr);
EMU_API aclnnStatus aclSetRawTensorAddr(aclTensor* tensor, void* addr);
EMU_API aclnnStatus aclSetAclOpExecutorRepeatable(aclOpExecutor* executor);
EMU_API aclnnStatus aclDestroyAclOpExecutor(aclOpExecutor* executor);
EMU_API aclnnStatus aclSetTensorAddr(aclOpExecutor* executor, const size_t index, aclTensor* tensor,
                                     void* addr);
EMU_API aclnnStatus aclSetInputTensorAddr(aclOpExecutor* executor, const size_t index, aclTensor* tensor,
                                          void* addr);
EMU_API aclnnStatus aclSetOutputTensorAddr(aclOpExecutor* executor, const size_t index, aclTensor* tensor,
                                           void* addr);
EMU_API aclnnStatus aclSetDynamicTensorAddr(aclOpExecutor* executor, size_t irIndex,
                                            const size_t relativeIndex, aclTensorList* tensors, void* addr);
EMU_API aclnnStatus aclSetDynamicInputTensorAddr(aclOpExecutor* executor, size_t irIndex,
                                                 const size_t relativeIndex, aclTensorList* tensors,
                                                 void* addr);
EMU_API aclnnStatus aclSetDynamicOutputTensorAddr(aclOpExecutor* executor, size_t irIndex,
                                                  const size_t relativeIndex, aclTensorList* tensors,
                                                  void* addr);
EMU_API aclnnStatus aclGetFloatArraySize(const aclFloatArray* array, uint64_t* size);
EMU_API aclnnStatus aclGetBoolArraySize(const aclBoolArray* array, uint64_t* size);
EMU_API aclnnStatus aclGetScalarListSize(const aclScalarList* scalarList, uint64_t* size);

}  // extern "C"
