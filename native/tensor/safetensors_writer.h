#pragma once
// Writes a safetensors file whose tensors are known beforehand, in pieces, without holding them in memory.

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "tensor/dtype.h"

namespace agentinfer {

struct TensorSpec {
  std::string name;  // valid UTF-8
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;

  uint64_t bytes() const;  // throws kInvalidArgument when negative or beyond int64
};

//   SafetensorsWriter writer(path, specs, {{"format", "pt"}});
//   writer.write(i, piece); ...      // pieces of one tensor in order; tensors in any order
//   writer.finish();                 // kInvalidArgument unless every byte of every tensor was written
// In the file, tensors are laid out by falling element size (so that each is aligned), otherwise in the order
// given. Creates or truncates `path`. Without finish(), e.g. after an exception, the file is removed. Not
// thread safe. Errors: kIo.
class SafetensorsWriter {
 public:
  SafetensorsWriter(const std::filesystem::path& path, std::vector<TensorSpec> tensors,
                    const std::vector<std::pair<std::string, std::string>>& metadata = {});
  SafetensorsWriter(const SafetensorsWriter&) = delete;
  SafetensorsWriter& operator=(const SafetensorsWriter&) = delete;
  ~SafetensorsWriter();

  const std::vector<TensorSpec>& tensors() const { return tensors_; }
  void write(size_t tensor, std::span<const std::byte> piece);
  void finish();  // also waits until the bytes are on the disk

 private:
  struct Extent {
    uint64_t begin = 0, size = 0, written = 0;  // `begin` counts from the start of the file
  };

  std::string lay_out(const std::vector<std::pair<std::string, std::string>>& metadata);
  void write_at(uint64_t offset, std::span<const std::byte> bytes);

  std::filesystem::path path_;
  std::vector<TensorSpec> tensors_;
  std::vector<Extent> extents_;  // one for each of tensors_
  int fd_ = -1;                  // -1 after finish
};

}  // namespace agentinfer
