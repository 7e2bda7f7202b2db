#pragma once
// One background thread of low priority that runs tasks in order: automata are built and sessions retrieved
// here, beside the prefill, never before the first token.

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

namespace agentinfer {

class Builder {
 public:
  Builder();
  // Finishes the task in progress and drops the others.
  ~Builder();
  Builder(const Builder&) = delete;
  Builder& operator=(const Builder&) = delete;

  struct Failures {
    uint64_t count = 0;
    std::string last;  // message of the last
  };

  // Any thread. A task that throws ends only itself, and is counted.
  void post(std::function<void()> task);
  Failures failures();
  // Waits until everything posted before has run. Not from a task.
  void drain();

 private:
  void run();

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> tasks_;  // guarded by mutex_
  bool closing_ = false;                     // guarded by mutex_
  Failures failures_;                        // guarded by mutex_
  std::thread thread_;
};

}  // namespace agentinfer
