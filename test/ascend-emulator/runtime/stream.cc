#include "runtime/stream.h"

#include <chrono>
#include <set>
#include <vector>

#include "control.h"
#include "control/config.h"
#include "control/faults.h"
#include "graph/capture.h"
#include "runtime/worker_clock.h"

namespace emu {
namespace {

using Clock = std::chrono::steady_clock;

struct All {
  std::mutex mutex;
  std::vector<Stream*> streams;  // guarded by mutex; never freed
  int next_id = 0;
};

All& all() {
  static All* instance = new All;
  return *instance;
}

std::atomic<uint64_t> g_ticket{0}, g_demanded{0};
std::atomic<int> g_waiting{0};  // host threads inside a wait: what is submitted meanwhile is wanted too
std::atomic<aclrtExceptionInfoCallback> g_callback{nullptr};

struct WaitingMark {
  WaitingMark() { ++g_waiting; }
  ~WaitingMark() { --g_waiting; }
};

template <class F>
void for_each_stream(F&& f) {
  All& a = all();
  std::vector<Stream*> copy;
  {
    const std::lock_guard lock(a.mutex);
    copy = a.streams;
  }
  for (Stream* stream : copy)
    if (stream->alive()) f(*stream);
}

}  // namespace

void set_exception_callback(aclrtExceptionInfoCallback callback) {
  g_callback = callback;
}

Stream::Stream(Context& context, int id, uint32_t flags, bool is_default)
    : context_(context), id_(id), flags_(flags), is_default_(is_default) {}

void Stream::put(TaskPtr task) {
  if (aborted_) decline(ACL_ERROR_RT_STREAM_ABORT, "the stream was aborted");
  task->ticket = ++g_ticket;
  if (g_waiting > 0) g_demanded = task->ticket;
  const std::lock_guard lock(mutex_);
  queue_.push_back(std::move(task));
  ++submitted_;
  if (!started_) {
    started_ = true;
    thread_ = std::thread([this] { work(); });
  }
  wake_.notify_one();
}

bool Stream::idle() {
  demand_progress();
  const std::lock_guard lock(mutex_);
  return completed_ == submitted_;
}

bool Stream::wait(int64_t timeout_ms) {
  const WaitingMark waiting;
  demand_progress();
  std::unique_lock lock(mutex_);
  const uint64_t target = submitted_;
  const auto reached = [&] { return completed_ >= target; };
  if (timeout_ms < 0) {
    done_.wait(lock, reached);
    return true;
  }
  // A system-clock deadline: sanitizers follow it, and a test's timeouts are short.
  return done_.wait_until(lock, std::chrono::system_clock::now() + std::chrono::milliseconds(timeout_ms),
                          reached);
}

void Stream::block_until(const std::function<bool()>& ready, uint64_t timeout_ms, int code,
                         const std::string& why) {
  const auto deadline = Clock::now() + std::chrono::milliseconds(timeout_ms);
  for (int round = 0;; ++round) {
    if (ready()) return;
    if (stop_ || aborted_) throw TaskFault{ACL_ERROR_RT_STREAM_ABORT, "aborted while waiting: " + why};
    if (const int lost = lost_code(device())) throw TaskFault{lost, "device lost while waiting: " + why};
    if (Clock::now() >= deadline) throw TaskFault{code, "timed out: " + why};
    pause_worker(round);
  }
}

void Stream::hold(bool on) {
  const std::lock_guard lock(mutex_);
  held_ = on;
  wake_.notify_all();
}

void Stream::poke() {
  const std::lock_guard lock(mutex_);
  wake_.notify_all();
}

void Stream::abort() {
  aborted_ = true;
  const std::lock_guard lock(mutex_);
  completed_ += queue_.size();
  queue_.clear();
  wake_.notify_all();
  done_.notify_all();
}

void Stream::end(bool wait_first) {
  if (!alive_.exchange(false)) return;
  if (wait_first) wait(-1);
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
    held_ = false;
    wake_.notify_all();
  }
  if (thread_.joinable()) {
    if (thread_.get_id() == std::this_thread::get_id())
      thread_.detach();
    else
      thread_.join();
  }
  if (!is_default_) emu::device(context_.device).streams.fetch_sub(1);
}

void Stream::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [&] {
      if (stop_) return true;
      if (queue_.empty() || held_) return false;
      return !config().lazy || queue_.front()->ticket <= g_demanded.load();
    });
    if (stop_) return;
    TaskPtr task = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    run_one(*task);
    task.reset();
    lock.lock();
    ++completed_;
    done_.notify_all();
  }
}

void Stream::run_one(Task& task) {
  if (context_.error || error_) return;  // a failed context runs nothing more
  if (const uint64_t delay = config().task_delay_us)
    std::this_thread::sleep_for(std::chrono::microseconds(delay));
  const TaskFate fate = task_fate(device());
  try {
    if (const int lost = lost_code(device())) throw TaskFault{lost, "the device is lost"};
    if (fate.fail_code) throw TaskFault{fate.fail_code, "injected task failure"};
    if (fate.hang) {
      const uint64_t generation = unhang_generation();
      block_until([&] { return unhang_generation() != generation; }, config().task_ms,
                  ACL_ERROR_RT_AICORE_TIMEOUT, "the task hangs (injected)");
    }
    task.run(*this);
  } catch (const TaskFault& fault) {
    if (!aborted_ || fault.code != ACL_ERROR_RT_STREAM_ABORT) fail(task, fault.code, fault.why);
  } catch (const Refusal& refusal) {
    report_at(text("task ", task.name, task.describe ? "(" + task.describe() + ")" : "", " on stream ", id_,
                   " of device ", device()),
              refusal.why);
    fail(task, refusal.code, refusal.why);
  }
}

