// Capture, replay, forbidden calls, task groups and their update.

#include "harness.h"

namespace {

// y = x * factor, as captured work.
struct Scale {
  explicit Scale(float factor)
      : x({4}, ACL_FLOAT, std::vector<float>{1, 2, 3, 4}),
        y({4}, ACL_FLOAT, std::vector<float>(4, 0)),
        f(scalar(factor)) {}
  ~Scale() { ACL(aclDestroyScalar)(f); }
  int enqueue(aclrtStream s) {
    uint64_t size = 0;
    aclOpExecutor* e = nullptr;
    if (const int status = ACL(aclnnMulsGetWorkspaceSize)(x, f, y, &size, &e)) return status;
    const int status = ACL(aclnnMuls)(nullptr, size, e, s);
    if (status) ACL(aclDestroyAclOpExecutor)(e);
    return status;
  }
  void refactor(float factor) {
    ACL(aclDestroyScalar)(f);
    f = scalar(factor);
  }
  float at(size_t i) const { return y.buffer.read<float>()[i]; }
  Tensor x, y;
  aclScalar* f;
};

struct Pinned {
  explicit Pinned(std::vector<float> values) {
    OK(ACL(aclrtMallocHost)(reinterpret_cast<void**>(&at), 64));
    std::memcpy(at, values.data(), values.size() * 4);
  }
  ~Pinned() { OK(ACL(aclrtFreeHost)(at)); }
  float* at = nullptr;
};

constexpr auto kLocal = ACL_MODEL_RI_CAPTURE_MODE_THREAD_LOCAL;

// Captures one scaling that was warmed up before.
aclmdlRI capture_scale(Bound& d, Scale& op) {
  OK(op.enqueue(d.stream));
  d.sync();
  aclmdlRI graph = nullptr;
  OK(ACL(aclmdlRICaptureBegin)(d.stream, kLocal));
  OK(op.enqueue(d.stream));
  OK(ACL(aclmdlRICaptureEnd)(d.stream, &graph));
  return graph;
}

}  // namespace

TEST("captured work does not run; a replay reads the memory of its time") {
  Bound d;
  Scale op(2);
  aclmdlRI graph = capture_scale(d, op);
  OK(ACL(aclrtMemset)(op.y.buffer.at, 16, 0, 16));
  d.sync();
  CHECK_EQ(op.at(0), 0.0f);
  ACL(emu_reset_counters)();
  OK(ACL(aclmdlRIExecuteAsync)(graph, d.stream));
  d.sync();
  CHECK_EQ(op.at(3), 8.0f);
  const std::vector<float> fresh = {10, 20, 30, 40};
  OK(ACL(aclrtMemcpy)(op.x.buffer.at, 16, fresh.data(), 16, ACL_MEMCPY_HOST_TO_DEVICE));
  OK(ACL(aclmdlRIExecuteAsync)(graph, d.stream));
  d.sync();
  CHECK_EQ(op.at(3), 80.0f);
  EmuCounters c;
  ACL(emu_counters)(&c);
  CHECK_EQ(c.launches, 0);
  CHECK_EQ(c.graph_replays, 2);
  CHECK_EQ(c.graph_kernels, 2);
  OK(ACL(aclmdlRIDestroy)(graph));
  REFUSED(aclmdlRIExecuteAsync, ACL_ERROR_RT_INVALID_HANDLE, graph, d.stream);
  CLEAN();
}

TEST("a graph under way cannot be destroyed; its memory must stay") {
  Bound d;
  Scale op(2);
  aclmdlRI graph = capture_scale(d, op);
  ACL(emu_hold_stream)(d.stream);
  OK(ACL(aclmdlRIExecuteAsync)(graph, d.stream));
  REFUSED(aclmdlRIDestroy, ACL_ERROR_RT_MODEL_RUNNING, graph);
  ACL(emu_release_stream)(d.stream);
  d.sync();
  OK(ACL(aclrtFree)(op.y.buffer.at));
  op.y.buffer.at = nullptr;
  OK(ACL(aclmdlRIExecuteAsync)(graph, d.stream));
  CHECK_EQ(ACL(aclrtSynchronizeStream)(d.stream), ACL_ERROR_RT_MODEL_EXECUTE);
  CHECK(violation(0).find("captured task aclnnMuls(") == 0);
  ACL(emu_clear_violations)();
}

