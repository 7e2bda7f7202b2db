#pragma once
// Makes an int8 folder (W8A8: symmetric int8 weights with a scale for each output row; activations are
// quantised when used) from a 16- or 32-bit one, once, so that opening it later needs neither the larger
// files nor the work.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>

namespace agentinfer {

struct QuantizeOptions {
  int threads = 0;  // 0: one for each hardware thread
  uint64_t max_shard_bytes = uint64_t{4}
                             << 30;  // tensor data in one file; more is split over files with an index
  std::function<void(size_t done, size_t total)> on_progress;  // source bytes; called on the calling thread
  const std::atomic<bool>* aborted = nullptr;  // looked at every few megabytes; throws kAborted
};

struct QuantizeResult {
  size_t source_bytes = 0, written_bytes = 0;  // of tensors
  int matrices = 0, files = 0;
};

// Reads and checks `source`, then writes `target`:
//   every attention and MLP matrix X.weight as I8 with X.weight_scale (F32 [rows], see
//   tensor/quantize_row.h); embedding, head, norms, biases as they are; config.json with "agentinfer":
//   {"quantization": "w8a8-dynamic", "version": 1} put in front; every other plain file of the folder
//   (tokenizer, generation config, templates, licence) but weights in other formats.
// The work goes on under a temporary name beside `target`, which is renamed at the end or removed on any
// failure: `target` never holds half a model. Memory: some tens of megabytes; source pages are released as
// they are consumed. Throws kInvalidArgument (`target` exists, `source` is int8 already), kModelInvalid
// (damaged, or a weight that is not finite), kModelUnsupported, kIo (also when the disk lacks the room,
// before anything is written) or kAborted.
QuantizeResult quantize_folder(const std::filesystem::path& source, const std::filesystem::path& target,
                               const QuantizeOptions& options);

}  // namespace agentinfer
