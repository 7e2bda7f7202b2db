// Streams.

#include "abi/acl_rt.h"
#include "control/api.h"
#include "control/config.h"
#include "control/counters.h"
#include "graph/capture.h"
#include "runtime/event.h"
#include "runtime/stream.h"

namespace {

using namespace emu;

constexpr int kNull = ACL_ERROR_INVALID_PARAM;
constexpr int kBad = ACL_ERROR_RT_PARAM_INVALID;

void create_stream(aclrtStream* stream, uint32_t flag) {
  require(stream, kNull, "stream is null");
  *stream = new_stream(current_context(), flag, false);
}

// Release calls work on a failed device too; they then return its code.
void destroy_stream(aclrtStream handle, bool wait_first) {
  require(handle, kNull, "stream is null");
  Stream& stream = any_stream(handle);
  require(!stream.is_default(), kBad, "the default stream cannot be destroyed");
  require(&stream.context() == current_context_or_null(), ACL_ERROR_RT_STREAM_CONTEXT,
          "the stream belongs to another context than the thread's current one");
  refuse_if_captured(stream, ACL_ERROR_RT_STREAM_CAPTURED, "destroying a stream");
  if (!wait_first) stream.abort();
  stream.end(wait_first);
  if (wait_first) check_health_after_release(stream.context());
}

void synchronize(aclrtStream handle, int64_t timeout) {
  Context& context = current_context();
  Stream& stream = handle ? any_stream(handle) : *context.default_stream.load();
  refuse_if_captured(stream, ACL_ERROR_RT_STREAM_CAPTURED, "synchronisation");
  count(Count::kStreamSyncs);
  if (!stream.wait(timeout))
    decline(ACL_ERROR_RT_STREAM_SYNC_TIMEOUT, "not finished after ", timeout,
            " ms; the stream keeps running");
  if (stream.aborted()) decline(ACL_ERROR_RT_STREAM_ABORT, "the stream was aborted");
  check_health(stream.context());
}

void check_timeout(int32_t timeout) {
  require(timeout == -1 || timeout > 0, kBad, "timeout must be -1 or positive, is ", timeout);
}

}  // namespace