TEST("what a capture forbids spoils it") {
  Bound d(1);
  Scale op(2);
  OK(op.enqueue(d.stream));
  d.sync();
  Buffer memory(64);
  float host[4] = {};
  const auto spoilt = [&](auto&& illegal) {
    aclmdlRI graph = reinterpret_cast<aclmdlRI>(1);
    OK(ACL(aclmdlRICaptureBegin)(d.stream, kLocal));
    illegal();
    aclmdlRICaptureStatus status = ACL_MODEL_RI_CAPTURE_STATUS_NONE;
    OK(ACL(aclmdlRICaptureGetInfo)(d.stream, &status, nullptr));
    CHECK_EQ(status, ACL_MODEL_RI_CAPTURE_STATUS_INVALIDATED);
    CHECK_EQ(ACL(aclmdlRICaptureEnd)(d.stream, &graph), ACL_ERROR_RT_STREAM_CAPTURE_INVALIDATED);
    CHECK(graph == nullptr);
  };
  spoilt([&] { REFUSED(aclrtSynchronizeStream, ACL_ERROR_RT_STREAM_CAPTURED, d.stream); });
  spoilt([&] { REFUSED(aclrtSynchronizeDevice, ACL_ERROR_RT_STREAM_CAPTURED); });
  spoilt([&] {
    aclrtStreamStatus status;
    REFUSED(aclrtStreamQuery, ACL_ERROR_RT_STREAM_CAPTURED, d.stream, &status);
  });
  spoilt([&] {
    REFUSED(aclrtMemcpy, ACL_ERROR_RT_CAPTURE_MODE_NOT_SUPPORT, memory.at, 16, host, 16,
            ACL_MEMCPY_HOST_TO_DEVICE);
  });
  spoilt([&] {
    void* at = nullptr;
    REFUSED(aclrtMalloc, ACL_ERROR_RT_CAPTURE_MODE_NOT_SUPPORT, &at, 64, ACL_MEM_MALLOC_HUGE_FIRST);
  });
  spoilt([&] {
    REFUSED(aclrtMemcpyAsync, ACL_ERROR_RT_CAPTURE_MODE_BLOCK_ASYNC, memory.at, 16, host, 16,
            ACL_MEMCPY_HOST_TO_DEVICE, d.stream);
  });
  spoilt([&] {
    REFUSED(aclrtMemsetAsync, ACL_ERROR_RT_STREAM_CAPTURE_IMPLICIT, memory.at, 64, 0, 64, nullptr);
  });
  spoilt([&] {
    aclrtEvent plain = nullptr;
    OK(ACL(aclrtCreateEventWithFlag)(&plain, ACL_EVENT_SYNC));
    REFUSED(aclrtRecordEvent, ACL_ERROR_RT_EVENT_CAPTURED, plain, d.stream);
    OK(ACL(aclrtDestroyEvent)(plain));
  });
  spoilt([&] {
    aclrtEvent ex = nullptr;
    OK(ACL(aclrtCreateEventExWithFlag)(&ex, ACL_EVENT_SYNC));
    OK(ACL(aclrtRecordEvent)(ex, d.stream));
    aclrtEventRecordedStatus status;
    REFUSED(aclrtQueryEventStatus, ACL_ERROR_RT_EVENT_CAPTURED, ex, &status);
    OK(ACL(aclrtDestroyEvent)(ex));
  });
  // The first use of a shape loads its kernel.
  Tensor x({5}, ACL_FLOAT, std::vector<float>(5)), y({5}, ACL_FLOAT, std::vector<float>(5));
  aclScalar* f = scalar(1);
  spoilt([&] {
    uint64_t size = 0;
    aclOpExecutor* e = nullptr;
    OK(ACL(aclnnMulsGetWorkspaceSize)(x, f, y, &size, &e));
    REFUSED(aclnnMuls, ACL_ERROR_RT_CAPTURE_MODE_NOT_SUPPORT, nullptr, 0, e, d.stream);
    OK(ACL(aclDestroyAclOpExecutor)(e));
  });
  OK(ACL(aclDestroyScalar)(f));
  CLEAN();
}

