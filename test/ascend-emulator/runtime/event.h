#pragma once
// Events. Three kinds share one class:
//   plain    (aclrtCreateEvent, ...WithFlag)  record, wait, query, time; reset by the waiter before it is
//   used again ex       (aclrtCreateEventExWithFlag)     any number of records and waits; required inside a
//   capture external (flag ACL_EVENT_EXTERNAL)        a plain event that a captured graph really waits for at
//   each replay
// A wait refers to the latest record submitted when the wait was submitted.

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>

#include "runtime/stream.h"

namespace emu {

struct Event {
  Context* context = nullptr;
  bool ex = false;
  uint32_t flags = 0;
  std::atomic<bool> alive{true};

  std::mutex mutex;
  std::condition_variable changed;
  uint64_t submitted = 0, completed = 0;  // records; guarded by mutex, as all below
  uint64_t waits_submitted = 0, waits_done = 0;
  bool set = false;  // external: recorded and not yet reset
  double stamp_us = 0;
  int failed = 0;  // the recording stream's error

  // Guarded by the capture mutex: the capture in which it was recorded last, and what that record saw.
  std::weak_ptr<Capture> capture;
  std::map<Stream*, size_t> seen;

  bool external() const { return flags & ACL_EVENT_EXTERNAL; }
};

Event* new_event(uint32_t flags, bool ex);
Event& checked_event(aclrtEvent handle);
void destroy_event(Event& event);
uint64_t live_events();

void record_event(Event& event, Stream& stream);
void wait_event(Event& event, Stream& stream, uint64_t timeout_ms);
void reset_event(Event& event, Stream& stream);
// Host wait; false when the time ran out.
bool synchronize_event(Event& event, int64_t timeout_ms);

// The work itself, as captured graphs run it again and again.
void note_recorded(Event& event, uint64_t version, Stream& stream);
void await_set(Event& event, Stream& stream, uint64_t timeout_ms);

}  // namespace emu
