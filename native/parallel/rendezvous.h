#pragma once
// Where the rank threads of one group meet on the host: a barrier that cannot hang, and the place that
// remembers who failed first. Both the CPU's thread group and the groups of devices use one. Thread safe.

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "tensor/check.h"

namespace agentinfer {

class Rendezvous {
 public:
  // `timeout`: how long a rank waits for the others before all of them fail.
  Rendezvous(int size, std::chrono::milliseconds timeout);

  int size() const { return size_; }
  std::chrono::milliseconds timeout() const { return timeout_; }

  // What a rank is about to do, compared between the ranks: all must bring the same.
  struct Tag {
    const char* call = "barrier";  // a literal
    int64_t rows = 0, cols = 0;
    bool operator==(const Tag& other) const;
  };

  // Returns when every rank has called it, `rank` being the caller's. Everything a rank wrote before is
  // visible to all behind it. Throws kDevice when some rank failed, did not come within the timeout, or came
  // with another tag; then for every rank, and until reset().
  void meet(int rank, const Tag& tag);

  // The first caller's error becomes the group's; later ones are dropped. Wakes whoever waits. Never throws,
  // never blocks long.
  void abort(int rank, ErrorCode code, const std::string& message) noexcept;
  bool failed() const noexcept { return failed_.load(std::memory_order_acquire); }
  // Throws the group's error, if there is one, with its code and "rank N: " before its message.
  void check() const;

  // Forgets the failure. REQUIRES that no rank is in meet().
  void reset();

 private:
  // All REQUIRE the lock.
  [[noreturn]] void throw_cause() const;
  void fail_group(std::string message);
  void wait_for_others(std::unique_lock<std::mutex>& lock);
  std::string missing() const;

  const int size_;
  const std::chrono::milliseconds timeout_;
  mutable std::mutex mutex_;
  std::condition_variable all_here_;
  std::vector<bool> here_;  // guarded by mutex_, like all below
  Tag tag_;                 // of the first to come to this meeting
  int tag_rank_ = 0;
  int arrived_ = 0;
  uint64_t meeting_ = 0;  // number of the meeting, for waiters and messages
  ErrorCode cause_code_ = ErrorCode::kInternal;
  std::string cause_;
  std::atomic<bool> failed_{false};  // written under mutex_
};

}  // namespace agentinfer
