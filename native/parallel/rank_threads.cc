#include "parallel/rank_threads.h"

#include <exception>

#include "tensor/check.h"
#include "tensor/current_error.h"

namespace agentinfer {

RankThreads::RankThreads(Rendezvous& rendezvous) : rendezvous_(rendezvous) {
  try {
    threads_.reserve(static_cast<size_t>(size()));
    for (int rank = 1; rank < size(); ++rank) threads_.emplace_back([this, rank] { follow(rank); });
  } catch (const std::exception& error) {
    stop();
    fail(ErrorCode::kOutOfMemory, "cannot start the thread of rank ", threads_.size() + 1, ": ",
         error.what());
  }
}

RankThreads::~RankThreads() {
  stop();
}

void RankThreads::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void RankThreads::run(const std::function<void(int rank)>& job) {
  if (size() == 1) return job(0);
  rendezvous_.check();
  {
    const std::lock_guard lock(mutex_);
    job_ = &job;
    ++run_;
    running_ = size() - 1;
  }
  wake_.notify_all();
  guarded(0, job);
  std::unique_lock lock(mutex_);
  done_.wait(lock, [this] { return running_ == 0; });
  job_ = nullptr;
  rendezvous_.check();
}

void RankThreads::follow(int rank) {
  uint64_t seen = 0;
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [&] { return stopping_ || run_ != seen; });
    if (run_ == seen) return;  // stopping
    seen = run_;
    const std::function<void(int rank)>& job = *job_;
    lock.unlock();
    guarded(rank, job);
    lock.lock();
    if (--running_ == 0) done_.notify_one();
  }
}

void RankThreads::guarded(int rank, const std::function<void(int rank)>& job) noexcept {
  try {
    job(rank);
  } catch (...) {
    const Error error = current_error();
    rendezvous_.abort(rank, error.code(), error.what());
  }
}

}  // namespace agentinfer
