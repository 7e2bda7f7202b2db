#pragma once
// Weights from stored tensors to the device: through two pinned buffers in turn, so that reading and
// converting one part overlaps the copy of the other.

#include <memory>

#include "backend/ascend/objects.h"

namespace agentinfer {

class Uploader {
 public:
  explicit Uploader(AscendDevice& device);
  std::unique_ptr<AscendLinear> linear(const LinearSource& source);
  std::unique_ptr<AscendVector> vector(const Slice& source);
  std::unique_ptr<AscendEmbedding> embedding(const Slice& source);
  // Waits for the copies and gives the pinned buffers back; they are taken again when needed.
  void finish();

 private:
  // Room for `bytes` (at most a buffer's size) that no copy uses any more.
  std::byte* room(size_t bytes);
  // Sends what was written to the room last given.
  void send(void* to, size_t bytes);
  void rows_bf16(const Slice& slice, std::byte* to);
  void rows_int8(const Slice& slice, std::byte* to, float* scales);

  AscendDevice& device_;
  PinnedMemory buffers_[2];
  int current_ = 0;
  size_t pending_ = 0;  // copies since the last wait
};

}  // namespace agentinfer
