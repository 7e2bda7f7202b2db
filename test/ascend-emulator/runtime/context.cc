#include "runtime/context.h"

#include <set>

#include "control/api.h"
#include "control/config.h"
#include "control/faults.h"
#include "graph/capture.h"
#include "runtime/event.h"
#include "runtime/memory.h"
#include "runtime/stream.h"

namespace emu {
namespace {

thread_local Context* t_current = nullptr;

struct All {
  std::mutex mutex;
  std::vector<Context*> contexts;  // guarded by mutex; never freed
};

All& all() {
  static All* instance = new All;
  return *instance;
}

std::vector<Device>& devices() {
  static auto* instance = new std::vector<Device>(config().devices.size());
  return *instance;
}

}  // namespace

Device& device(int id) {
  require(id >= 0 && static_cast<size_t>(id) < devices().size(), ACL_ERROR_RT_INVALID_DEVICEID, "device ", id,
          " does not exist: ", devices().size(), " visible");
  return devices()[static_cast<size_t>(id)];
}

int device_count() {
  return static_cast<int>(config().devices.size());
}

void check_health(Context& context) {
  if (const int lost = lost_code(context.device)) {
    last_async_error() = lost;
    decline(lost, "device ", context.device, " is lost");
  }
  if (const int error = context.error) {
    std::string why;
    {
      const std::lock_guard lock(context.mutex);
      why = context.error_text;
    }
    last_async_error() = error;
    decline(error, "an earlier task of the context failed: ", why);
  }
  if (device(context.device).aborting)
    decline(ACL_ERROR_RT_DEVICE_TASK_ABORT, "the device's tasks are being aborted");
}

void check_health_after_release(Context& context) {
  check_health(context);
}

Context* current_context_or_null() {
  return t_current && t_current->alive ? t_current : nullptr;
}

Context& current_context() {
  require_initialised();
  require(t_current, ACL_ERROR_RT_CONTEXT_NULL,
          "this thread has no current context (aclrtSetDevice was not called on it)");
  require(t_current->alive, ACL_ERROR_RT_CONTEXT_NULL,
          "the thread's context was destroyed or its device reset");
  check_health(*t_current);
  return *t_current;
}

void set_current_context(Context* context) {
  t_current = context;
}

void fail_context(Context& context, int code, const std::string& why) {
  int none = 0;
  if (!context.error.compare_exchange_strong(none, code)) return;
  const std::lock_guard lock(context.mutex);
  context.error_text = why;
}

Context* checked_context(aclrtContext handle) {
  All& a = all();
  const std::lock_guard lock(a.mutex);
  for (Context* context : a.contexts)
    if (context == handle) {
      require(context->alive, ACL_ERROR_RT_CONTEXT_NULL, "the context was destroyed");
      return context;
    }
  refuse(ACL_ERROR_RT_PARAM_INVALID, handle, " is not a context");
}

Context* new_context(int id, bool primary) {
  auto* context = new Context;
  context->device = id;
  context->primary = primary;
  {
    All& a = all();
    const std::lock_guard lock(a.mutex);
    a.contexts.push_back(context);
  }
  context->default_stream = new_stream(*context, 0, true);
  return context;
}

void kill_context(Context& context) {
  end_streams_of(context);
  drop_graphs_of(context);
  context.alive = false;
}

void bind_device(int id) {
  require_initialised();
  Device& d = device(id);
  if (const int lost = lost_code(id))
    decline(ACL_ERROR_RT_DEV_SETUP_ERROR, "device ", id, " is lost (", lost, ")");
  const std::lock_guard lock(d.mutex);
  if (!d.primary) d.primary = new_context(id, true);
  ++d.references;
  t_current = d.primary;
}

void release_device(int id, bool force) {
  Device& d = device(id);
  Context* ended = nullptr;
  {
    const std::lock_guard lock(d.mutex);
    if (d.references == 0 && !force)
      decline(ACL_ERROR_RT_CONTEXT_RELEASE_ERROR, "device ", id, " was reset more often than set");
    d.references = force ? 0 : d.references - 1;
    if (d.references == 0) std::swap(ended, d.primary);
  }
  if (!ended) return;
  const uint64_t streams = live_streams_of(*ended);
  if (streams) report(text(streams, " streams of device ", id, " were not destroyed before its last reset"));
  kill_context(*ended);
  if (t_current == ended) t_current = nullptr;
  free_all_of_device(id);
  d.saturation = ACL_RT_OVERFLOW_MODE_SATURATION;
  d.aborting = false;
}

uint64_t live_contexts() {
  All& a = all();
  const std::lock_guard lock(a.mutex);
  uint64_t n = 0;
  for (const Context* context : a.contexts) n += context->alive;
  return n;
}

}  // namespace emu
