#include "backend/cpu/thread_pool.h"

#include <exception>

#include "tensor/check.h"

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

namespace agentinfer {
namespace {

constexpr int kSpins =
    4000;  // some 40 microseconds: longer than the gaps inside a step, shorter than those between steps

void pause() {
#if defined(__SSE__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

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

}  // namespace

ThreadPool::ThreadPool(int threads) {
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

void ThreadPool::run(int tasks, Call call, const void* context) {
  const FlushDenormals flush;
  if (tasks <= 1 || threads_.empty()) {
    for (int task = 0; task < tasks; ++task) call(context, task, 0);
    return;
  }
  call_ = call;
  context_ = context;
  unfinished_.store(tasks, std::memory_order_relaxed);
  const uint32_t generation = static_cast<uint32_t>(ticket_.load(std::memory_order_relaxed) >> 32) + 1;
  ticket_.store(uint64_t{generation} << 32 | static_cast<uint32_t>(tasks), std::memory_order_release);
  epoch_.fetch_add(1, std::memory_order_release);
  epoch_.notify_all();
  while (run_one(generation, 0)) {
  }
  for (int spins = 0; unfinished_.load(std::memory_order_acquire) != 0; ++spins) {
    if (spins < kSpins)
      pause();
    else
      std::this_thread::yield();  // the last task's thread may have lost its core
  }
}

bool ThreadPool::run_one(uint32_t generation, int worker) {
  uint64_t ticket = ticket_.load(std::memory_order_acquire);
  do {
    if (static_cast<uint32_t>(ticket >> 32) != generation || static_cast<uint32_t>(ticket) == 0) return false;
  } while (!ticket_.compare_exchange_weak(ticket, ticket - 1, std::memory_order_acquire));
  call_(context_, static_cast<int>(static_cast<uint32_t>(ticket)) - 1, worker);
  unfinished_.fetch_sub(1, std::memory_order_release);
  return true;
}

void ThreadPool::work(int worker) {
  const FlushDenormals flush;
  uint32_t seen = 0;
  while (true) {
    int spins = 0;
    while (epoch_.load(std::memory_order_acquire) == seen) {
      if (++spins < kSpins)
        pause();
      else
        epoch_.wait(seen, std::memory_order_acquire);
    }
    if (stopping_.load()) return;
    seen = epoch_.load(std::memory_order_acquire);
    const uint32_t generation = static_cast<uint32_t>(ticket_.load(std::memory_order_acquire) >> 32);
    while (run_one(generation, worker)) {
    }
  }
}

}  // namespace agentinfer
