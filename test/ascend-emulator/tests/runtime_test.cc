// Initialisation, versions, devices, contexts, error text.

#include "harness.h"

TEST("init counts, repeats and finalises with the documented codes") {
  CHECK_EQ(ACL(aclFinalize)(), ACL_ERROR_REPEAT_FINALIZE);
  OK(ACL(aclInit)(nullptr));
  CHECK_EQ(ACL(aclInit)(nullptr), ACL_ERROR_REPEAT_INITIALIZE);
  uint64_t left = 9;
  OK(ACL(aclFinalizeReference)(&left));
  CHECK_EQ(left, 1);
  OK(ACL(aclFinalizeReference)(&left));
  CHECK_EQ(left, 0);
  CHECK_EQ(ACL(aclFinalizeReference)(&left), ACL_ERROR_REPEAT_FINALIZE);
  OK(ACL(aclInit)(nullptr));
  CHECK_EQ(ACL(aclInit)(nullptr), ACL_ERROR_REPEAT_INITIALIZE);
  OK(ACL(aclFinalize)());  // whatever the count is
  CHECK_EQ(ACL(aclFinalize)(), ACL_ERROR_REPEAT_FINALIZE);
  CLEAN();
  REFUSED(aclrtSetDevice, ACL_ERROR_UNINITIALIZE, 0);
}

TEST("versions, names and capabilities") {
  Bound d;
  int32_t major = 0, minor = 0, patch = 0, number = 0;
  OK(ACL(aclrtGetVersion)(&major, &minor, &patch));
  CHECK_EQ(major * 100 + minor, 117);
  char text[128], runtime[] = "runtime", driver[] = "driver", unknown[] = "nonsense";
  OK(ACL(aclsysGetVersionStr)(runtime, text));
  CHECK(std::string(text) == "9.1.0");
  OK(ACL(aclsysGetVersionNum)(runtime, &number));
  CHECK_EQ(number, 90100000);
  OK(ACL(aclsysGetVersionStr)(driver, text));
  CHECK(std::string(text) == "25.5.0");
  CHECK(ACL(aclsysGetVersionStr)(unknown, text) != 0);
  aclCANNPackageVersion package;
  OK(ACL(aclsysGetCANNVersion)(ACL_PKG_NAME_CANN, &package));
  CHECK(std::string(package.version) == "9.1.0" && std::string(package.majorVersion) == "9");
  CHECK(std::string(ACL(aclrtGetSocName)()) == "Ascend910B3");
  aclrtRunMode mode = ACL_DEVICE;
  OK(ACL(aclrtGetRunMode)(&mode));
  CHECK_EQ(mode, ACL_HOST);
  int64_t cores = 0;
  OK(ACL(aclGetDeviceCapability)(0, ACL_DEVICE_INFO_AI_CORE_NUM, &cores));
  CHECK_EQ(cores, 20);
  CLEAN();
}

TEST("a thread without a context is refused; devices are bound per thread") {
  Bound d(1);
  int32_t id = -1;
  OK(ACL(aclrtGetDevice)(&id));
  CHECK_EQ(id, 1);
  std::thread([] {
    int32_t none = 0;
    CHECK_EQ(ACL(aclrtGetDevice)(&none), ACL_ERROR_RT_CONTEXT_NULL);
    void* at = nullptr;
    REFUSED(aclrtMalloc, ACL_ERROR_RT_CONTEXT_NULL, &at, 64, ACL_MEM_MALLOC_HUGE_FIRST);
    REFUSED(aclrtMallocHost, ACL_ERROR_RT_CONTEXT_NULL, &at, 64);
    size_t free_bytes, total;
    REFUSED(aclrtGetMemInfo, ACL_ERROR_RT_CONTEXT_NULL, ACL_HBM_MEM, &free_bytes, &total);
    OK(ACL(aclrtSetDevice)(2));
    OK(ACL(aclrtGetDevice)(&none));
    CHECK_EQ(none, 2);
    OK(ACL(aclrtResetDevice)(2));
  }).join();
  OK(ACL(aclrtGetDevice)(&id));
  CHECK_EQ(id, 1);
  CLEAN();
}

TEST("device ids, counts and unpaired resets") {
  Bound d;
  uint32_t n = 0;
  OK(ACL(aclrtGetDeviceCount)(&n));
  CHECK_EQ(n, 8);
  REFUSED(aclrtSetDevice, ACL_ERROR_RT_INVALID_DEVICEID, 8);
  REFUSED(aclrtSetDevice, ACL_ERROR_RT_INVALID_DEVICEID, -1);
  CHECK_EQ(ACL(aclrtResetDevice)(5), ACL_ERROR_RT_CONTEXT_RELEASE_ERROR);
  CLEAN();
}

