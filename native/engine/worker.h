#pragma once
// A thread that runs jobs in order: the engine's thread, which alone touches backend, KV and sequences.

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace agentinfer {

class Worker {
 public:
  // `last` runs behind all jobs: there is always memory for it, as its place is here. It must not throw.
  explicit Worker(std::function<void()> last = nullptr);
  // Runs what is queued, then joins. Safe to call from any thread but the worker's own.
  ~Worker() { stop(); }

  // Queues a job; false (and the job is dropped) after refuse(). Jobs must not throw. Any thread.
  bool submit(std::function<void()> job);
  // Whether jobs wait behind the one that runs, or it is to stop. Any thread; of use to the job itself.
  bool wanted() const { return wanted_.load(std::memory_order_acquire); }
  // Refuses further jobs: the thread ends behind the queued ones and the last. Returns at once. Any thread.
  void refuse();
  // The same, and joins. Idempotent.
  void stop();

 private:
  void run();
  void linger() const;

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> jobs_;  // guarded by mutex_
  std::function<void()> last_;              // the worker's thread
  bool stopping_ = false;                   // guarded by mutex_
  std::atomic<bool> wanted_ = false;        // there are jobs or it is stopping; written under mutex_
  std::once_flag joined_;
  std::thread thread_;  // last: starts when everything above exists
};

}  // namespace agentinfer
