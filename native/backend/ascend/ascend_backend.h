#pragma once
// The backend on one Ascend NPU: bf16 activations and KV, matrices in bf16 or int8 with activations quantised
// per token, everything through AscendCL and aclnn. One rank, one thread, one device, one stream. What CANN
// lacks of the fused operators is made of others.
//
// Unlike on the CPU, a row's bits may depend on the batch: the device's matrix kernels split their sums by
// shape. Results agree within bf16's rounding.

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backend/ascend/device.h"
#include "backend/backend.h"

namespace agentinfer {

namespace acl {
struct Rows {  // bf16 values one after the other
  void* at = nullptr;
  size_t count = 0;
};
}  // namespace acl

struct AscendOptions {
  int device = 0;           // as ASCEND_RT_VISIBLE_DEVICES leaves them numbered
  int timeout_ms = 120000;  // the longest wait for the device, after which it counts as lost
  bool graphs = true;       // capture decode and verify steps, replay them
  bool nz = false;          // weights in FRACTAL_NZ where CANN multiplies by it (upload.h)
};

class AscendBackend : public Backend {
 public:
  virtual AscendDevice& device() = 0;
  virtual std::string soc() const = 0;
  // Values into the first rows of an activation, rounded to bf16. Waits. For tests and the self-check.
  virtual void write_rows(Activation& x, std::span<const float> values, int rows) = 0;

  // --- for a Group: collectives between the operators of a step ---
  // The first rows of an activation that is about to be read, or summed in place.
  virtual acl::Rows rows(Activation& x, int rows) = 0;
  // Puts work on the stream, now, and again when the step is captured and replayed.
  virtual void enqueue(std::function<void(acl::aclrtStream)> work) = 0;
  // Room for `count` values until the next call, at the same place for the same count.
  virtual void* gather_room(size_t count) = 0;
  // out[r] = [parts[0][r] | parts[1][r] | ...], parts being [ranks][rows][cols].
  virtual void interleave(const void* parts, int ranks, int rows, int64_t cols, Activation& out) = 0;
};

// Throws kDevice where there is no such device; what cann() throws.
std::unique_ptr<AscendBackend> make_ascend_backend(const AscendOptions& options);

// 'npu:0' or 'npu:0,1,...': the device numbers. Throws kInvalidArgument for anything else, and for a number
// twice.
std::vector<int> npu_devices(const std::string& device);

}  // namespace agentinfer
