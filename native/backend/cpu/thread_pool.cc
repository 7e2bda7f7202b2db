#include "backend/cpu/thread_pool.h"

#include <algorithm>
#include <chrono>
#include <exception>

#include "tensor/check.h"

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

namespace agentinfer {
namespace {

void pause() {
#if defined(__SSE__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// A wait awake: longer than the gaps inside a step, shorter than those between steps. By the clock, since one
// pause takes from 3 to 50 nanoseconds, by processor; looked at so rarely that short waits never do.
class Spin {
 public:
  // Pauses, or returns false: the wait has become a long one.
  bool pause() {
    if (long_) return false;
    agentinfer::pause();
    if (++pauses_ % kPausesALook != 0) return true;
    const auto now = std::chrono::steady_clock::now();
    if (pauses_ == kPausesALook) until_ = now + kLongest;
    long_ = now >= until_;
    return true;
  }

 private:
  static constexpr int kPausesALook = 64;
  static constexpr std::chrono::microseconds kLongest{100};
  std::chrono::steady_clock::time_point until_;
  unsigned pauses_ = 0;
  bool long_ = false;
};

// Denormal inputs and results count as zero while this lives: they cost ten times as much and mean nothing
// here.
class FlushDenormals {
 public:
#if defined(__SSE__)
  FlushDenormals() : saved_(_mm_getcsr()) {
    _mm_setcsr(saved_ | 0x8040u);
  }
  ~FlushDenormals() {
    _mm_setcsr(saved_);
  }

 private:
  unsigned saved_;
#elif defined(__aarch64__)
  FlushDenormals() {
    asm volatile("mrs %0, fpcr" : "=r"(saved_));
    asm volatile("msr fpcr, %0" ::"r"(saved_ | (uint64_t{1} << 24)));
  }
  ~FlushDenormals() {
    asm volatile("msr fpcr, %0" ::"r"(saved_));
  }

 private:
  uint64_t saved_;
#endif
};

constexpr uint64_t as_part(int64_t begin, int64_t end) {
  return static_cast<uint64_t>(begin) << 32 | static_cast<uint64_t>(end);
}

}  // namespace

// What an idle worker fetches, a little at a time.
class ThreadPool::Fetch {
 public:
  explicit Fetch(const Worker& worker) : worker_(worker) {}

  // False when there is nothing (left) to fetch.
  [[gnu::always_inline]] bool step() {
    if (const uint32_t id = worker_.fetch_id.load(std::memory_order_acquire); id != id_) {
      id_ = id;
      at_ = worker_.fetch.load(std::memory_order_relaxed);
      left_ = worker_.fetch_bytes.load(std::memory_order_relaxed);
    }
    if (left_ <= 0) return false;
    for (int line = 0; line < kLines; ++line) __builtin_prefetch(at_ + line * kLineBytes, 0, 2);
    at_ += kLines * kLineBytes;
    left_ -= kLines * kLineBytes;
    return true;
  }

 private:
  static constexpr int kLines = 4, kLineBytes = 64;
  const Worker& worker_;
  uint32_t id_ = 0;
  const char* at_ = nullptr;
  int64_t left_ = 0;
};

ThreadPool::ThreadPool(int threads) : workers_(std::make_unique<Worker[]>(static_cast<size_t>(threads))) {
  try {
    for (int worker = 1; worker < threads; ++worker) threads_.emplace_back([this, worker] { work(worker); });
  } catch (const std::exception& error) {
    stop();
    fail(ErrorCode::kOutOfMemory, "cannot start thread ", threads_.size() + 1, " of ", threads, ": ",
         error.what());
  }
}

ThreadPool::~ThreadPool() {
  stop();
}

void ThreadPool::stop() {
  stopping_ = true;
  epoch_.fetch_add(1);
  epoch_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void ThreadPool::fetch_when_idle(int worker, const void* data, int64_t bytes) {
  // A worker that sees the three change one by one fetches something else, which is as harmless.
  Worker& to = workers_[static_cast<size_t>(worker)];
  to.fetch.store(static_cast<const char*>(data), std::memory_order_relaxed);
  to.fetch_bytes.store(bytes, std::memory_order_relaxed);
  to.fetch_id.fetch_add(1, std::memory_order_release);
}

void ThreadPool::run(int64_t items, const Loop& loop) {
  const FlushDenormals flush;
  if (items <= loop.least || threads_.empty()) {
    if (items > 0) loop.call(loop.context, 0, items, 0);
    return;
  }
  loop_ = loop;
  for (int worker = 0; worker < size(); ++worker)
    workers_[static_cast<size_t>(worker)].part.store(
        as_part(part_begin(worker, items), part_begin(worker + 1, items)), std::memory_order_relaxed);
  unfinished_.store(size(), std::memory_order_relaxed);
  const uint32_t generation = static_cast<uint32_t>(ticket_.load(std::memory_order_relaxed) >> 32) + 1;
  ticket_.store(uint64_t{generation} << 32 | static_cast<uint32_t>(size()), std::memory_order_release);
  epoch_.fetch_add(1, std::memory_order_release);
  epoch_.notify_all();
  while (join(generation, 0)) {  // in the end for those who are late, and find nothing to do
  }
  for (Spin spin; unfinished_.load(std::memory_order_acquire) != 0;)
    if (!spin.pause()) std::this_thread::yield();  // the last run's thread may have lost its core
}

bool ThreadPool::join(uint32_t generation, int worker) {
  uint64_t ticket = ticket_.load(std::memory_order_acquire);
  do {
    if (static_cast<uint32_t>(ticket >> 32) != generation || static_cast<uint32_t>(ticket) == 0) return false;
  } while (!ticket_.compare_exchange_weak(ticket, ticket - 1, std::memory_order_acquire));
  for (int i = 0; i < size(); ++i) take_part((worker + i) % size(), worker);
  unfinished_.fetch_sub(1, std::memory_order_release);
  return true;
}

// Takes runs until the part is empty: its owner from the front, a helper from the back.
void ThreadPool::take_part(int owner, int worker) {
  std::atomic<uint64_t>& part = workers_[static_cast<size_t>(owner)].part;
  uint64_t left = part.load(std::memory_order_relaxed);
  while (true) {
    const auto begin = static_cast<int64_t>(left >> 32), end = static_cast<int64_t>(left & 0xffffffffu);
    if (begin == end) return;
    const int64_t count = std::min(end - begin, std::max(loop_.least, (end - begin) / 2));
    const bool front = owner == worker;
    const uint64_t after = front ? as_part(begin + count, end) : as_part(begin, end - count);
    if (!part.compare_exchange_weak(left, after, std::memory_order_relaxed)) continue;
    loop_.call(loop_.context, front ? begin : end - count, count, worker);
    left = part.load(std::memory_order_relaxed);
  }
}

void ThreadPool::wait(uint32_t seen, Fetch& fetch) {
  for (Spin spin; epoch_.load(std::memory_order_acquire) == seen;)
    if (!fetch.step() && !spin.pause()) epoch_.wait(seen, std::memory_order_acquire);
}

void ThreadPool::work(int worker) {
  const FlushDenormals flush;
  Fetch fetch(workers_[static_cast<size_t>(worker)]);
  for (uint32_t seen = 0;;) {
    wait(seen, fetch);
    // In this order: an epoch that stop() made is never waited on.
    seen = epoch_.load(std::memory_order_acquire);
    if (stopping_.load()) return;
    const uint32_t generation = static_cast<uint32_t>(ticket_.load(std::memory_order_acquire) >> 32);
    while (join(generation, worker)) {
    }
  }
}

}  // namespace agentinfer
