#pragma once
// A borrowed view of a stored tensor: row-major, contiguous, not necessarily aligned beyond its element size.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tensor/dtype.h"

namespace agentinfer {

struct TensorView {
  std::string name;  // as in the file; used in messages
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;       // outermost first; empty for a scalar
  std::span<const std::byte> data;  // borrowed from the mapped file, which must outlive the view

  int64_t elements() const {
    int64_t count = 1;
    for (int64_t extent : shape) count *= extent;
    return count;
  }
};

// "[4096, 1024]", for messages.
std::string shape_string(std::span<const int64_t> shape);

}  // namespace agentinfer