void Stream::fail(const Task& task, int code, const std::string& why) {
  error_ = code;
  fail_context(context_, code, text(task.name, " on stream ", id_, ": ", why));
  if (const aclrtExceptionInfoCallback callback = g_callback) {
    rtExceptionInfo info{static_cast<uint32_t>(task.ticket), static_cast<uint32_t>(id_),
                         static_cast<uint32_t>(task.thread), static_cast<uint32_t>(device()),
                         static_cast<uint32_t>(code)};
    callback(&info);
  }
}

Stream* new_stream(Context& context, uint32_t flags, bool is_default) {
  Device& d = device(context.device);
  if (!is_default && d.streams.fetch_add(1) >= config().stream_limit) {
    d.streams.fetch_sub(1);
    decline(ACL_ERROR_RT_NO_STREAM_RESOURCE, "stream resources of device ", context.device,
            " are insufficient: ", config().stream_limit.load(), " in use");
  }
  All& a = all();
  const std::lock_guard lock(a.mutex);
  auto* stream = new Stream(context, a.next_id++, flags, is_default);
  a.streams.push_back(stream);
  return stream;
}

void end_streams_of(Context& context) {
  for_each_stream([&](Stream& s) {
    if (&s.context() == &context) s.end(true);
  });
}

void abort_streams_of(Context& context) {
  for_each_stream([&](Stream& s) {
    if (&s.context() == &context) s.abort();
  });
}

bool wait_streams_of(Context& context, int64_t timeout_ms) {
  bool finished = true;
  for_each_stream([&](Stream& s) {
    if (&s.context() == &context) finished = s.wait(timeout_ms) && finished;
  });
  return finished;
}

uint64_t live_streams_of(Context& context) {
  uint64_t n = 0;
  for_each_stream([&](Stream& s) { n += &s.context() == &context && !s.is_default(); });
  return n;
}

uint64_t live_streams() {
  uint64_t n = 0;
  for_each_stream([&](Stream& s) { n += !s.is_default(); });
  return n;
}

Stream& any_stream(aclrtStream handle) {
  if (!handle) return *current_context().default_stream.load();
  All& a = all();
  const std::lock_guard lock(a.mutex);
  for (Stream* stream : a.streams)
    if (stream == handle) {
      require(stream->alive(), ACL_ERROR_RT_PARAM_INVALID, "the stream was destroyed");
      return *stream;
    }
  refuse(ACL_ERROR_RT_PARAM_INVALID, handle, " is not a stream");
}

Stream& own_stream(aclrtStream handle) {
  Context& context = current_context();
  Stream& stream = any_stream(handle);
  require(&stream.context() == &context, ACL_ERROR_RT_STREAM_CONTEXT,
          "the stream belongs to another context (device ", stream.device(),
          ") than the thread's current one (device ", context.device, ")");
  return stream;
}

TaskPtr make_task(std::string name, TaskKind kind, std::function<void(Stream&)> run) {
  auto task = std::make_shared<Task>();
  task->name = std::move(name);
  task->kind = kind;
  task->run = std::move(run);
  task->thread = static_cast<uint64_t>(std::hash<std::thread::id>{}(std::this_thread::get_id()) & 0xffffffff);
  return task;
}

void submit(Stream& stream, TaskPtr task) {
  if (take_into_capture(stream, task)) return;
  stream.put(std::move(task));
}

void demand_progress() {
  if (!config().lazy) return;
  g_demanded = g_ticket.load();
  for_each_stream([](Stream& s) { s.poke(); });
}

}  // namespace emu

extern "C" {

EMU_API void emu_hold_stream(void* stream) {
  try {
    emu::any_stream(stream).hold(true);
  } catch (const emu::Refusal&) {
  }
}

EMU_API void emu_release_stream(void* stream) {
  try {
    emu::any_stream(stream).hold(false);
  } catch (const emu::Refusal&) {
  }
}

EMU_API void emu_set_lazy(int on) {
  emu::config().lazy = on != 0;
  emu::for_each_stream([](emu::Stream& s) { s.poke(); });
}

EMU_API void emu_set_task_delay_us(uint64_t microseconds) {
  emu::config().task_delay_us = microseconds;
}

EMU_API void emu_set_timeouts_ms(uint64_t connect, uint64_t exec, uint64_t event_wait, uint64_t task) {
  emu::Config& c = emu::config();
  if (connect) c.connect_ms = connect;
  if (exec) c.exec_ms = exec;
  if (event_wait) c.event_wait_ms = event_wait;
  if (task) c.task_ms = task;
}

EMU_API int emu_set_limit(const char* name, uint64_t value) {
  emu::Config& c = emu::config();
  const std::string which = name ? name : "";
  if (which == "streams")
    c.stream_limit = value;
  else if (which == "events")
    c.event_limit = value;
  else if (which == "hbm_bytes")
    c.hbm_bytes = value;
  else
    return 0;
  return 1;
}

}  // extern "C"
