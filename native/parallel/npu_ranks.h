#pragma once
// Ranks on NPUs of this machine, one process: a device, a stream and an HCCL communicator for each rank's
// thread. A single NPU needs no HCCL.

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "backend/ascend/ascend_backend.h"
#include "parallel/rank_devices.h"
#include "parallel/rendezvous.h"

namespace agentinfer {

class NpuRanks final : public RankDevices {
 public:
  // `devices`: one for each rank, without duplicates. `timeout_ms` bounds every wait for a device and for
  // other ranks. The rest: AscendOptions.
  NpuRanks(std::vector<int> devices, int timeout_ms, bool graphs = true, bool nz = false);
  ~NpuRanks() override;

  int size() const override { return static_cast<int>(devices_.size()); }
  DeviceInfo info() const override { return {.name = soc_, .threads = 0}; }
  std::unique_ptr<Backend> open(int rank) override;
  // Makes the communicators, and runs each collective once: its first use builds links and blocks until all
  // ranks have come, which must not happen in a step.
  std::unique_ptr<Group> join(int rank, Backend& backend) override;
  Rendezvous& rendezvous() override { return rendezvous_; }
  // After a rank failed in a step the others' streams hold collectives that never complete.
  bool recover() override { return size() == 1; }

 private:
  const std::vector<int> devices_;
  const int timeout_ms_;
  const bool graphs_, nz_;
  Rendezvous rendezvous_;
  std::vector<acl::HcclComm> communicators_;  // written by rank 0 before a meeting, then constant
  std::string soc_;                           // written by rank 0
};

}  // namespace agentinfer
