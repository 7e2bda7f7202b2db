#pragma once
// Which device an engine runs on, and what follows from it for the other options.

#include <memory>
#include <string>
#include <vector>

#include "parallel/rank_devices.h"

namespace agentinfer {

struct EngineOptions;

struct DeviceChoice {
  std::string name;       // "cpu", "npu:0", "npu:0,1"
  std::vector<int> npus;  // empty: the CPU
  std::string note;       // with 'auto' and no NPU: why
};

// `wanted`: 'cpu', 'auto' (the first NPU if there is one that works, else the CPU), 'npu:0', 'npu:0,1'. Opens
// CANN unless it is 'cpu'. Throws kDevice where a wanted NPU is not there, kInvalidArgument for any other
// text.
DeviceChoice choose_device(const std::string& wanted);

// The same for a plan of a device that need not be here: 'cpu', 'auto' (the CPU), 'npu' or 'npu:0,1'. Opens
// nothing.
DeviceChoice planned_device(const std::string& wanted);

// Fills in what the device decides (block size, KV type, whose memory) and refuses what it cannot do.
EngineOptions options_for(const DeviceChoice& choice, EngineOptions options);

// What the engine's ranks run on: CPU threads, or the chosen NPUs. `options` are options_for's.
std::unique_ptr<RankDevices> make_devices(const DeviceChoice& choice, const EngineOptions& options);

// Bytes of free memory for each of `ranks`: of the device that has least, or of the host's, which the CPU's
// ranks share. 0 where it cannot be told.
size_t available_memory(const DeviceChoice& choice, int ranks);

}  // namespace agentinfer
