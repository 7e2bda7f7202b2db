#pragma once
// Devices and contexts. "Current context" is per thread. Context objects are never freed, so a stale handle
// is recognised instead of followed.

#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "abi/types.h"

namespace emu {

class Stream;

struct Context {
  int device = 0;
  bool primary = false;
  std::atomic<bool> alive{true};
  std::atomic<int> error{0};  // sticky code of a failed task
  std::atomic<Stream*> default_stream{nullptr};
  std::mutex mutex;
  std::string error_text;                 // guarded by mutex
  std::map<int, int64_t> system_options;  // guarded by mutex
};

struct Device {
  std::mutex mutex;
  Context* primary = nullptr;  // guarded by mutex, as all below
  int references = 0;
  std::map<int, bool> peers;  // peer -> access enabled
  std::atomic<int> saturation{ACL_RT_OVERFLOW_MODE_SATURATION};
  std::atomic<bool> told_saturation{false}, aborting{false};
  std::atomic<uint64_t> streams{0}, events{0};
};

// Refuses with 107001 when the user-visible id does not exist.
Device& device(int id);
int device_count();

// The thread's context; refuses with 107002 when it has none (or a dead one), ends the call with the sticky
// code of a failed task or a lost device.
Context& current_context();
// The same without looking at the device's health: what release calls use. Null when there is none.
Context* current_context_or_null();
void set_current_context(Context* context);
// Ends the call with the code of a lost device or a failed task, if any.
void check_health(Context& context);
void check_health_after_release(Context& context);
void fail_context(Context& context, int code, const std::string& why);

Context* checked_context(aclrtContext handle);
Context* new_context(int device, bool primary);
void kill_context(Context& context);  // waits for its streams and ends them
void bind_device(int id);             // aclrtSetDevice
void release_device(int id, bool force);
uint64_t live_contexts();

}  // namespace emu
