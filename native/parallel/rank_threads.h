#pragma once
// The threads of the ranks above 0. Rank 0 is the thread that calls run(): the engine's. (ACL binds its
// context to a thread, so a rank's work is always done by the same one.)

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "parallel/rendezvous.h"

namespace agentinfer {

class RankThreads {
 public:
  // `rendezvous` has the group's size and outlives this.
  explicit RankThreads(Rendezvous& rendezvous);
  // Joins. REQUIRES no run() in progress.
  ~RankThreads();
  RankThreads(const RankThreads&) = delete;
  RankThreads& operator=(const RankThreads&) = delete;

  int size() const { return rendezvous_.size(); }

  // Runs job(rank) on every rank's thread at once, rank 0's on the caller's; returns when all have returned.
  // If one throws, the rendezvous is aborted with its error, so that the others come back too, and then that
  // first error is thrown (with "rank N: " before its message, in a group of more than one). The rendezvous
  // stays failed until it is reset. One caller at a time, always the same thread.
  void run(const std::function<void(int rank)>& job);

 private:
  void follow(int rank);
  void stop();
  void guarded(int rank, const std::function<void(int rank)>& job) noexcept;

  Rendezvous& rendezvous_;
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  const std::function<void(int rank)>* job_ = nullptr;  // guarded by mutex_, like all below
  uint64_t run_ = 0;                                    // number of the run; a follower wakes when it changes
  int running_ = 0;                                     // followers that have not returned
  bool stopping_ = false;
  std::vector<std::thread> threads_;  // [size - 1]
};

}  // namespace agentinfer
