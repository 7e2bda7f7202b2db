#pragma once
// What the ranks of one engine run on: who makes each rank's backend and its group. One implementation for
// each kind of device: CpuRanks (parallel/thread_group.h) and, for NPUs, one whose groups are HCCL's. The
// layers above know only this.

#include <memory>
#include <string>

#include "backend/backend.h"
#include "parallel/group.h"
#include "parallel/rendezvous.h"

namespace agentinfer {

struct DeviceInfo {
  std::string name;  // the CPU's instruction set, or the NPU's SoC name
  int threads = 0;   // CPU threads of all ranks together; 0 for a device
};

class RankDevices {
 public:
  virtual ~RankDevices() = default;
  virtual int size() const = 0;
  virtual DeviceInfo info() const = 0;  // after every rank's open()

  // Both on the rank's own thread, which then makes every call to the backend and destroys it. All ranks call
  // them at the same time; join() may wait for the others (HcclCommInitAll needs all devices open).
  virtual std::unique_ptr<Backend> open(int rank) = 0;
  virtual std::unique_ptr<Group> join(int rank, Backend& backend) = 0;

  // Where the rank threads tell each other of failures. Backends of devices poll it (Rendezvous::failed)
  // while they wait.
  virtual Rendezvous& rendezvous() = 0;

  // After a failed step, with every rank's thread out of its job: makes the groups usable again and says so,
  // or false where the device or its communicator is lost and the engine must be opened anew. Called on rank
  // 0's thread.
  virtual bool recover() = 0;
};

}  // namespace agentinfer
