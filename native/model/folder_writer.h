#pragma once
// A model folder being written: under a temporary name until it is complete. Part of quantize_folder.

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/safetensors_writer.h"

namespace agentinfer {

// The folder `target` + ".partial-<pid>"; commit() renames it to `target`, the destructor removes what was
// not committed.
class PendingFolder {
 public:
  // Throws kInvalidArgument when `target` exists, kIo when the parent does not or lacks `bytes_needed` of
  // free room.
  PendingFolder(const std::filesystem::path& target, uint64_t bytes_needed);
  PendingFolder(const PendingFolder&) = delete;
  PendingFolder& operator=(const PendingFolder&) = delete;
  ~PendingFolder();

  const std::filesystem::path& path() const { return path_; }
  void write_text(std::string_view name, std::string_view text) const;
  // Every plain file of `folder` except config.json, hidden files and weights in any format.
  void copy_side_files(const std::filesystem::path& folder) const;
  void commit();

 private:
  std::filesystem::path target_, path_;
  bool committed_ = false;
};

// Splits tensors, in order, into files of at most `max_bytes` (a larger tensor is alone in its file).
std::vector<std::vector<TensorSpec>> plan_shards(std::span<const TensorSpec> tensors, uint64_t max_bytes);

// "model.safetensors", or "model-00002-of-00003.safetensors".
std::string shard_name(size_t shard, size_t shards);

// The text of model.safetensors.index.json.
std::string shard_index_text(const std::vector<std::vector<TensorSpec>>& shards);

}  // namespace agentinfer
