// Events.

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

void check_timeout(int32_t timeout) {
  require(timeout == -1 || timeout > 0, kBad, "timeout must be -1 or positive, is ", timeout);
}

void require_timing(const Event& event) {
  require(event.flags == 0 || (event.flags & ACL_EVENT_TIME_LINE), ACL_ERROR_RT_EVENT_TIMESTAMP_INVALID,
          "the event was created without ACL_EVENT_TIME_LINE");
}

bool completed(Event& event) {
  demand_progress();
  const std::lock_guard lock(event.mutex);
  return event.completed >= event.submitted;
}

}  // namespace

extern "C" {

aclError aclrtCreateEvent(aclrtEvent* event) {
  return api("aclrtCreateEvent", args(event), [&] {
    require(event, kNull, "event is null");
    *event = new_event(0, false);
  });
}

aclError aclrtCreateEventWithFlag(aclrtEvent* event, uint32_t flag) {
  return api("aclrtCreateEventWithFlag", args(event, flag), [&] {
    require(event, kNull, "event is null");
    require(flag != 0, kBad, "flag is 0");
    *event = new_event(flag, false);
  });
}

aclError aclrtCreateEventExWithFlag(aclrtEvent* event, uint32_t flag) {
  return api("aclrtCreateEventExWithFlag", args(event, flag), [&] {
    require(event, kNull, "event is null");
    require(flag != 0, kBad, "flag is 0");
    *event = new_event(flag, true);
  });
}

aclError aclrtDestroyEvent(aclrtEvent event) {
  return api("aclrtDestroyEvent", args(event), [&] { destroy_event(checked_event(event)); });
}

aclError aclrtRecordEvent(aclrtEvent event, aclrtStream stream) {
  return api("aclrtRecordEvent", args(event, stream), [&] {
    Event& e = checked_event(event);
    record_event(e, own_stream(stream));
  });
}

aclError aclrtResetEvent(aclrtEvent event, aclrtStream stream) {
  return api("aclrtResetEvent", args(event, stream), [&] {
    Event& e = checked_event(event);
    reset_event(e, own_stream(stream));
  });
}

aclError aclrtQueryEventStatus(aclrtEvent event, aclrtEventRecordedStatus* status) {
  return api("aclrtQueryEventStatus", args(event, status), [&] {
    require(status, kNull, "status is null");
    Event& e = checked_event(event);
    refuse_if_captured(e, "a query");
    count(Count::kQueries);
    const bool never = !e.ex && e.submitted == 0;
    *status =
        !never && completed(e) ? ACL_EVENT_RECORDED_STATUS_COMPLETE : ACL_EVENT_RECORDED_STATUS_NOT_READY;
    check_health(*e.context);
  });
}

aclError aclrtQueryEvent(aclrtEvent event, aclrtEventStatus* status) {
  return api("aclrtQueryEvent", args(event, status), [&] {
    require(status, kNull, "status is null");
    Event& e = checked_event(event);
    require(!e.ex, ACL_ERROR_RT_FEATURE_NOT_SUPPORT, "aclrtQueryEvent on an event of the Ex kind");
    refuse_if_captured(e, "a query");
    count(Count::kQueries);
    *status = e.submitted > 0 && completed(e) ? ACL_EVENT_STATUS_COMPLETE : ACL_EVENT_STATUS_NOT_READY;
    check_health(*e.context);
  });
}

aclError aclrtQueryEventWaitStatus(aclrtEvent event, aclrtEventWaitStatus* status) {
  return api("aclrtQueryEventWaitStatus", args(event, status), [&] {
    require(status, kNull, "status is null");
    Event& e = checked_event(event);
    require(!e.ex, ACL_ERROR_RT_FEATURE_NOT_SUPPORT, "aclrtQueryEventWaitStatus on an event of the Ex kind");
    demand_progress();
    const std::lock_guard lock(e.mutex);
    *status =
        e.waits_done >= e.waits_submitted ? ACL_EVENT_WAIT_STATUS_COMPLETE : ACL_EVENT_WAIT_STATUS_NOT_READY;
  });
}

aclError aclrtSynchronizeEvent(aclrtEvent event) {
  return api("aclrtSynchronizeEvent", args(event), [&] {
    Event& e = checked_event(event);
    refuse_if_captured(e, "synchronisation");
    count(Count::kEventSyncs);
    synchronize_event(e, -1);
    check_health(*e.context);
  });
}

aclError aclrtSynchronizeEventWithTimeout(aclrtEvent event, int32_t timeout) {
  return api("aclrtSynchronizeEventWithTimeout", args(event, timeout), [&] {
    check_timeout(timeout);
    Event& e = checked_event(event);
    refuse_if_captured(e, "synchronisation");
    count(Count::kEventSyncs);
    if (!synchronize_event(e, timeout))
      decline(ACL_ERROR_RT_EVENT_SYNC_TIMEOUT, "not recorded after ", timeout, " ms");
    check_health(*e.context);
  });
}

aclError aclrtEventElapsedTime(float* ms, aclrtEvent startEvent, aclrtEvent endEvent) {
  return api("aclrtEventElapsedTime", args(ms, startEvent, endEvent), [&] {
    require(ms, kNull, "ms is null");
    double stamps[2];
    int i = 0;
    for (const aclrtEvent handle : {startEvent, endEvent}) {
      Event& e = checked_event(handle);
      require_timing(e);
      const std::lock_guard lock(e.mutex);
      require(e.submitted > 0, ACL_ERROR_RT_INTERNAL_ERROR, "the event was never recorded");
      require(e.completed >= e.submitted, ACL_ERROR_RT_EVENT_TIMESTAMP_INVALID, "the event is not complete");
      stamps[i++] = e.stamp_us;
    }
    *ms = static_cast<float>((stamps[1] - stamps[0]) / 1000.0);
  });
}

aclError aclrtEventGetTimestamp(aclrtEvent event, uint64_t* timestamp) {
  return api("aclrtEventGetTimestamp", args(event, timestamp), [&] {
    require(timestamp, kNull, "timestamp is null");
    Event& e = checked_event(event);
    require_timing(e);
    const std::lock_guard lock(e.mutex);
    require(e.submitted > 0 && e.completed >= e.submitted, ACL_ERROR_RT_EVENT_TIMESTAMP_INVALID,
            "the event is not complete");
    *timestamp = static_cast<uint64_t>(e.stamp_us);
  });
}

aclError aclrtGetEventAvailNum(uint32_t* eventCount) {
  return api("aclrtGetEventAvailNum", args(eventCount), [&] {
    require(eventCount, kNull, "eventCount is null");
    const uint64_t used = device(current_context().device).events, limit = config().event_limit;
    *eventCount = static_cast<uint32_t>(limit > used ? limit - used : 0);
  });
}

}  // extern "C"