TEST("relaxed threads and other threads may do what the mode leaves them") {
  Bound d;
  void *at = nullptr, *other = nullptr;
  aclmdlRI graph = nullptr;
  OK(ACL(aclmdlRICaptureBegin)(d.stream, kLocal));
  std::thread([&] {
    OK(ACL(aclrtSetDevice)(0));
    OK(ACL(aclrtMalloc)(&other, 64, ACL_MEM_MALLOC_HUGE_FIRST));
    OK(ACL(aclrtResetDevice)(0));
  }).join();
  aclmdlRICaptureMode mode = ACL_MODEL_RI_CAPTURE_MODE_RELAXED;
  OK(ACL(aclmdlRICaptureThreadExchangeMode)(&mode));
  CHECK_EQ(mode, ACL_MODEL_RI_CAPTURE_MODE_GLOBAL);
  OK(ACL(aclrtMalloc)(&at, 64, ACL_MEM_MALLOC_HUGE_FIRST));
  OK(ACL(aclmdlRICaptureThreadExchangeMode)(&mode));
  OK(ACL(aclmdlRICaptureEnd)(d.stream, &graph));
  OK(ACL(aclmdlRIDestroy)(graph));
  OK(ACL(aclmdlRICaptureBegin)(d.stream, ACL_MODEL_RI_CAPTURE_MODE_GLOBAL));
  std::thread([&] {
    OK(ACL(aclrtSetDevice)(0));
    void* never = nullptr;
    REFUSED(aclrtMalloc, ACL_ERROR_RT_CAPTURE_MODE_NOT_SUPPORT, &never, 64, ACL_MEM_MALLOC_HUGE_FIRST);
    OK(ACL(aclrtResetDevice)(0));
  }).join();
  CHECK_EQ(ACL(aclmdlRICaptureEnd)(d.stream, &graph), ACL_ERROR_RT_STREAM_CAPTURE_INVALIDATED);
  OK(ACL(aclrtFree)(at));
  OK(ACL(aclrtFree)(other));
  CLEAN();
}

TEST("begin and end: stream, thread, nesting, default stream") {
  Bound d;
  aclrtStream second = nullptr;
  OK(ACL(aclrtCreateStream)(&second));
  aclmdlRI graph = nullptr;
  aclrtStream standard = nullptr;
  OK(ACL(aclrtCtxGetCurrentDefaultStream)(&standard));
  REFUSED(aclmdlRICaptureBegin, ACL_ERROR_RT_STREAM_CAPTURE_IMPLICIT, standard, kLocal);
  REFUSED(aclmdlRICaptureBegin, ACL_ERROR_INVALID_PARAM, nullptr, kLocal);
  REFUSED(aclmdlRICaptureEnd, ACL_ERROR_RT_STREAM_NOT_CAPTURED, d.stream, &graph);
  OK(ACL(aclmdlRICaptureBegin)(d.stream, kLocal));
  REFUSED(aclmdlRICaptureBegin, ACL_ERROR_RT_STREAM_CAPTURED, d.stream, kLocal);
  REFUSED(aclrtDestroyStream, ACL_ERROR_RT_STREAM_CAPTURED, d.stream);
  std::thread([&] {
    OK(ACL(aclrtSetDevice)(0));
    REFUSED(aclmdlRICaptureEnd, ACL_ERROR_RT_STREAM_CAPTURE_WRONG_THREAD, d.stream, &graph);
    OK(ACL(aclrtResetDevice)(0));
  }).join();
  CHECK_EQ(ACL(aclmdlRICaptureEnd)(d.stream, &graph), ACL_ERROR_RT_STREAM_CAPTURE_INVALIDATED);
  OK(ACL(aclrtDestroyStream)(second));
  CLEAN();
}