TEST("explicit contexts: current, foreign streams, destroyed handles") {
  Bound d;
  aclrtContext primary = nullptr, extra = nullptr, now = nullptr;
  OK(ACL(aclrtGetCurrentContext)(&primary));
  REFUSED(aclrtDestroyContext, ACL_ERROR_RT_CONTEXT_NULL, primary);
  OK(ACL(aclrtCreateContext)(&extra, 0));
  OK(ACL(aclrtGetCurrentContext)(&now));
  CHECK(now == extra);
  // d.stream belongs to the primary context: refused for work and destruction, allowed for synchronisation
  // and query.
  aclrtEvent event = nullptr;
  OK(ACL(aclrtCreateEventExWithFlag)(&event, ACL_EVENT_SYNC));
  REFUSED(aclrtRecordEvent, ACL_ERROR_RT_STREAM_CONTEXT, event, d.stream);
  REFUSED(aclrtStreamWaitEvent, ACL_ERROR_RT_STREAM_CONTEXT, d.stream, event);
  REFUSED(aclrtDestroyStream, ACL_ERROR_RT_STREAM_CONTEXT, d.stream);
  REFUSED(aclmdlRICaptureBegin, ACL_ERROR_RT_STREAM_CONTEXT, d.stream, ACL_MODEL_RI_CAPTURE_MODE_RELAXED);
  OK(ACL(aclrtSynchronizeStream)(d.stream));
  aclrtStreamStatus status;
  OK(ACL(aclrtStreamQuery)(d.stream, &status));
  OK(ACL(aclrtDestroyEvent)(event));
  OK(ACL(aclrtDestroyContext)(extra));
  REFUSED(aclrtSetCurrentContext, ACL_ERROR_RT_CONTEXT_NULL, extra);
  REFUSED(aclrtCreateStream, ACL_ERROR_RT_CONTEXT_NULL, &now);
  OK(ACL(aclrtSetCurrentContext)(primary));
  CLEAN();
}

TEST("error text is per thread, accumulates, and is cleared by reading it") {
  Bound d;
  ACL(aclGetRecentErrMsg)();
  CHECK(ACL(aclGetRecentErrMsg)() == nullptr);
  ACL(aclrtSetDevice)(77);
  ACL(aclrtFree)(nullptr);
  std::thread([] { CHECK(ACL(aclGetRecentErrMsg)() == nullptr); }).join();
  const char* text = ACL(aclGetRecentErrMsg)();
  CHECK(text && std::strstr(text, "aclrtSetDevice(77)") && std::strstr(text, "107001") &&
        std::strstr(text, "aclrtFree"));
  CHECK(ACL(aclGetRecentErrMsg)() == nullptr);
  ACL(emu_clear_violations)();
}

TEST("options, numeric mode, peers") {
  Bound d;
  int64_t value = 0;
  CHECK_EQ(ACL(aclrtCtxGetSysParamOpt)(ACL_OPT_DETERMINISTIC, &value), ACL_ERROR_RT_SYSPARAMOPT_NOT_SET);
  OK(ACL(aclrtCtxSetSysParamOpt)(ACL_OPT_DETERMINISTIC, 1));
  OK(ACL(aclrtCtxGetSysParamOpt)(ACL_OPT_DETERMINISTIC, &value));
  CHECK_EQ(value, 1);
  aclrtFloatOverflowMode mode = ACL_RT_OVERFLOW_MODE_UNDEF;
  OK(ACL(aclrtGetDeviceSatMode)(&mode));
  CHECK_EQ(mode, ACL_RT_OVERFLOW_MODE_INFNAN);
  int32_t can = 0;
  OK(ACL(aclrtDeviceCanAccessPeer)(&can, 0, 1));
  CHECK_EQ(can, 1);
  REFUSED(aclrtDeviceEnablePeerAccess, ACL_ERROR_RT_PARAM_INVALID, 0, 0u);
  REFUSED(aclrtDeviceEnablePeerAccess, ACL_ERROR_FEATURE_UNSUPPORTED, 1, 1u);
  CLEAN();
}

TEST("what is left behind is reported") {
  {
    Bound d(3);
    aclrtStream forgotten = nullptr;
    OK(ACL(aclrtCreateStream)(&forgotten));
    CLEAN();
  }
  CHECK(violation(0).find("were not destroyed before its last reset") != std::string::npos);
  ACL(emu_clear_violations)();
}

TEST("data types and half conversion with CANN's own specials") {
  CHECK_EQ(ACL(aclDataTypeSize)(ACL_BF16), 2);
  CHECK_EQ(ACL(aclDataTypeSize)(ACL_INT4), 1);
  CHECK_EQ(ACL(aclDataTypeSize)(ACL_STRING), 0);
  CHECK(ACL(aclFloat16ToFloat)(0x3c00) == 1.0f && ACL(aclFloat16ToFloat)(0x7c00) == 65536.0f &&
        ACL(aclFloat16ToFloat)(0x7e00) == 98304.0f);
  CHECK_EQ(ACL(aclFloatToFloat16)(INFINITY), 0x7bff);
  CHECK_EQ(ACL(aclFloatToFloat16)(-2.0f), 0xc000);
}

HARNESS_MAIN
