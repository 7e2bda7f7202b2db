#include "draft/builder.h"

#include <algorithm>
#include <exception>
#include <future>
#include <utility>

#if defined(__linux__)
#include <sys/resource.h>
#elif defined(__APPLE__)
#include <pthread.h>
#include <pthread/qos.h>
#endif

namespace agentinfer {

namespace {

// Gives way to the threads that compute steps, where cores are short, but never starves. Failure changes
// nothing but speed.
void lower_priority() {
#if defined(__linux__)
  constexpr int kNicer = 10, kNicest = 19;
  // On Linux a process id of 0 means the calling thread alone.
  setpriority(PRIO_PROCESS, 0, std::min(getpriority(PRIO_PROCESS, 0) + kNicer, kNicest));
#elif defined(__APPLE__)
  pthread_set_qos_class_self_np(QOS_CLASS_UTILITY, 0);
#endif
}

}  // namespace

Builder::Builder() : thread_([this] { run(); }) {}

Builder::~Builder() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void Builder::post(std::function<void()> task) {
  {
    const std::lock_guard lock(mutex_);
    tasks_.push_back(std::move(task));
  }
  wake_.notify_one();
}

Builder::Failures Builder::failures() {
  const std::lock_guard lock(mutex_);
  return failures_;
}

void Builder::drain() {
  std::promise<void> reached;
  post([&] { reached.set_value(); });
  reached.get_future().wait();
}

void Builder::run() {
  lower_priority();
  while (true) {
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [&] { return closing_ || !tasks_.empty(); });
    if (closing_) return;
    const std::function<void()> task = std::move(tasks_.front());
    tasks_.pop_front();
    lock.unlock();
    try {
      task();
    } catch (const std::exception& error) {
      // Drafting is an aid: what a failed task would have built stays missing, and there are no drafts from
      // it.
      lock.lock();
      ++failures_.count;
      failures_.last = error.what();
    }
  }
}

}  // namespace agentinfer
