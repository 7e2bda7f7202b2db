// Streams really run later; events order them; host callbacks.

#include <pthread.h>

#include <atomic>
#include <chrono>

#include "harness.h"

namespace {

// A page-locked buffer of one int.
struct Pinned {
  Pinned() {
    OK(ACL(aclrtMallocHost)(reinterpret_cast<void**>(&at), 64));
    *at = 0;
  }
  ~Pinned() { OK(ACL(aclrtFreeHost)(at)); }
  int32_t* at = nullptr;
};

int to_device(void* dst, const int32_t* src, aclrtStream s) {
  return ACL(aclrtMemcpyAsync)(dst, 4, src, 4, ACL_MEMCPY_HOST_TO_DEVICE, s);
}
int to_host(int32_t* dst, void* src, aclrtStream s) {
  return ACL(aclrtMemcpyAsync)(dst, 4, src, 4, ACL_MEMCPY_DEVICE_TO_HOST, s);
}

}  // namespace

TEST("without a synchronisation the host reads stale data") {
  Bound d;
  Pinned host;
  Buffer memory(std::vector<int32_t>{7});
  ACL(emu_hold_stream)(d.stream);
  OK(to_host(host.at, memory.at, d.stream));
  CHECK_EQ(*host.at, 0);  // still the old value, however long it takes
  ACL(emu_release_stream)(d.stream);
  d.sync();
  CHECK_EQ(*host.at, 7);
  CLEAN();
}

TEST("lazy: nothing runs until somebody waits, so every missing wait shows") {
  Bound d;
  ACL(emu_set_lazy)(1);
  Pinned host;
  Buffer memory(std::vector<int32_t>{7});
  OK(to_host(host.at, memory.at, d.stream));
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  CHECK_EQ(*host.at, 0);
  d.sync();
  CHECK_EQ(*host.at, 7);
  aclrtEvent event = nullptr;
  OK(ACL(aclrtCreateEventExWithFlag)(&event, ACL_EVENT_SYNC));
  OK(ACL(aclrtRecordEvent)(event, d.stream));
  OK(ACL(aclrtSynchronizeEvent)(event));
  OK(ACL(aclrtDestroyEvent)(event));
  ACL(emu_set_lazy)(0);
  CLEAN();
}

TEST("a staging buffer changed before the copy ran sends the new value") {
  Bound d;
  Pinned host;
  *host.at = 1;
  Buffer memory(4);
  ACL(emu_hold_stream)(d.stream);
  OK(to_device(memory.at, host.at, d.stream));
  *host.at = 2;
  ACL(emu_release_stream)(d.stream);
  d.sync();
  CHECK_EQ(memory.read<int32_t>()[0], 2);
  CLEAN();
}

TEST("events order two streams; without one the second runs ahead") {
  Bound d;
  aclrtStream second = nullptr;
  OK(ACL(aclrtCreateStream)(&second));
  Pinned value, result;
  *value.at = 5;
  Buffer memory(std::vector<int32_t>{0});
  ACL(emu_hold_stream)(d.stream);
  OK(to_device(memory.at, value.at, d.stream));
  OK(to_host(result.at, memory.at, second));
  OK(ACL(aclrtSynchronizeStream)(second));
  CHECK_EQ(*result.at, 0);  // not ordered
  aclrtEvent event = nullptr;
  OK(ACL(aclrtCreateEventExWithFlag)(&event, ACL_EVENT_SYNC));
  OK(ACL(aclrtRecordEvent)(event, d.stream));
  OK(ACL(aclrtStreamWaitEvent)(second, event));
  OK(to_host(result.at, memory.at, second));
  CHECK_EQ(ACL(aclrtSynchronizeStreamWithTimeout)(second, 20), ACL_ERROR_RT_STREAM_SYNC_TIMEOUT);
  aclrtStreamStatus status;
  OK(ACL(aclrtStreamQuery)(second, &status));
  CHECK_EQ(status, ACL_STREAM_STATUS_NOT_READY);
  CHECK_EQ(ACL(aclrtSynchronizeEventWithTimeout)(event, 10), ACL_ERROR_RT_EVENT_SYNC_TIMEOUT);
  ACL(emu_release_stream)(d.stream);
  OK(ACL(aclrtSynchronizeStream)(second));
  CHECK_EQ(*result.at, 5);
  OK(ACL(aclrtDestroyEvent)(event));
  OK(ACL(aclrtDestroyStream)(second));
  CLEAN();
}