TEST("side streams join by events and must come back") {
  Bound d;
  Scale op(2);
  OK(op.enqueue(d.stream));
  d.sync();
  aclrtStream side = nullptr;
  aclrtEvent fork = nullptr, join = nullptr;
  OK(ACL(aclrtCreateStream)(&side));
  OK(ACL(aclrtCreateEventExWithFlag)(&fork, ACL_EVENT_SYNC));
  OK(ACL(aclrtCreateEventExWithFlag)(&join, ACL_EVENT_SYNC));
  aclmdlRI graph = nullptr;
  for (const bool joined : {true, false}) {
    OK(ACL(aclmdlRICaptureBegin)(d.stream, kLocal));
    OK(ACL(aclrtRecordEvent)(fork, d.stream));
    OK(ACL(aclrtStreamWaitEvent)(side, fork));
    OK(op.enqueue(side));
    REFUSED(aclmdlRICaptureEnd, ACL_ERROR_RT_STREAM_CAPTURE_UNMATCHED, side, &graph);
    if (joined) {
      OK(ACL(aclrtRecordEvent)(join, side));
      OK(ACL(aclrtStreamWaitEvent)(d.stream, join));
      OK(ACL(aclmdlRICaptureEnd)(d.stream, &graph));
      OK(ACL(aclrtMemset)(op.y.buffer.at, 16, 0, 16));
      OK(ACL(aclmdlRIExecuteAsync)(graph, d.stream));
      d.sync();
      CHECK_EQ(op.at(1), 4.0f);
      OK(ACL(aclmdlRIDestroy)(graph));
    } else {
      REFUSED(aclmdlRICaptureEnd, ACL_ERROR_RT_STREAM_UNJOINED, d.stream, &graph);
    }
  }
  OK(ACL(aclrtRecordEvent)(join, side));
  OK(ACL(aclmdlRICaptureBegin)(d.stream, kLocal));
  REFUSED(aclrtStreamWaitEvent, ACL_ERROR_RT_CAPTURE_DEPENDENCY, d.stream, join);  // recorded outside
  CHECK_EQ(ACL(aclmdlRICaptureEnd)(d.stream, &graph), ACL_ERROR_RT_STREAM_CAPTURE_INVALIDATED);
  for (aclrtEvent e : {fork, join}) OK(ACL(aclrtDestroyEvent)(e));
  OK(ACL(aclrtDestroyStream)(side));
  CLEAN();
}

TEST("graphs hold streams of the device") {
  Bound d;
  Scale op(2);
  ACL(emu_set_limit)("streams", 2);
  aclmdlRI graph = capture_scale(d, op), second = nullptr;
  OK(ACL(aclmdlRICaptureBegin)(d.stream, kLocal));
  OK(op.enqueue(d.stream));
  CHECK_EQ(ACL(aclmdlRICaptureEnd)(d.stream, &second), ACL_ERROR_RT_NO_STREAM_RESOURCE);
  OK(ACL(aclmdlRIDestroy)(graph));
  graph = capture_scale(d, op);
  OK(ACL(aclmdlRIDestroy)(graph));
  ACL(emu_set_limit)("streams", 1984);
  CLEAN();
}

namespace {

// A graph whose one operator sits in a task group behind an external event.
struct Updatable {
  explicit Updatable(Bound& d) : op(2) {
    OK(op.enqueue(d.stream));
    d.sync();
    OK(ACL(aclrtCreateEventWithFlag)(&ready, ACL_EVENT_EXTERNAL));
    OK(ACL(aclrtCreateStream)(&update));
    OK(ACL(aclmdlRICaptureBegin)(d.stream, kLocal));
    OK(ACL(aclrtStreamWaitEvent)(d.stream, ready));
    OK(ACL(aclrtResetEvent)(ready, d.stream));
    OK(ACL(aclmdlRICaptureTaskGrpBegin)(d.stream));
    OK(op.enqueue(d.stream));
    OK(ACL(aclmdlRICaptureTaskGrpEnd)(d.stream, &group));
    OK(ACL(aclmdlRICaptureEnd)(d.stream, &graph));
  }
  ~Updatable() {
    OK(ACL(aclmdlRIDestroy)(graph));
    OK(ACL(aclrtDestroyStream)(update));
    OK(ACL(aclrtDestroyEvent)(ready));
  }
  void set(float factor) {
    op.refactor(factor);
    OK(ACL(aclmdlRICaptureTaskUpdateBegin)(update, group));
    OK(op.enqueue(update));
    OK(ACL(aclmdlRICaptureTaskUpdateEnd)(update));
    OK(ACL(aclrtRecordEvent)(ready, update));
  }
  Scale op;
  aclrtEvent ready = nullptr;
  aclrtStream update = nullptr;
  aclrtTaskGrp group = nullptr;
  aclmdlRI graph = nullptr;
};

}  // namespace

