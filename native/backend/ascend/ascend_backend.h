#pragma once
// The backend on one Ascend NPU: bf16 activations and KV, matrices in bf16 or int8 with activations quantised
// per token, everything through AscendCL and aclnn. One rank, one thread, one device, one stream. What CANN
// lacks of the fused operators is made of others.
//
// Unlike on the CPU, a row's bits may depend on the batch: the device's matrix kernels split their sums by
// shape. Results agree within bf16's rounding.

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backend/ascend/device.h"
#include "backend/backend.h"

namespace agentinfer {

struct AscendOptions {
  int device = 0;           // as ASCEND_RT_VISIBLE_DEVICES leaves them numbered
  int timeout_ms = 120000;  // the longest wait for the device, after which it counts as lost
  bool graphs = true;       // capture decode and verify steps, replay them
};

class AscendBackend : public Backend {
 public:
  virtual AscendDevice& device() = 0;
  virtual std::string soc() const = 0;
  // Values into the first rows of an activation, rounded to bf16. Waits. For tests and the self-check.
  virtual void write_rows(Activation& x, std::span<const float> values, int rows) = 0;
};

// Throws kDevice where there is no such device; what cann() throws.
std::unique_ptr<AscendBackend> make_ascend_backend(const AscendOptions& options);

// 'npu:0' or 'npu:0,1,...': the device numbers. Throws kInvalidArgument for anything else, and for a number
// twice.
std::vector<int> npu_devices(const std::string& device);

}  // namespace agentinfer