TEST("the two event queries have opposite polarity") {
  Bound d;
  aclrtEvent ex = nullptr, plain = nullptr;
  OK(ACL(aclrtCreateEventExWithFlag)(&ex, ACL_EVENT_SYNC));
  OK(ACL(aclrtCreateEvent)(&plain));
  aclrtEventRecordedStatus recorded = ACL_EVENT_RECORDED_STATUS_NOT_READY;
  OK(ACL(aclrtQueryEventStatus)(ex, &recorded));
  CHECK_EQ(recorded, ACL_EVENT_RECORDED_STATUS_COMPLETE);  // never recorded
  ACL(emu_hold_stream)(d.stream);
  OK(ACL(aclrtRecordEvent)(ex, d.stream));
  OK(ACL(aclrtRecordEvent)(plain, d.stream));
  OK(ACL(aclrtQueryEventStatus)(ex, &recorded));
  CHECK_EQ(recorded, 0);
  aclrtEventStatus old = ACL_EVENT_STATUS_COMPLETE;
  OK(ACL(aclrtQueryEvent)(plain, &old));
  CHECK_EQ(old, 1);
  ACL(emu_release_stream)(d.stream);
  d.sync();
  OK(ACL(aclrtQueryEventStatus)(ex, &recorded));
  CHECK_EQ(recorded, 1);
  OK(ACL(aclrtQueryEvent)(plain, &old));
  CHECK_EQ(old, 0);
  REFUSED(aclrtQueryEvent, ACL_ERROR_RT_FEATURE_NOT_SUPPORT, ex, &old);
  REFUSED(aclrtResetEvent, ACL_ERROR_RT_FEATURE_NOT_SUPPORT, ex, d.stream);
  OK(ACL(aclrtDestroyEvent)(ex));
  REFUSED(aclrtDestroyEvent, ACL_ERROR_RT_PARAM_INVALID, ex);
  OK(ACL(aclrtDestroyEvent)(plain));
  CLEAN();
}

TEST("events keep to the abilities they were made with") {
  Bound d;
  aclrtEvent timed = nullptr, sync = nullptr, other = nullptr;
  OK(ACL(aclrtCreateEventWithFlag)(&timed, ACL_EVENT_TIME_LINE));
  OK(ACL(aclrtCreateEventWithFlag)(&sync, ACL_EVENT_SYNC));
  OK(ACL(aclrtCreateEventWithFlag)(&other, ACL_EVENT_TIME_LINE));
  REFUSED(aclrtStreamWaitEvent, ACL_ERROR_RT_FEATURE_NOT_SUPPORT, d.stream, timed);
  OK(ACL(aclrtStreamWaitEvent)(d.stream, sync));
  CHECK(violation(0).find("never recorded") != std::string::npos);
  ACL(emu_clear_violations)();
  float ms = -1;
  OK(ACL(aclrtRecordEvent)(timed, d.stream));
  OK(ACL(aclrtRecordEvent)(other, d.stream));
  d.sync();
  OK(ACL(aclrtEventElapsedTime)(&ms, timed, other));
  CHECK(ms >= 0);
  OK(ACL(aclrtRecordEvent)(sync, d.stream));
  d.sync();
  REFUSED(aclrtEventElapsedTime, ACL_ERROR_RT_EVENT_TIMESTAMP_INVALID, &ms, timed, sync);
  for (aclrtEvent e : {timed, sync, other}) OK(ACL(aclrtDestroyEvent)(e));
  CLEAN();
}

TEST("timeout arguments: -1 or positive") {
  Bound d;
  for (const int32_t bad : {0, -2}) {
    REFUSED(aclrtSynchronizeStreamWithTimeout, ACL_ERROR_RT_PARAM_INVALID, d.stream, bad);
    REFUSED(aclrtSynchronizeDeviceWithTimeout, ACL_ERROR_RT_PARAM_INVALID, bad);
  }
  OK(ACL(aclrtSynchronizeDeviceWithTimeout)(-1));
  CLEAN();
}

