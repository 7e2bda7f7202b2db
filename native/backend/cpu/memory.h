#pragma once
// Host memory for weights, KV and activations: zeroed, page aligned, in huge pages where the system allows.
// Pages that were never written cost no resident memory.

#include <cstddef>
#include <memory>
#include <string_view>

namespace agentinfer {

class Memory {
 public:
  Memory() = default;
  // Throws kOutOfMemory naming `what` and the bytes. bytes may be 0.
  Memory(size_t bytes, std::string_view what);

  template <typename T>
  T* as() const {
    return static_cast<T*>(data_.get());
  }
  size_t bytes() const { return bytes_; }

 private:
  friend class Arena;
  Memory(std::shared_ptr<void> data, size_t bytes) : data_(std::move(data)), bytes_(bytes) {}

  std::shared_ptr<void> data_;  // keeps the whole mapping
  size_t bytes_ = 0;
};

// Gives pieces that lie behind each other in huge pages. One by one, most matrices would leave the end of
// their last huge page to small ones, and matrices below its size would get none: a model read at the speed
// of memory is then several per cent slower. A mapping is given back with the last of its pieces. One thread
// at a time.
class Arena {
 public:
  // Zeroed, page aligned. Throws kOutOfMemory naming `what` and the bytes.
  Memory take(size_t bytes, std::string_view what);

 private:
  Memory chunk_;
  size_t used_ = 0;  // of chunk_
};

}  // namespace agentinfer
