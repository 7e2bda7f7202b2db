#include "backend/cpu/thread_pool.h"

#if defined(__linux__)
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

#include <atomic>
#include <chrono>
#include <limits>
#include <memory>
#include <thread>
#include <vector>

#include "check.h"

using namespace agentinfer;

TEST("every task runs exactly once, whatever the thread and task counts") {
  for (const int threads : {1, 2, 3, 4, 9}) {
    ThreadPool pool(threads);
    CHECK_EQ(pool.size(), threads);
    for (const int tasks : {0, 1, 2, 3, 7, 64, 1000}) {
      std::vector<int> ran(static_cast<size_t>(tasks),
                           0);  // not atomic: a second run of a task would be a data race
      std::atomic<bool> known_worker{true};
      pool.parallel_for(tasks, [&](int task, int worker) {
        ++ran[static_cast<size_t>(task)];
        if (worker < 0 || worker >= threads) known_worker = false;
      });
      for (const int count : ran) CHECK_EQ(count, 1);
      CHECK(known_worker);
    }
  }
}

TEST("runs make up all items once; none is below the least size but the last of a part") {
  for (const int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    for (const int64_t items : {0, 1, 5, 64, 1000})
      for (const int64_t least : {1, 4, 100}) {
        std::vector<int> ran(static_cast<size_t>(items), 0);
        std::atomic<int> small{0};
        pool.parallel_runs(items, least, [&](int64_t first, int64_t count, int) {
          if (count < least) small.fetch_add(1);
          for (int64_t i = first; i < first + count; ++i) ++ran[static_cast<size_t>(i)];
        });
        for (const int count : ran) CHECK_EQ(count, 1);
        CHECK(small.load() <= threads);
      }
  }
}

TEST("what a thread that is held up has not begun, the others do") {
  ThreadPool pool(3);
  std::atomic<int64_t> done{0};
  constexpr int64_t kItems = 90;
  pool.parallel_runs(kItems, 1, [&](int64_t first, int64_t count, int) {
    if (first == 0)  // half of the first part, until all else is done
      while (done.load() < kItems - count) std::this_thread::yield();
    done.fetch_add(count);
  });
  CHECK_EQ(done.load(), kItems);
}

TEST("fetching while idle reads nothing and holds nothing up, wherever it points") {
  ThreadPool pool(3);
  const std::vector<char> some(1 << 16);
  std::atomic<int> ran{0};
  for (int round = 0; round < 300; ++round) {
    for (int worker = 0; worker < 3; ++worker)
      pool.fetch_when_idle(worker, round % 2 == 0 ? some.data() : nullptr,
                           round % 3 == 0 ? int64_t{1} << 40 : 1 << 16);
    pool.parallel_for(6, [&](int, int) { ran.fetch_add(1); });
  }
  CHECK_EQ(ran.load(), 1800);
}

TEST("a worker index is held by one thread at a time, and writes are visible after the loop") {
  ThreadPool pool(4);
  std::vector<int64_t> per_worker(4, 0);
  int64_t expected = 0;
  for (int round = 0; round < 3000; ++round) {
    const int tasks = 1 + round % 11;
    pool.parallel_for(tasks, [&](int task, int worker) { per_worker[static_cast<size_t>(worker)] += task; });
    expected += int64_t{tasks} * (tasks - 1) / 2;
    int64_t total = 0;
    for (const int64_t part : per_worker) total += part;
    CHECK_EQ(total, expected);
  }
}

TEST("workers that went to sleep wake up for the next loop") {
  ThreadPool pool(3);
  std::atomic<int> ran{0};
  for (int round = 0; round < 20; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    pool.parallel_for(6, [&](int, int) { ran.fetch_add(1); });
    CHECK_EQ(ran.load(), 6 * (round + 1));
  }
}

TEST("pools are made and destroyed at any moment, several at once") {
  for (int round = 0; round < 50; ++round) {
    ThreadPool first(2);
    auto second = std::make_unique<ThreadPool>(3);
    std::atomic<int> ran{0};
    first.parallel_for(2, [&](int, int) { ran.fetch_add(1); });
    if (round % 2 == 0) second->parallel_for(5, [&](int, int) { ran.fetch_add(1); });
    second.reset();
    first.parallel_for(2, [&](int, int) { ran.fetch_add(1); });
    CHECK_EQ(ran.load(), round % 2 == 0 ? 9 : 4);
  }
}

TEST("a pool that ends right behind a loop does not wait for a thread that never hears of it") {
  for (int round = 0; round < 300; ++round) {
    ThreadPool pool(3);
    std::atomic<int> ran{0};
    pool.parallel_for(round % 4, [&](int, int) { ran.fetch_add(1); });
    CHECK_EQ(ran.load(), round % 4);
  }
}

TEST("two threads drive a pool each at the same time") {
  std::atomic<int> ran{0};
  const auto drive = [&] {
    ThreadPool pool(2);
    for (int round = 0; round < 500; ++round) pool.parallel_for(4, [&](int, int) { ran.fetch_add(1); });
  };
  std::thread other(drive);
  drive();
  other.join();
  CHECK_EQ(ran.load(), 4000);
}

TEST("denormals count as zero in every thread of a loop, and the caller's mode comes back") {
  ThreadPool pool(2);
  volatile float small = std::numeric_limits<float>::min();
  const auto half_is_zero = [&] { return small * 0.5f == 0.0f; };
  const bool before = half_is_zero();
  std::atomic<int> zeros{0};
  pool.parallel_for(8, [&](int, int) {
    zeros.fetch_add(half_is_zero() ? 1 : 0);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));  // so that both threads get some
  });
#if defined(__SSE__) || defined(__aarch64__)
  CHECK_EQ(zeros.load(), 8);
#endif
  CHECK_EQ(half_is_zero(), before);
}

#if defined(__linux__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST("a thread that cannot be started is an error, not the end of the process") {
  const pid_t child = fork();
  if (child == 0) {  // where a thread's stack does not fit
    const rlimit little{size_t{64} << 20, size_t{64} << 20};
    setrlimit(RLIMIT_AS, &little);
    // qemu-user promises the limit and does not keep it: there nothing can be shown.
    if (mmap(nullptr, size_t{1} << 30, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED) _exit(3);
    try {
      ThreadPool pool(64);
      _exit(1);
    } catch (const Error& error) {
      _exit(error.code() == ErrorCode::kOutOfMemory ? 0 : 2);
    }
  }
  int status = -1;
  CHECK_EQ(waitpid(child, &status, 0), child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 3);
}
#endif

CHECK_MAIN