TEST("streams are a limited resource; destroyed ones are refused") {
  Bound d;
  ACL(emu_set_limit)("streams", 3);
  aclrtStream a = nullptr, b = nullptr, c = nullptr;
  OK(ACL(aclrtCreateStream)(&a));
  OK(ACL(aclrtCreateStreamWithConfig)(&b, 0, ACL_STREAM_FAST_LAUNCH | ACL_STREAM_FAST_SYNC));
  uint32_t left = 9;
  OK(ACL(aclrtGetStreamAvailableNum)(&left));
  CHECK_EQ(left, 0);
  CHECK_EQ(ACL(aclrtCreateStream)(&c), ACL_ERROR_RT_NO_STREAM_RESOURCE);
  REFUSED(aclrtCreateStreamWithConfig, ACL_ERROR_RT_FEATURE_NOT_SUPPORT, &c, 0u,
          static_cast<uint32_t>(ACL_STREAM_HUGE));
  OK(ACL(aclrtDestroyStream)(a));
  REFUSED(aclrtSynchronizeStream, ACL_ERROR_RT_PARAM_INVALID, a);
  REFUSED(aclrtDestroyStream, ACL_ERROR_INVALID_PARAM, nullptr);
  OK(ACL(aclrtDestroyStream)(b));
  ACL(emu_set_limit)("streams", 1984);
  CLEAN();
}

TEST("destroying a stream waits for its work; abort drops it") {
  Bound d;
  Pinned value;
  *value.at = 3;
  Buffer memory(std::vector<int32_t>{0});
  aclrtStream s = nullptr;
  OK(ACL(aclrtCreateStream)(&s));
  ACL(emu_set_task_delay_us)(20000);
  OK(to_device(memory.at, value.at, s));
  OK(ACL(aclrtDestroyStream)(s));
  ACL(emu_set_task_delay_us)(0);
  CHECK_EQ(memory.read<int32_t>()[0], 3);
  OK(ACL(aclrtCreateStream)(&s));
  ACL(emu_hold_stream)(s);
  *value.at = 4;
  OK(to_device(memory.at, value.at, s));
  OK(ACL(aclrtStreamAbort)(s));
  CHECK_EQ(to_device(memory.at, value.at, s), ACL_ERROR_RT_STREAM_ABORT);
  CHECK_EQ(ACL(aclrtSynchronizeStream)(s), ACL_ERROR_RT_STREAM_ABORT);
  OK(ACL(aclrtDestroyStreamForce)(s));
  CHECK_EQ(memory.read<int32_t>()[0], 3);
  CLEAN();
}

TEST("host functions and subscribed callbacks run in stream order") {
  Bound d;
  static std::atomic<int> hits;
  hits = 0;
  OK(ACL(aclrtLaunchHostFunc)(
      d.stream, [](void* by) { hits += *static_cast<int*>(by); }, new int(1)));
  d.sync();
  CHECK_EQ(hits.load(), 1);
  REFUSED(
      aclrtLaunchCallback, ACL_ERROR_RT_STREAM_NO_CB_REG, [](void*) {}, nullptr, ACL_CALLBACK_BLOCK,
      d.stream);
  std::atomic<uint64_t> poller{0};
  std::atomic<bool> stop{false};
  std::thread reports([&] {
    poller = static_cast<uint64_t>(pthread_self());
    while (!stop) ACL(aclrtProcessReport)(5);
  });
  while (!poller) std::this_thread::yield();
  OK(ACL(aclrtSubscribeReport)(poller, d.stream));
  OK(ACL(aclrtLaunchCallback)([](void*) { hits += 10; }, nullptr, ACL_CALLBACK_BLOCK, d.stream));
  d.sync();
  CHECK_EQ(hits.load(), 11);
  OK(ACL(aclrtUnSubscribeReport)(poller, d.stream));
  stop = true;
  reports.join();
  ACL(emu_clear_violations)();  // the poller asked before it was subscribed
}

HARNESS_MAIN
