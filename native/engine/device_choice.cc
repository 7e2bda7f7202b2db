#include "engine/device_choice.h"

#include <algorithm>
#include <chrono>
#include <cstdint>

#include "backend/ascend/ascend_backend.h"
#include "backend/ascend/cann.h"
#include "backend/ascend/step_buffers.h"
#include "engine/host_memory.h"
#include "engine/loaded_engine.h"
#include "parallel/npu_ranks.h"
#include "parallel/thread_group.h"
#include "tensor/check.h"

namespace agentinfer {

DeviceChoice choose_device(const std::string& wanted) {
  if (wanted == "cpu") return {.name = wanted, .npus = {}, .note = {}};
  if (wanted == "auto") {
    try {
      if (device_count(cann()) > 0) return {.name = "npu:0", .npus = {0}, .note = {}};
    } catch (const Error& error) {
      return {.name = "cpu", .npus = {}, .note = error.what()};
    }
    return {.name = "cpu", .npus = {}, .note = "CANN shows no device"};
  }
  if (wanted.rfind("npu:", 0) != 0)
    fail(ErrorCode::kInvalidArgument, "device: expected 'cpu', 'auto', 'npu:0' or 'npu:0,1', got '", wanted,
         "'");
  DeviceChoice choice{.name = wanted, .npus = npu_devices(wanted), .note = {}};
  const int count = device_count(cann());
  for (const int npu : choice.npus)
    if (npu >= count)
      fail(ErrorCode::kDevice, "npu:", npu, ": this process sees ", count, " devices, numbered from 0",
           count == 0 ? "" : " (ASCEND_RT_VISIBLE_DEVICES renumbers them)");
  return choice;
}

DeviceChoice planned_device(const std::string& wanted) {
  if (wanted == "cpu" || wanted == "auto") return {.name = "cpu", .npus = {}, .note = {}};
  return {.name = wanted, .npus = wanted == "npu" ? std::vector{0} : npu_devices(wanted), .note = {}};
}

EngineOptions options_for(const DeviceChoice& choice, EngineOptions options) {
  if (choice.npus.empty()) {
    if (options.nz && options.device == "cpu")
      fail(ErrorCode::kInvalidArgument, "nz: only an NPU has weights in FRACTAL_NZ, got device 'cpu'");
    if (options.block_size == 0) options.block_size = 32;
    return options;
  }
  if (options.block_size == 0) options.block_size = kAscendBlock;
  if (options.block_size != kAscendBlock)
    fail(ErrorCode::kInvalidArgument, "blockSize: an NPU takes ", kAscendBlock, ", got ", options.block_size);
  if (options.kv_dtype == DType::kF32)
    fail(ErrorCode::kInvalidArgument, "kvDtype: an NPU keeps KV in 16 bits, got 'f32'");
  const int npus = static_cast<int>(choice.npus.size());
  if (options.tensor_parallel != 1 && options.tensor_parallel != npus)
    fail(ErrorCode::kInvalidArgument, "tensorParallel: on NPUs there is a rank for each, ", npus, " in '",
         choice.name, "', got ", options.tensor_parallel);
  options.tensor_parallel = npus;
  options.kv_dtype = DType::kBF16;
  options.own_memory = true;
  return options;
}

std::unique_ptr<RankDevices> make_devices(const DeviceChoice& choice, const EngineOptions& options) {
  if (!choice.npus.empty())
    return std::make_unique<NpuRanks>(choice.npus, options.device_timeout_ms, options.graphs, options.nz);
  return std::make_unique<CpuRanks>(
      CpuRanksOptions{.size = options.tensor_parallel,
                      .threads = options.threads,
                      .isa = options.isa,
                      .timeout = std::chrono::milliseconds(options.device_timeout_ms)});
}

size_t available_memory(const DeviceChoice& choice, int ranks) {
  if (choice.npus.empty()) {
    const size_t all = available_host_memory();
    return all == 0 ? 0 : std::max<size_t>(1, all / static_cast<size_t>(std::max(1, ranks)));
  }
  size_t least = SIZE_MAX;
  for (const int npu : choice.npus) least = std::min(least, free_device_memory(cann(), npu));
  return least;
}

}  // namespace agentinfer
