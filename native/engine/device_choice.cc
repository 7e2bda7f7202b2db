#include "engine/device_choice.h"

#include "backend/ascend/ascend_backend.h"
#include "backend/ascend/cann.h"
#include "backend/ascend/step_buffers.h"
#include "backend/cpu/cpu_backend.h"
#include "engine/host_memory.h"
#include "engine/loaded_engine.h"
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
    if (options.block_size == 0) options.block_size = 32;
    return options;
  }
  if (options.block_size == 0) options.block_size = kAscendBlock;
  if (options.block_size != kAscendBlock)
    fail(ErrorCode::kInvalidArgument, "blockSize: an NPU takes ", kAscendBlock, ", got ", options.block_size);
  if (options.kv_dtype == DType::kF32)
    fail(ErrorCode::kInvalidArgument, "kvDtype: an NPU keeps KV in 16 bits, got 'f32'");
  if (choice.npus.size() > 1)
    fail(ErrorCode::kInvalidArgument, "device: several NPUs in one engine are not supported yet, got '",
         choice.name, "'");
  options.kv_dtype = DType::kBF16;
  options.activation_bytes = 2;
  return options;
}

OpenedBackend open_backend(const DeviceChoice& choice, const EngineOptions& options) {
  OpenedBackend opened;
  if (choice.npus.empty()) {
    auto cpu = make_cpu_backend({.threads = options.threads, .isa = options.isa});
    opened.isa = cpu->isa();
    opened.threads = cpu->threads();
    opened.backend = std::move(cpu);
  } else {
    auto npu = make_ascend_backend({.device = choice.npus.front(), .timeout_ms = options.device_timeout_ms});
    opened.isa = npu->soc();
    opened.backend = std::move(npu);
  }
  return opened;
}

size_t available_memory(const DeviceChoice& choice) {
  return choice.npus.empty() ? available_host_memory() : free_device_memory(cann(), choice.npus.front());
}

}  // namespace agentinfer
