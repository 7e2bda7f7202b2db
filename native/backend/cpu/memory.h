#pragma once
// Host memory for weights, KV and activations: zeroed, page aligned, in huge pages where the system allows.
// Pages that were never written cost no resident memory.

#include <cstddef>
#include <string_view>
#include <utility>

namespace agentinfer {

class Memory {
 public:
  Memory() = default;
  // Throws kOutOfMemory naming `what` and the bytes. bytes may be 0.
  Memory(size_t bytes, std::string_view what);
  Memory(Memory&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  Memory& operator=(Memory&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~Memory();

  template <typename T>
  T* as() const {
    return static_cast<T*>(data_);
  }
  size_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace agentinfer
