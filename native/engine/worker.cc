#include "engine/worker.h"

#include <chrono>
#include <utility>

namespace agentinfer {

namespace {
constexpr std::chrono::microseconds kLinger{250};
}

Worker::Worker(std::function<void()> last) : last_(std::move(last)), thread_([this] { run(); }) {}

bool Worker::submit(std::function<void()> job) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return false;
    jobs_.push_back(std::move(job));
    wanted_ = true;
  }
  wake_.notify_one();
  return true;
}

void Worker::refuse() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    wanted_ = true;
  }
  wake_.notify_one();
}

void Worker::stop() {
  refuse();
  std::call_once(joined_, [this] { thread_.join(); });
}

// The next plan comes a fraction of a millisecond after the last result: a thread that is still awake has it
// some tens of microseconds sooner. Yielding leaves the core to whoever else wants it.
void Worker::linger() const {
  const auto until = std::chrono::steady_clock::now() + kLinger;
  while (!wanted() && std::chrono::steady_clock::now() < until) std::this_thread::yield();
}

void Worker::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
    if (jobs_.empty()) break;
    std::function<void()> job = std::move(jobs_.front());
    jobs_.pop_front();
    wanted_ = stopping_ || !jobs_.empty();
    lock.unlock();
    job();
    job = nullptr;  // its captures end before the next job begins
    linger();
    lock.lock();
  }
  lock.unlock();
  if (last_) last_();
}

}  // namespace agentinfer
