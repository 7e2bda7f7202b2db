#pragma once
// Runtime functions of libascendcl.so: initialisation, device, context, stream, event, memory, copies, VMM,
// callbacks. Written from the public CANN headers' documented signatures; `since` in control/symbols.cc says
// from which release on.

#include "abi/types.h"

extern "C" {

EMU_API aclError aclInit(const char* configPath);
EMU_API aclError aclFinalize(void);
EMU_API aclError aclFinalizeReference(uint64_t* refCount);
EMU_API const char* aclrtGetSocName(void);
EMU_API aclError aclrtGetRunMode(aclrtRunMode* runMode);
EMU_API aclError aclrtGetVersion(int32_t* majorVersion, int32_t* minorVersion, int32_t* patchVersion);
EMU_API aclError aclsysGetVersionStr(char* pkgName, char* versionStr);
EMU_API aclError aclsysGetVersionNum(char* pkgName, int32_t* versionNum);
EMU_API aclError aclsysGetCANNVersion(aclCANNPackageName name, aclCANNPackageVersion* version);
EMU_API const char* aclGetRecentErrMsg(void);
EMU_API aclError aclrtGetLastError(aclrtLastErrLevel level);
EMU_API aclError aclrtPeekAtLastError(aclrtLastErrLevel level);
EMU_API aclError aclrtSetExceptionInfoCallback(aclrtExceptionInfoCallback callback);
EMU_API uint32_t aclrtGetTaskIdFromExceptionInfo(const aclrtExceptionInfo* info);
EMU_API uint32_t aclrtGetStreamIdFromExceptionInfo(const aclrtExceptionInfo* info);
EMU_API uint32_t aclrtGetThreadIdFromExceptionInfo(const aclrtExceptionInfo* info);
EMU_API uint32_t aclrtGetDeviceIdFromExceptionInfo(const aclrtExceptionInfo* info);
EMU_API uint32_t aclrtGetErrorCodeFromExceptionInfo(const aclrtExceptionInfo* info);
EMU_API aclError aclrtGetErrorVerbose(int32_t deviceId, aclrtErrorInfo* errorInfo);
EMU_API aclError aclGetCannAttribute(aclCannAttr cannAttr, int32_t* value);
EMU_API aclError aclGetDeviceCapability(uint32_t deviceId, aclDeviceInfo deviceInfo, int64_t* value);
EMU_API aclError aclrtSetDevice(int32_t deviceId);
EMU_API aclError aclrtResetDevice(int32_t deviceId);
EMU_API aclError aclrtResetDeviceForce(int32_t deviceId);
EMU_API aclError aclrtGetDevice(int32_t* deviceId);
EMU_API aclError aclrtGetDeviceCount(uint32_t* count);
EMU_API aclError aclrtSynchronizeDevice(void);
EMU_API aclError aclrtSynchronizeDeviceWithTimeout(int32_t timeout);
EMU_API aclError aclrtQueryDeviceStatus(int32_t deviceId, aclrtDeviceStatus* deviceStatus);
EMU_API aclError aclrtGetDeviceUtilizationRate(int32_t deviceId, aclrtUtilizationInfo* utilizationInfo);
EMU_API aclError aclrtGetDeviceInfo(uint32_t deviceId, aclrtDevAttr attr, int64_t* value);
EMU_API aclError aclrtDeviceCanAccessPeer(int32_t* canAccessPeer, int32_t deviceId, int32_t peerDeviceId);
EMU_API aclError aclrtDeviceEnablePeerAccess(int32_t peerDeviceId, uint32_t flags);
EMU_API aclError aclrtDeviceDisablePeerAccess(int32_t peerDeviceId);
EMU_API aclError aclrtDevicePeerAccessStatus(int32_t deviceId, int32_t peerDeviceId, int32_t* status);
EMU_API aclError aclrtDeviceTaskAbort(int32_t deviceId, uint32_t timeout);
EMU_API aclError aclrtGetPhyDevIdByLogicDevId(const int32_t logicDevId, int32_t* const phyDevId);
EMU_API aclError aclrtGetLogicDevIdByUserDevId(const int32_t userDevid, int32_t* const logicDevId);
EMU_API aclError aclrtGetPhyDevIdByUserDevId(const int32_t userDevId, int32_t* const phyDevId);
EMU_API aclError aclrtDeviceGetUuid(int32_t deviceId, aclrtUuid* uuid);
EMU_API aclError aclrtDeviceGetBareTgid(int32_t* pid);
EMU_API aclError aclrtCreateContext(aclrtContext* context, int32_t deviceId);
EMU_API aclError aclrtDestroyContext(aclrtContext context);
EMU_API aclError aclrtSetCurrentContext(aclrtContext context);
EMU_API aclError aclrtGetCurrentContext(aclrtContext* context);
EMU_API aclError aclrtGetPrimaryCtxState(int32_t deviceId, uint32_t* flags, int32_t* active);
EMU_API aclError aclrtCtxGetCurrentDefaultStream(aclrtStream* stream);
EMU_API aclError aclrtCtxSetSysParamOpt(aclSysParamOpt opt, int64_t value);
EMU_API aclError aclrtCtxGetSysParamOpt(aclSysParamOpt opt, int64_t* value);
EMU_API aclError aclrtSetSysParamOpt(aclSysParamOpt opt, int64_t value);
EMU_API aclError aclrtGetSysParamOpt(aclSysParamOpt opt, int64_t* value);
EMU_API aclError aclrtCreateStream(aclrtStream* stream);
EMU_API aclError aclrtCreateStreamWithConfig(aclrtStream* stream, uint32_t priority, uint32_t flag);
EMU_API aclError aclrtDestroyStream(aclrtStream stream);
EMU_API aclError aclrtDestroyStreamForce(aclrtStream stream);
EMU_API aclError aclrtSynchronizeStream(aclrtStream stream);
EMU_API aclError aclrtSynchronizeStreamWithTimeout(aclrtStream stream, int32_t timeout);
EMU_API aclError aclrtStreamQuery(aclrtStream stream, aclrtStreamStatus* status);
EMU_API aclError aclrtStreamWaitEvent(aclrtStream stream, aclrtEvent event);
EMU_API aclError aclrtStreamWaitEventWithTimeout(aclrtStream stream, aclrtEvent event, int32_t timeout);
EMU_API aclError aclrtSetStreamFailureMode(aclrtStream stream, uint64_t mode);
EMU_API aclError aclrtStreamAbort(aclrtStream stream);
EMU_API aclError aclrtStreamGetId(aclrtStream stream, int32_t* streamId);
EMU_API aclError aclrtGetStreamAvailableNum(uint32_t* streamCount);
EMU_API aclError aclrtSetStreamOverflowSwitch(aclrtStream stream, uint32_t flag);
EMU_API aclError aclrtSetStreamAttribute(aclrtStream stream, aclrtStreamAttr stmAttrType,
                                         aclrtStreamAttrValue* value);
EMU_API aclError aclrtSetOpWaitTimeout(uint32_t timeout);
EMU_API aclError aclrtSetOpExecuteTimeOut(uint32_t timeout);
EMU_API aclError aclrtSetOpExecuteTimeOutWithMs(uint32_t timeout);
EMU_API aclError aclrtCreateEvent(aclrtEvent* event);
EMU_API aclError aclrtCreateEventWithFlag(aclrtEvent* event, uint32_t flag);
EMU_API aclError aclrtCreateEventExWithFlag(aclrtEvent* event, uint32_t flag);
EMU_API aclError aclrtDestroyEvent(aclrtEvent event);
EMU_API aclError aclrtRecordEvent(aclrtEvent event, aclrtStream stream);
EMU_API aclError aclrtResetEvent(aclrtEvent event, aclrtStream stream);
EMU_API aclError aclrtQueryEventStatus(aclrtEvent event, aclrtEventRecordedStatus* status);
EMU_API aclError aclrtQueryEvent(aclrtEvent event, aclrtEventStatus* status);
EMU_API aclError aclrtQueryEventWaitStatus(aclrtEvent event, aclrtEventWaitStatus* status);
EMU_API aclError aclrtSynchronizeEvent(aclrtEvent event);
EMU_API aclError aclrtSynchronizeEventWithTimeout(aclrtEvent event, int32_t timeout);
EMU_API aclError aclrtEventElapsedTime(float* ms, aclrtEvent startEvent, aclrtEvent endEvent);
EMU_API aclError aclrtEventGetTimestamp(aclrtEvent event, uint64_t* timestamp);
EMU_API aclError aclrtGetEventAvailNum(uint32_t* eventCount);
EMU_API aclError aclrtMalloc(void** devPtr, size_t size, aclrtMemMallocPolicy policy);
EMU_API aclError aclrtMallocAlign32(void** devPtr, size_t size, aclrtMemMallocPolicy policy);
EMU_API aclError aclrtMallocWithCfg(void** devPtr, size_t size, aclrtMemMallocPolicy policy,
                                    aclrtMallocConfig* cfg);
EMU_API aclError aclrtFree(void* devPtr);
EMU_API aclError aclrtFreeWithDevSync(void* devPtr);
EMU_API aclError aclrtMallocHost(void** hostPtr, size_t size);
EMU_API aclError aclrtFreeHost(void* hostPtr);
EMU_API aclError aclrtFreeHostWithDevSync(void* hostPtr);
EMU_API aclError aclrtHostRegister(void* ptr, uint64_t size, aclrtHostRegisterType type, void** devPtr);
EMU_API aclError aclrtHostRegisterV2(void* ptr, uint64_t size, uint32_t flag);
EMU_API aclError aclrtHostUnregister(void* ptr);
EMU_API aclError aclrtPointerGetAttributes(const void* ptr, aclrtPtrAttributes* attributes);
EMU_API aclError aclrtGetMemInfo(aclrtMemAttr attr, size_t* free, size_t* total);
EMU_API aclError aclrtMemcpy(void* dst, size_t destMax, const void* src, size_t count, aclrtMemcpyKind kind);
EMU_API aclError aclrtMemcpyAsync(void* dst, size_t destMax, const void* src, size_t count,
                                  aclrtMemcpyKind kind, aclrtStream stream);
EMU_API aclError aclrtMemcpy2d(void* dst, size_t dpitch, const void* src, size_t spitch, size_t width,
                               size_t height, aclrtMemcpyKind kind);
EMU_API aclError aclrtMemcpy2dAsync(void* dst, size_t dpitch, const void* src, size_t spitch, size_t width,
                                    size_t height, aclrtMemcpyKind kind, aclrtStream stream);
EMU_API aclError aclrtMemcpyBatch(void** dsts, size_t* destMaxs, void** srcs, size_t* sizes,
                                  size_t numBatches, aclrtMemcpyBatchAttr* attrs, size_t* attrsIndexes,
                                  size_t numAttrs, size_t* failIndex);
EMU_API aclError aclrtMemcpyBatchAsync(void** dsts, size_t* destMaxs, void** srcs, size_t* sizes,
                                       size_t numBatches, aclrtMemcpyBatchAttr* attrs, size_t* attrsIndexes,
                                       size_t numAttrs, size_t* failIndex, aclrtStream stream);
EMU_API aclError aclrtMemcpyAsyncWithCondition(void* dst, size_t destMax, const void* src, size_t count,
                                               aclrtMemcpyKind kind, aclrtStream stream);
EMU_API aclError aclrtMemset(void* devPtr, size_t maxCount, int32_t value, size_t count);
EMU_API aclError aclrtMemsetAsync(void* devPtr, size_t maxCount, int32_t value, size_t count,
                                  aclrtStream stream);
EMU_API aclError aclrtReserveMemAddress(void** virPtr, size_t size, size_t alignment, void* expectPtr,
                                        uint64_t flags);
EMU_API aclError aclrtReleaseMemAddress(void* virPtr);
EMU_API aclError aclrtMallocPhysical(aclrtDrvMemHandle* handle, size_t size, const aclrtPhysicalMemProp* prop,
                                     uint64_t flags);
EMU_API aclError aclrtFreePhysical(aclrtDrvMemHandle handle);
EMU_API aclError aclrtMapMem(void* virPtr, size_t size, size_t offset, aclrtDrvMemHandle handle,
                             uint64_t flags);
EMU_API aclError aclrtUnmapMem(void* virPtr);
EMU_API aclError aclrtMemGetAllocationGranularity(aclrtPhysicalMemProp* prop,
                                                  aclrtMemGranularityOptions option, size_t* granularity);
EMU_API aclError aclrtMemSetAccess(void* virPtr, size_t size, aclrtMemAccessDesc* desc, size_t count);
EMU_API aclError aclrtMemGetAccess(void* virPtr, aclrtMemLocation* location, uint64_t* flag);
EMU_API aclError aclrtMemRetainAllocationHandle(void* virPtr, aclrtDrvMemHandle* handle);
EMU_API aclError aclrtSubscribeReport(uint64_t threadId, aclrtStream stream);
EMU_API aclError aclrtUnSubscribeReport(uint64_t threadId, aclrtStream stream);
EMU_API aclError aclrtProcessReport(int32_t timeout);
EMU_API aclError aclrtLaunchCallback(aclrtCallback fn, void* userData, aclrtCallbackBlockType blockType,
                                     aclrtStream stream);
EMU_API aclError aclrtLaunchHostFunc(aclrtStream stream, aclrtHostFunc fn, void* args);
EMU_API size_t aclDataTypeSize(aclDataType dataType);
EMU_API float aclFloat16ToFloat(aclFloat16 value);
EMU_API aclFloat16 aclFloatToFloat16(float value);
EMU_API aclError aclrtSetDeviceSatMode(aclrtFloatOverflowMode mode);
EMU_API aclError aclrtGetDeviceSatMode(aclrtFloatOverflowMode* mode);
EMU_API aclError aclrtSetDeviceResLimit(int32_t deviceId, aclrtDevResLimitType type, uint32_t value);
EMU_API aclError aclrtSetStreamResLimit(aclrtStream stream, aclrtDevResLimitType type, uint32_t value);

}  // extern "C"
