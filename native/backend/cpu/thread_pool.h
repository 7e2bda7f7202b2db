#pragma once
// A few threads that share the tasks of one loop at a time. Tasks are handed out one by one, so a core that
// is taken away for a while delays only the task it holds. Results must not depend on who runs what.

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace agentinfer {

class ThreadPool {
 public:
  // `threads` includes the caller of parallel_for: 1 makes no thread. Throws kOutOfMemory where the system
  // starts no more.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return static_cast<int>(threads_.size()) + 1; }

  // Runs body(task, worker) for every task in [0, tasks), worker in [0, size()); returns when all are done.
  // One caller at a time. The body must not throw. Denormals count as zero inside (in every thread alike).
  template <typename Body>
  void parallel_for(int tasks, const Body& body) {
    run(
        tasks,
        [](const void* context, int task, int worker) { (*static_cast<const Body*>(context))(task, worker); },
        &body);
  }

 private:
  using Call = void (*)(const void* context, int task, int worker);
  void run(int tasks, Call call, const void* context);
  bool run_one(uint32_t generation, int worker);
  void work(int worker);
  void stop();  // joins

  // High half: generation of the loop; low half: tasks not yet handed out. A task is claimed by decrementing
  // it, which fails once the generation has moved on; call_ and context_ are read only while holding a
  // claimed task, and rewritten only when none is.
  std::atomic<uint64_t> ticket_{0};
  std::atomic<int> unfinished_{0};
  Call call_ = nullptr;
  const void* context_ = nullptr;
  std::atomic<uint32_t> epoch_{0};  // what idle workers wait on: bumped by every loop and by the destructor
  std::atomic<bool> stopping_{false};
  std::vector<std::thread> threads_;
};

}  // namespace agentinfer
