#pragma once
// Tensor parallelism between threads of this process over CPU memory: for the CPU backend, so that TP = N
// runs and is tested everywhere. Every rank reads the others' activations in place; each sums one share of
// the elements for all of them. After a failure a slow rank may still be at it: activations are destroyed
// only when all ranks are back (RankThreads::run).

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "backend/cpu/cpu_backend.h"
#include "parallel/group.h"
#include "parallel/rank_devices.h"
#include "parallel/rendezvous.h"

namespace agentinfer {

// The state the ranks' groups share. Outlives them.
class ThreadTeam {
 public:
  ThreadTeam(int size, std::chrono::milliseconds timeout);

  Rendezvous& rendezvous() { return rendezvous_; }
  // The group of one rank, for a backend with raw().
  std::unique_ptr<Group> group(int rank);

 private:
  friend class ThreadGroup;
  struct Rows {  // what a rank brings to a collective: written before a meeting by its rank, read behind it
                 // by all
    float* data = nullptr;
    int64_t stride = 0;
  };
  Rendezvous rendezvous_;
  std::vector<Rows> rows_;
};

struct CpuRanksOptions {
  int size = 1;     // 1..64
  int threads = 0;  // of all ranks together, each at least one; 0: default_threads()
  std::string isa = {};
  std::chrono::milliseconds timeout{120000};  // for a rank to come to a collective
};

// Of `threads` (0: default_threads()) that all ranks share, those of one: at least one each, none fewer than
// the next rank's.
int threads_of_rank(int threads, int ranks, int rank);

// Ranks on this machine's CPU. Each has a backend with its share of the threads.
class CpuRanks final : public RankDevices {
 public:
  // Throws kInvalidArgument for a size out of range.
  explicit CpuRanks(const CpuRanksOptions& options);

  int size() const override { return options_.size; }
  DeviceInfo info() const override;
  std::unique_ptr<Backend> open(int rank) override;
  std::unique_ptr<Group> join(int rank, Backend& backend) override;
  Rendezvous& rendezvous() override { return team_.rendezvous(); }
  bool recover() override;

 private:
  const CpuRanksOptions options_;
  ThreadTeam team_;
  std::vector<DeviceInfo> opened_;  // [size]; each rank writes its own
};

}  // namespace agentinfer
