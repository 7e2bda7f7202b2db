#pragma once
// A stream is a queue with its own worker thread: tasks run in order, later than they were put there.

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "abi/types.h"
#include "control/api.h"
#include "runtime/context.h"

namespace emu {

class Stream;
struct Capture;
struct TaskGroup;

enum class TaskKind {
  kKernel,
  kCopy,
  kMemset,
  kRecord,
  kWait,
  kReset,
  kCollective,
  kCallback,
  kGraph,
  kUpdate
};

// One unit of asynchronous work. `run` may throw TaskFault (the device failed) or Refusal (the caller broke a
// rule that only shows now, for example freed memory that queued work still uses).
struct Task {
  std::string name;
  TaskKind kind = TaskKind::kKernel;
  std::function<void(Stream&)> run;
  std::function<std::string()> describe;  // operands, for messages; may be empty
  uint64_t ticket = 0;
  uint64_t thread = 0;  // submitting thread, for the exception callback
};
using TaskPtr = std::shared_ptr<Task>;

class Stream {
 public:
  Stream(Context& context, int id, uint32_t flags, bool is_default);

  Context& context() const { return context_; }
  int device() const { return context_.device; }
  int id() const { return id_; }
  bool is_default() const { return is_default_; }
  bool alive() const { return alive_; }
  int error() const { return error_; }

  void put(TaskPtr task);  // behind everything already there
  bool idle();
  // Waits for all tasks there now; false when the time ran out (milliseconds, < 0: for ever).
  bool wait(int64_t timeout_ms);
  // For the body of a task: waits on the worker until `ready`, the time runs out (TaskFault with `code`) or
  // the stream is aborted or its device lost.
  void block_until(const std::function<bool()>& ready, uint64_t timeout_ms, int code, const std::string& why);
  void hold(bool on);
  void poke();   // look again: something a paused worker waits for may have changed
  void abort();  // drops what is queued, cuts short what blocks; later submissions are refused with 107023
  bool aborted() const { return aborted_; }
  void end(bool wait_first);

  // Guarded by the capture mutex (graph/capture.cc).
  std::shared_ptr<Capture> capture;
  std::shared_ptr<TaskGroup> group, update;
  // Set while the worker sits in a collective; guarded by the collectives' mutex (hccl/comm.cc).
  const void* blocked_in = nullptr;

 private:
  void work();
  void run_one(Task& task);
  void fail(const Task& task, int code, const std::string& why);

  Context& context_;
  const int id_;
  const uint32_t flags_;
  const bool is_default_;
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  std::deque<TaskPtr> queue_;  // guarded by mutex_, as the three below
  uint64_t submitted_ = 0, completed_ = 0;
  bool held_ = false, started_ = false;
  std::atomic<bool> stop_{false}, aborted_{false}, alive_{true};
  std::atomic<int> error_{0};
  std::thread thread_;
};

Stream* new_stream(Context& context, uint32_t flags, bool is_default);
void end_streams_of(Context& context);
void abort_streams_of(Context& context);
bool wait_streams_of(Context& context, int64_t timeout_ms);  // false when the time ran out
uint64_t live_streams_of(Context& context);                  // without the default stream
uint64_t live_streams();

// A live stream of any context; null = default stream of the thread's context.
Stream& any_stream(aclrtStream handle);
// A stream that work may be put on from this thread: belongs to the current context (else 107003).
Stream& own_stream(aclrtStream handle);
// Puts a task on a stream, or into the capture or task update the stream is in.
void submit(Stream& stream, TaskPtr task);
TaskPtr make_task(std::string name, TaskKind kind, std::function<void(Stream&)> run);

// Lazy scheduling: everything submitted so far may run. Called by whatever waits or asks.
void demand_progress();

void set_exception_callback(aclrtExceptionInfoCallback callback);

}  // namespace emu

// What an exception callback may ask about.
struct rtExceptionInfo {
  uint32_t task, stream, thread, device, code;
};
