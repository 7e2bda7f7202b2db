// Injected faults surface with their codes, once, and everything can be released afterwards.

#include "harness.h"

namespace {

struct Clear {
  ~Clear() { ACL(emu_clear_faults)(); }
};

}  // namespace

TEST("out of memory at the n-th allocation, device or pinned") {
  Bound d;
  Clear clear;
  void *a = nullptr, *b = nullptr, *c = nullptr;
  ACL(emu_fail_alloc)(2);
  OK(ACL(aclrtMalloc)(&a, 64, ACL_MEM_MALLOC_HUGE_FIRST));
  CHECK_EQ(ACL(aclrtMallocHost)(&b, 64), ACL_ERROR_RT_MEMORY_ALLOCATION);
  OK(ACL(aclrtMalloc)(&c, 64, ACL_MEM_MALLOC_HUGE_FIRST));
  OK(ACL(aclrtFree)(a));
  OK(ACL(aclrtFree)(c));
  CLEAN();
}

TEST("the n-th call of a function answers with a code; handles come back null") {
  Bound d;
  Clear clear;
  ACL(emu_fail_call)("aclrtGetDevice", 2, 507899, 0);
  int32_t id = 0;
  OK(ACL(aclrtGetDevice)(&id));
  CHECK_EQ(ACL(aclrtGetDevice)(&id), 507899);
  OK(ACL(aclrtGetDevice)(&id));
  ACL(emu_fail_call)("aclCreateTensor", 1, 161002, 0);
  CHECK(make_tensor({1}, ACL_FLOAT, nullptr) == nullptr);
  ACL(emu_fail_call)("aclrtGetDevice", 1, 107002, 1);
  for (int i = 0; i < 3; ++i) CHECK_EQ(ACL(aclrtGetDevice)(&id), 107002);
  const char* text = ACL(aclGetRecentErrMsg)();
  CHECK(text && std::strstr(text, "injected"));
  CLEAN();
}

TEST("a failing task breaks its context with its code, and a reset mends it") {
  Clear clear;
  static uint32_t seen;
  seen = 0;
  {
    Bound d(2);
    OK(ACL(aclrtSetExceptionInfoCallback)(
        [](aclrtExceptionInfo* info) { seen = ACL(aclrtGetErrorCodeFromExceptionInfo)(info); }));
    Buffer memory(64);
    ACL(emu_fail_task)(2, 2, ACL_ERROR_RT_AICORE_EXCEPTION);
    OK(ACL(aclrtMemsetAsync)(memory.at, 64, 0, 64, d.stream));
    d.sync();
    OK(ACL(aclrtMemsetAsync)(memory.at, 64, 1, 64, d.stream));
    CHECK_EQ(ACL(aclrtSynchronizeStream)(d.stream), ACL_ERROR_RT_AICORE_EXCEPTION);
    CHECK_EQ(seen, static_cast<uint32_t>(ACL_ERROR_RT_AICORE_EXCEPTION));
    CHECK_EQ(ACL(aclrtMemsetAsync)(memory.at, 64, 1, 64, d.stream), ACL_ERROR_RT_AICORE_EXCEPTION);
    OK(ACL(aclrtSetExceptionInfoCallback)(nullptr));
  }
  Bound again(2);
  Buffer memory(64);
  OK(ACL(aclrtMemsetAsync)(memory.at, 64, 0, 64, again.stream));
  again.sync();
  CLEAN();
}

TEST("a lost device fails every call; others go on") {
  Clear clear;
  Bound d(3);
  Buffer memory(64);
  aclrtDeviceStatus status = ACL_RT_DEVICE_STATUS_NORMAL;
  ACL(emu_lose_device)(3, ACL_ERROR_RT_LOST_HEARTBEAT);
  CHECK_EQ(ACL(aclrtMemsetAsync)(memory.at, 64, 0, 64, d.stream), ACL_ERROR_RT_LOST_HEARTBEAT);
  CHECK_EQ(ACL(aclrtSynchronizeStream)(d.stream), ACL_ERROR_RT_LOST_HEARTBEAT);
  OK(ACL(aclrtQueryDeviceStatus)(3, &status));
  CHECK_EQ(status, ACL_RT_DEVICE_STATUS_ABNORMAL);
  std::thread([] {
    Bound other(4);
    Buffer theirs(64);
    OK(ACL(aclrtMemsetAsync)(theirs.at, 64, 0, 64, other.stream));
    other.sync();
  }).join();
  std::thread([] { CHECK_EQ(ACL(aclrtSetDevice)(3), ACL_ERROR_RT_DEV_SETUP_ERROR); }).join();
  OK(ACL(aclrtFree)(memory.at));  // releasing needs no device
  memory.at = nullptr;
  ACL(emu_restore_device)(3);
  CLEAN();
}

TEST("a hung task: timeouts say not yet, the device's own timeout is fatal, abort gets out") {
  Clear clear;
  {
    Bound d(5);
    Buffer memory(64);
    ACL(emu_hang_task)(5, 1);
    OK(ACL(aclrtMemsetAsync)(memory.at, 64, 0, 64, d.stream));
    CHECK_EQ(ACL(aclrtSynchronizeStreamWithTimeout)(d.stream, 20), ACL_ERROR_RT_STREAM_SYNC_TIMEOUT);
    ACL(emu_clear_faults)();  // lets it go on
    d.sync();
    ACL(emu_hang_task)(5, 1);
    OK(ACL(aclrtMemsetAsync)(memory.at, 64, 0, 64, d.stream));
    OK(ACL(aclrtStreamAbort)(d.stream));
    OK(ACL(aclrtDestroyStreamForce)(d.stream));
    OK(ACL(aclrtCreateStream)(&d.stream));
    OK(ACL(aclrtSetOpExecuteTimeOutWithMs)(30));
    ACL(emu_hang_task)(5, 1);
    OK(ACL(aclrtMemsetAsync)(memory.at, 64, 0, 64, d.stream));
    CHECK_EQ(ACL(aclrtSynchronizeStream)(d.stream), ACL_ERROR_RT_AICORE_TIMEOUT);
    ACL(emu_set_timeouts_ms)(0, 0, 0, 1091000);
  }
  CLEAN();
}

TEST("faults are read from the command language") {
  Bound d;
  Clear clear;
  char answer[128];
  ACL(emu_command)("fault call:aclrtGetDevice:1:107001;alloc:1", answer, sizeof(answer));
  CHECK(std::string(answer) == "{\"ok\": true}");
  int32_t id = 0;
  void* at = nullptr;
  CHECK_EQ(ACL(aclrtGetDevice)(&id), 107001);
  CHECK_EQ(ACL(aclrtMalloc)(&at, 64, ACL_MEM_MALLOC_HUGE_FIRST), ACL_ERROR_RT_MEMORY_ALLOCATION);
  ACL(emu_command)("fault nonsense", answer, sizeof(answer));
  CHECK(std::strstr(answer, "error"));
  ACL(emu_command)("what", answer, sizeof(answer));
  CHECK(std::strstr(answer, "error"));
  CLEAN();
}

TEST("nothing is left behind") {
  EmuLive live;
  ACL(emu_live)(&live);
  CHECK_EQ(live.device_blocks, 0);
  CHECK_EQ(live.host_blocks, 0);
  CHECK_EQ(live.streams, 0);
  CHECK_EQ(live.tensors, 0);
  CHECK_EQ(live.executors, 0);
  CLEAN();
}

HARNESS_MAIN
