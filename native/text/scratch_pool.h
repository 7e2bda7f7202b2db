#pragma once
// Lends working memory to concurrent callers of a const object and keeps what comes back for the next. Thread
// safe.

#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace agentinfer {

template <typename T>
class ScratchPool {
 public:
  class Loan {
   public:
    Loan(ScratchPool& pool, std::unique_ptr<T> scratch) : pool_(pool), scratch_(std::move(scratch)) {}
    ~Loan() { pool_.give_back(std::move(scratch_)); }
    Loan(const Loan&) = delete;
    Loan& operator=(const Loan&) = delete;
    T& operator*() const { return *scratch_; }
    T* operator->() const { return scratch_.get(); }

   private:
    ScratchPool& pool_;
    std::unique_ptr<T> scratch_;
  };

  Loan borrow() {
    {
      const std::lock_guard lock(mutex_);
      if (!free_.empty()) {
        std::unique_ptr<T> scratch = std::move(free_.back());
        free_.pop_back();
        return Loan(*this, std::move(scratch));
      }
    }
    return Loan(*this, std::make_unique<T>());
  }

 private:
  static constexpr size_t kKept = 8;

  void give_back(std::unique_ptr<T> scratch) noexcept {
    const std::lock_guard lock(mutex_);
    if (free_.size() >= kKept) return;
    try {
      free_.push_back(std::move(scratch));
    } catch (...) {  // no room to keep it: it is freed instead
    }
  }

  std::mutex mutex_;
  std::vector<std::unique_ptr<T>> free_;  // guarded by mutex_
};

}  // namespace agentinfer
