#pragma once
// A few threads that share the items of one loop at a time. Each begins with a part of its own, the same in
// every loop of as many items, so that it finds in its caches what it left there; whoever is done helps the
// others. A core that is taken away for a while delays only the run it holds. Results must not depend on who
// runs what.

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

namespace agentinfer {

class ThreadPool {
 public:
  // `threads` includes the caller of the loops: 1 makes no thread. Throws kOutOfMemory where the system
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
    loop(tasks, 1, [&body](int64_t first, int64_t count, int worker) {
      for (int64_t task = first; task < first + count; ++task) body(static_cast<int>(task), worker);
    });
  }

  // The same for items that are cheap or better taken together: body(first, count, worker) for runs that make
  // up [0, items), items below 2^31. A run is half of what is left of a part, and not below `least` unless
  // the part ends: so the first ones are long, and the last ones short, that all threads end together.
  template <typename Body>
  void parallel_runs(int64_t items, int64_t least, const Body& body) {
    loop(items, least, body);
  }

  // Where the part of `worker` begins in a loop over `items`.
  int64_t part_begin(int worker, int64_t items) const { return items * worker / size(); }

  // Has `worker` fetch so many bytes into its own cache while it waits for work, in place of what it was to
  // fetch before. The memory need not exist.
  void fetch_when_idle(int worker, const void* data, int64_t bytes);

 private:
  using Call = void (*)(const void* context, int64_t first, int64_t count, int worker);
  struct Loop {
    Call call = nullptr;
    const void* context = nullptr;
    int64_t least = 1;
  };
  struct alignas(64) Worker {
    std::atomic<uint64_t> part{0};  // what is left of it: begin in the high half, end in the low one
    std::atomic<uint32_t> fetch_id{0};
    std::atomic<const char*> fetch{nullptr};
    std::atomic<int64_t> fetch_bytes{0};
  };
  class Fetch;

  template <typename Body>
  void loop(int64_t items, int64_t least, const Body& body) {
    run(items, {[](const void* context, int64_t first, int64_t count, int worker) {
                  (*static_cast<const Body*>(context))(first, count, worker);
                },
                &body, least});
  }
  void run(int64_t items, const Loop& loop);
  bool join(uint32_t generation, int worker);
  void take_part(int owner, int worker);
  void work(int worker);
  void wait(uint32_t seen, Fetch& fetch);
  void stop();  // joins

  // High half: generation of the loop; low half: how many more may join it. Joining decrements it, which
  // fails once the generation has moved on; loop_ and the parts are read only by those who have joined, and
  // rewritten only when all of them have left.
  std::atomic<uint64_t> ticket_{0};
  std::atomic<int> unfinished_{0};  // joined or yet to join
  Loop loop_;
  std::unique_ptr<Worker[]> workers_;
  std::atomic<uint32_t> epoch_{0};  // what idle workers wait on: bumped by every loop and by the destructor
  std::atomic<bool> stopping_{false};
  std::vector<std::thread> threads_;
};

}  // namespace agentinfer
