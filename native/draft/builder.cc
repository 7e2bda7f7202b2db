#include "draft/builder.h"

#include <exception>
#include <future>
#include <utility>

namespace agentinfer {

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
