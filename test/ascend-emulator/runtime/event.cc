#include "runtime/event.h"

#include <vector>

#include "control/config.h"
#include "control/counters.h"
#include "graph/capture.h"
#include "runtime/worker_clock.h"

namespace emu {
namespace {

struct All {
  std::mutex mutex;
  std::vector<Event*> events;  // guarded by mutex; never freed
};

All& all() {
  static All* instance = new All;
  return *instance;
}

}  // namespace

Event* new_event(uint32_t flags, bool ex) {
  Context& context = current_context();
  require((flags & ~0x7bu) == 0, ACL_ERROR_RT_PARAM_INVALID, "event flag ", flags, " has unknown bits");
  Device& d = device(context.device);
  if (d.events.fetch_add(1) >= config().event_limit) {
    d.events.fetch_sub(1);
    decline(ACL_ERROR_RT_NO_EVENT_RESOURCE, "event resources of device ", context.device,
            " are insufficient");
  }
  auto* event = new Event;
  event->context = &context;
  event->ex = ex;
  event->flags = flags;
  All& a = all();
  const std::lock_guard lock(a.mutex);
  a.events.push_back(event);
  return event;
}

Event& checked_event(aclrtEvent handle) {
  require(handle, ACL_ERROR_INVALID_PARAM, "event is null");
  All& a = all();
  const std::lock_guard lock(a.mutex);
  for (auto it = a.events.rbegin(); it != a.events.rend(); ++it)
    if (*it == handle) {
      require((*it)->alive, ACL_ERROR_RT_PARAM_INVALID, "the event was destroyed");
      return **it;
    }
  refuse(ACL_ERROR_RT_PARAM_INVALID, handle, " is not an event");
}

void destroy_event(Event& event) {
  event.alive = false;
  device(event.context->device).events.fetch_sub(1);
}

uint64_t live_events() {
  All& a = all();
  const std::lock_guard lock(a.mutex);
  uint64_t n = 0;
  for (const Event* event : a.events) n += event->alive;
  return n;
}

void note_recorded(Event& event, uint64_t version, Stream& stream) {
  const std::lock_guard lock(event.mutex);
  event.completed = std::max(event.completed, version);
  event.set = true;
  event.stamp_us = now_us();
  event.failed = stream.error();
  event.changed.notify_all();
}

void record_event(Event& event, Stream& stream) {
  count(Count::kEventRecords);
  if (capture_record(event, stream)) return;
  uint64_t version;
  {
    const std::lock_guard lock(event.mutex);
    version = ++event.submitted;
  }
  submit(stream, make_task("event record", TaskKind::kRecord,
                           [&event, version](Stream& s) { note_recorded(event, version, s); }));
}

void wait_event(Event& event, Stream& stream, uint64_t timeout_ms) {
  count(Count::kEventWaits);
  require(event.ex || event.flags == 0 || (event.flags & (ACL_EVENT_SYNC | ACL_EVENT_EXTERNAL)),
          ACL_ERROR_RT_FEATURE_NOT_SUPPORT, "the event was created without ACL_EVENT_SYNC");
  require(!event.ex || (event.flags & ACL_EVENT_SYNC) || event.external(), ACL_ERROR_RT_FEATURE_NOT_SUPPORT,
          "the event was created without ACL_EVENT_SYNC");
  if (capture_wait(event, stream, timeout_ms)) return;
  uint64_t version;
  {
    const std::lock_guard lock(event.mutex);
    version = event.submitted;
    if (version == 0 && !event.ex && !event.external())
      report("waits for an event that was never recorded: the effect is not defined");
    if (version == 0) return;
    ++event.waits_submitted;
  }
  submit(stream, make_task("event wait", TaskKind::kWait, [&event, version, timeout_ms](Stream& s) {
           s.block_until(
               [&] {
                 const std::lock_guard lock(event.mutex);
                 return event.completed >= version;
               },
               timeout_ms, ACL_ERROR_RT_FFTS_PLUS_TIMEOUT, "event wait");
           const std::lock_guard lock(event.mutex);
           ++event.waits_done;
         }));
}

void await_set(Event& event, Stream& stream, uint64_t timeout_ms) {
  stream.block_until(
      [&] {
        const std::lock_guard lock(event.mutex);
        return event.set;
      },
      timeout_ms, ACL_ERROR_RT_FFTS_PLUS_TIMEOUT, "a graph's wait for an external event");
}

void reset_event(Event& event, Stream& stream) {
  require(!event.ex, ACL_ERROR_RT_FEATURE_NOT_SUPPORT, "aclrtResetEvent on an event of the Ex kind");
  submit(stream, make_task("event reset", TaskKind::kReset, [&event](Stream&) {
           const std::lock_guard lock(event.mutex);
           event.set = false;
         }));
}

bool synchronize_event(Event& event, int64_t timeout_ms) {
  demand_progress();
  std::unique_lock lock(event.mutex);
  const uint64_t target = event.submitted;
  const auto reached = [&] {
    return event.completed >= target || event.context->error != 0 || !event.context->alive;
  };
  // Woken by records; a failed stream records nothing, so look again now and then.
  const double deadline = timeout_ms < 0 ? 0 : now_us() + static_cast<double>(timeout_ms) * 1000;
  while (!reached()) {
    if (timeout_ms >= 0 && now_us() >= deadline) return false;
    event.changed.wait_until(lock, std::chrono::system_clock::now() + std::chrono::milliseconds(2));
  }
  return true;
}

}  // namespace emu