TEST("a task group takes new parameters at each replay, behind its event") {
  Bound d;
  Updatable u(d);
  for (const float factor : {3.0f, 5.0f, 7.0f}) {
    OK(ACL(aclmdlRIExecuteAsync)(u.graph, d.stream));  // waits inside for the update
    CHECK_EQ(ACL(aclrtSynchronizeStreamWithTimeout)(d.stream, 5), ACL_ERROR_RT_STREAM_SYNC_TIMEOUT);
    u.set(factor);
    d.sync();
    CHECK_EQ(u.op.at(0), factor);
  }
  EmuCounters c;
  ACL(emu_counters)(&c);
  CHECK(c.task_updates >= 3);
  CLEAN();
}

TEST("an update that is not ordered before the replay comes too late") {
  Bound d;
  Updatable u(d);
  u.set(3);
  OK(ACL(aclmdlRIExecuteAsync)(u.graph, d.stream));
  d.sync();
  CHECK_EQ(u.op.at(0), 3.0f);
  ACL(emu_hold_stream)(u.update);
  u.op.refactor(9);
  OK(ACL(aclmdlRICaptureTaskUpdateBegin)(u.update, u.group));
  OK(u.op.enqueue(u.update));
  OK(ACL(aclmdlRICaptureTaskUpdateEnd)(u.update));
  OK(ACL(aclrtRecordEvent)(u.ready, d.stream));  // the wrong stream says "ready"
  OK(ACL(aclmdlRIExecuteAsync)(u.graph, d.stream));
  d.sync();
  CHECK_EQ(u.op.at(0), 3.0f);  // the old parameters
  ACL(emu_release_stream)(u.update);
  OK(ACL(aclrtSynchronizeStream)(u.update));
  CLEAN();
}

TEST("groups and updates: empty, different, stale, unsupported") {
  Bound d;
  Updatable u(d);
  aclmdlRI graph = nullptr;
  aclrtTaskGrp group = nullptr;
  OK(ACL(aclmdlRICaptureBegin)(d.stream, kLocal));
  REFUSED(aclmdlRICaptureTaskGrpEnd, ACL_ERROR_STREAM_TASK_GROUP_STATUS, d.stream, &group);
  OK(ACL(aclmdlRICaptureTaskGrpBegin)(d.stream));
  REFUSED(aclmdlRICaptureTaskGrpEnd, ACL_ERROR_STREAM_TASK_GROUP_STATUS, d.stream, &group);
  OK(ACL(aclmdlRICaptureEnd)(d.stream, &graph));
  OK(ACL(aclmdlRIDestroy)(graph));
  REFUSED(aclmdlRICaptureTaskGrpBegin, ACL_ERROR_RT_STREAM_NOT_CAPTURED, d.stream);
  OK(ACL(aclmdlRICaptureTaskUpdateBegin)(u.update, u.group));
  REFUSED(aclmdlRICaptureTaskUpdateEnd, ACL_ERROR_STREAM_TASK_GROUP_STATUS, u.update);  // no task
  OK(ACL(aclmdlRICaptureTaskUpdateBegin)(u.update, u.group));
  OK(u.op.enqueue(u.update));
  OK(u.op.enqueue(u.update));
  REFUSED(aclmdlRICaptureTaskUpdateEnd, ACL_ERROR_STREAM_TASK_GROUP_STATUS, u.update);  // one too many
  Tensor t({4}, ACL_FLOAT, std::vector<float>(4));
  uint64_t size = 0;
  aclOpExecutor* e = nullptr;
  OK(ACL(aclnnInplaceZeroGetWorkspaceSize)(t, &size, &e));
  OK(ACL(aclmdlRICaptureTaskUpdateBegin)(u.update, u.group));
  OK(ACL(aclnnInplaceZero)(nullptr, 0, e, u.update));
  REFUSED(aclmdlRICaptureTaskUpdateEnd, ACL_ERROR_RT_FEATURE_NOT_SUPPORT_UPDATE_OP, u.update);
  OK(ACL(aclmdlRICaptureTaskUpdateBegin)(u.update, u.group));
  REFUSED(aclrtMemsetAsync, ACL_ERROR_STREAM_TASK_GROUP_STATUS, t.buffer.at, 16, 0, 16, u.update);
  REFUSED(aclmdlRICaptureTaskUpdateEnd, ACL_ERROR_STREAM_TASK_GROUP_STATUS, u.update);
  REFUSED(aclmdlRICaptureTaskUpdateBegin, ACL_ERROR_RT_INVALID_HANDLE, u.update, &u);
  CLEAN();
}

HARNESS_MAIN
