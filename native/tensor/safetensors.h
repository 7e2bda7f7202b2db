#pragma once
// The safetensors format: 8 bytes little-endian header length, a JSON header, then the tensors' bytes.
//   { "__metadata__": {string: string}, "name": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]},
//   ... }
// As strict as the format's own reader (https://github.com/huggingface/safetensors): header at most 100 MB
// and starting with
// '{', names distinct, offsets counted from the end of the header, data contiguous from 0 to the end of the
// file with neither holes nor overlaps, length equal to elements times element size. Stricter in two points:
// every tensor must begin at a multiple of its element size within the file, and a file with an element type
// outside DType is refused as a whole (kModelUnsupported, naming the tensor), since no such tensor can belong
// to a model that we run.

#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "tensor/mapped_file.h"
#include "tensor/tensor.h"

namespace agentinfer {

inline constexpr size_t kMaxSafetensorsHeader = 100'000'000;

struct SafetensorsIndex {
  std::vector<TensorView> tensors;  // in the order of their data; they borrow from the parsed bytes
  std::vector<std::pair<std::string, std::string>> metadata;
};

// Reads a whole file already in memory. `what` names it in messages. Throws kModelInvalid or
// kModelUnsupported.
SafetensorsIndex parse_safetensors(std::span<const std::byte> file, std::string_view what);

// "BF16" -> kBF16; false for a name outside DType.
bool dtype_from_name(std::string_view name, DType& dtype);

// One mapped file. Views stay valid, also across moves of this object, until it is destroyed. Reading is
// thread safe.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::filesystem::path& path);  // also throws kIo

  std::span<const TensorView> tensors() const { return index_.tensors; }
  const TensorView* find(std::string_view name) const;  // nullptr where absent
  std::span<const std::pair<std::string, std::string>> metadata() const { return index_.metadata; }
  const MappedFile& file() const { return file_; }

 private:
  MappedFile file_;
  SafetensorsIndex index_;
  std::unordered_map<std::string_view, size_t> by_name_;  // keys borrow from index_.tensors
};

}  // namespace agentinfer
