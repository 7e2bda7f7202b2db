#pragma once
// The tensors of a model folder: one safetensors file, or several with an index. Finds and maps files and
// resolves names; what the tensors mean is tensor_names' business.

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "tensor/safetensors.h"
#include "tensor/tensor.h"

namespace agentinfer {

// Which files are read, in this order: model.safetensors.index.json and its shards; model.safetensors; the
// only
// *.safetensors.index.json; the only *.safetensors. A model.safetensors beside an index that does not name it
// is refused, as is everything where index and shards disagree: a shard absent or outside the folder, a
// tensor in another shard, unlisted or twice.
//
// Views stay valid, also across moves, until the object is destroyed. Reading and releasing are thread safe.
class Checkpoint {
 public:
  // Throws kModelInvalid, kModelUnsupported (element types, PyTorch pickles only) or kIo.
  explicit Checkpoint(const std::filesystem::path& folder);

  // nullptr where absent. A "*.weight_scale" tensor stored as F16 or BF16 appears as F32 (exactly converted,
  // held in memory).
  const TensorView* find(std::string_view name) const;
  const std::vector<std::string>& names() const { return names_; }  // sorted

  // The tensor's pages are not needed for now; see MappedFile::release. No-op for a view that is not from a
  // mapped file.
  void release(const TensorView& tensor) const noexcept;

  std::vector<std::filesystem::path> files() const;
  size_t total_bytes() const { return total_bytes_; }  // of all tensors

 private:
  void open_index(const std::filesystem::path& folder, const std::filesystem::path& index);
  void add_file(const std::filesystem::path& path);
  void widen_scales();

  std::vector<SafetensorsFile> shards_;
  std::vector<std::string> names_;
  std::unordered_map<std::string_view, TensorView>
      tensors_;  // keys borrow from names_, which is complete before
  std::vector<std::unique_ptr<float[]>> widened_;
  size_t total_bytes_ = 0;
};

}  // namespace agentinfer
