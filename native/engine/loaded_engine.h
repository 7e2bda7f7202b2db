#pragma once
// A model folder turned into a running engine: checks the files, plans the memory, makes devices, ranks and
// engine. Made, used and destroyed on one thread, which is rank 0's.

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "engine/device_choice.h"
#include "engine/engine.h"
#include "engine/speculator.h"
#include "model/checkpoint.h"
#include "model/config.h"
#include "model/memory_plan.h"
#include "model/ranked_decoder.h"
#include "model/weights.h"
#include "parallel/rank_devices.h"

namespace agentinfer {

struct SelfCheckResult;

// What to do when the device computes something else than the CPU (engine/self_check.h).
enum class SelfCheck : uint8_t { kOff, kWarn, kError };

struct EngineOptions {
  std::filesystem::path folder;
  std::string device = "cpu";              // 'cpu', 'auto', 'npu:0'
  bool graphs = true;                      // NPU: replay captured decode and verification steps
  bool nz = false;                         // NPU: weights in FRACTAL_NZ; refused with 'cpu'
  SelfCheck self_check = SelfCheck::kOff;  // NPU: kWarn leaves a note in device().note
  int device_timeout_ms =
      120000;       // the longest wait for an NPU, or of a rank for the others, after which it counts as lost
  int threads = 0;  // CPU backend; 0: the cores this process may use
  std::string isa;  // CPU backend; empty: the best there is
  int tensor_parallel = 1;  // ranks; on the CPU they share the threads, on NPUs there is one for each
  WeightFormat weights = WeightFormat::kBF16;
  int64_t max_context = 0;  // tokens a sequence may have; 0: the model's own, at most 8192
  int64_t kv_tokens = 0;  // tokens of KV in the pool; 0: room for four full contexts, less if memory is short
  size_t host_kv_bytes = 0;  // host tier
  int block_size = 0;        // 0: the device's own, 32 on the CPU
  bool own_memory = false;   // an NPU's, which is not the host's; the device decides
  DType kv_dtype = DType::kF16;
  int max_batch_tokens = 512;     // rows of a step
  int max_sequences = 64;         // sequences of a step
  bool speculate = false;         // draft for the sequences that ask for it
  SpeculatorOptions speculation;  // the store's fingerprint is set here
  // On the calling thread: bytes of the checkpoint read so far, and in total.
  std::function<void(size_t done, size_t total)> on_progress;
  const std::atomic<bool>* aborted = nullptr;
};

// The sizes that follow from options and config, before anything is taken. `available`: bytes of memory
// there for each rank, 0: unknown.
struct EngineSizes {
  int64_t max_context = 0;
  int blocks = 0, host_blocks = 0;
  StepShape shape;
};
EngineSizes resolve_sizes(const ModelConfig& config, const EngineOptions& options, size_t available);
MemoryPlan plan_memory(const ModelConfig& config, const EngineOptions& options, size_t available);

class LoadedEngine {
 public:
  // Throws what the loaders throw; kOutOfMemory carries the memory plan as text; kAborted when
  // *options.aborted became true.
  explicit LoadedEngine(const EngineOptions& options);

  Engine& engine() { return *engine_; }
  const ModelConfig& config() const { return config_; }
  const RankedDecoder& decoder() const { return *decoder_; }
  const DeviceChoice& device() const { return device_; }
  const DeviceInfo& chip() const { return chip_; }

 private:
  void check_device(const EngineOptions& options);
  bool checks_devices(const EngineOptions& options) const;
  void report(const SelfCheckResult& result, SelfCheck wanted);
  std::unique_ptr<Speculation> make_speculation(const EngineOptions& options);

  // Destroyed in reverse order.
  ModelConfig config_;
  DeviceChoice device_;
  DeviceInfo chip_;
  std::unique_ptr<RankDevices> devices_;
  std::unique_ptr<RankedDecoder> decoder_;
  std::unique_ptr<Engine> engine_;
};

}  // namespace agentinfer