extern "C" {

aclError aclrtCreateStream(aclrtStream* stream) {
  return api("aclrtCreateStream", args(stream), [&] { create_stream(stream, 0); });
}

aclError aclrtCreateStreamWithConfig(aclrtStream* stream, uint32_t priority, uint32_t flag) {
  return api("aclrtCreateStreamWithConfig", args(stream, priority, flag), [&] {
    require(priority <= 7, kBad, "priority must be 0 to 7, is ", priority);
    if (flag & ACL_STREAM_HUGE)
      refuse(ACL_ERROR_RT_FEATURE_NOT_SUPPORT, "ACL_STREAM_HUGE is not available on this product");
    create_stream(stream, flag);
  });
}

aclError aclrtDestroyStream(aclrtStream stream) {
  return api("aclrtDestroyStream", args(stream), [&] { destroy_stream(stream, true); });
}

aclError aclrtDestroyStreamForce(aclrtStream stream) {
  return api("aclrtDestroyStreamForce", args(stream), [&] { destroy_stream(stream, false); });
}

aclError aclrtSynchronizeStream(aclrtStream stream) {
  return api("aclrtSynchronizeStream", args(stream), [&] { synchronize(stream, -1); });
}

aclError aclrtSynchronizeStreamWithTimeout(aclrtStream stream, int32_t timeout) {
  return api("aclrtSynchronizeStreamWithTimeout", args(stream, timeout), [&] {
    check_timeout(timeout);
    synchronize(stream, timeout);
  });
}

aclError aclrtStreamQuery(aclrtStream stream, aclrtStreamStatus* status) {
  return api("aclrtStreamQuery", args(stream, status), [&] {
    require(status, kNull, "status is null");
    Stream& s = any_stream(stream);
    refuse_if_captured(s, ACL_ERROR_RT_STREAM_CAPTURED, "a query");
    count(Count::kQueries);
    *status = s.idle() ? ACL_STREAM_STATUS_COMPLETE : ACL_STREAM_STATUS_NOT_READY;
    check_health(s.context());
  });
}

aclError aclrtStreamWaitEvent(aclrtStream stream, aclrtEvent event) {
  return api("aclrtStreamWaitEvent", args(stream, event), [&] {
    Event& e = checked_event(event);
    wait_event(e, own_stream(stream), config().event_wait_ms);
  });
}

aclError aclrtStreamWaitEventWithTimeout(aclrtStream stream, aclrtEvent event, int32_t timeout) {
  return api("aclrtStreamWaitEventWithTimeout", args(stream, event, timeout), [&] {
    Event& e = checked_event(event);
    check_timeout(timeout);
    wait_event(e, own_stream(stream),
               timeout < 0 ? config().event_wait_ms.load() : static_cast<uint64_t>(timeout));
  });
}

aclError aclrtSetStreamFailureMode(aclrtStream stream, uint64_t mode) {
  return api("aclrtSetStreamFailureMode", args(stream, mode), [&] {
    require(mode <= ACL_STOP_ON_FAILURE, kBad, "unknown mode ", mode);
    require(!own_stream(stream).is_default(), kBad, "not for the default stream");
  });
}

aclError aclrtStreamAbort(aclrtStream stream) {
  return api("aclrtStreamAbort", args(stream), [&] {
    require(stream, kNull, "stream is null");
    any_stream(stream).abort();
  });
}

aclError aclrtStreamGetId(aclrtStream stream, int32_t* streamId) {
  return api("aclrtStreamGetId", args(stream, streamId), [&] {
    require(streamId, kNull, "streamId is null");
    *streamId = any_stream(stream).id();
  });
}

aclError aclrtGetStreamAvailableNum(uint32_t* streamCount) {
  return api("aclrtGetStreamAvailableNum", args(streamCount), [&] {
    require(streamCount, kNull, "streamCount is null");
    const uint64_t used = device(current_context().device).streams, limit = config().stream_limit;
    *streamCount = static_cast<uint32_t>(limit > used ? limit - used : 0);
  });
}

aclError aclrtSetStreamOverflowSwitch(aclrtStream stream, uint32_t flag) {
  return api("aclrtSetStreamOverflowSwitch", args(stream, flag), [&] { own_stream(stream); });
}

aclError aclrtSetStreamAttribute(aclrtStream stream, aclrtStreamAttr stmAttrType,
                                 aclrtStreamAttrValue* value) {
  return api("aclrtSetStreamAttribute", args(stream, stmAttrType, value), [&] {
    require(value, kNull, "value is null");
    own_stream(stream);
  });
}

aclError aclrtSetStreamResLimit(aclrtStream stream, aclrtDevResLimitType type, uint32_t value) {
  return api("aclrtSetStreamResLimit", args(stream, type, value), [&] { own_stream(stream); });
}

aclError aclrtSetOpWaitTimeout(uint32_t timeout) {
  return api("aclrtSetOpWaitTimeout", args(timeout), [&] {
    current_context();
    config().event_wait_ms = timeout ? uint64_t{timeout} * 1000 : kForeverMs;
  });
}

aclError aclrtSetOpExecuteTimeOut(uint32_t timeout) {
  return api("aclrtSetOpExecuteTimeOut", args(timeout), [&] {
    current_context();
    if (timeout) config().task_ms = uint64_t{timeout} * 1000;
  });
}

aclError aclrtSetOpExecuteTimeOutWithMs(uint32_t timeout) {
  return api("aclrtSetOpExecuteTimeOutWithMs", args(timeout), [&] {
    current_context();
    if (timeout) config().task_ms = timeout;
  });
}

}  // extern "C"
