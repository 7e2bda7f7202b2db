#pragma once
// An array that grows by whole pages: elements never move, growing never copies, and the slack is below one
// page. Element i of a page table kept in cache costs one more load than a plain array.

#include <cstddef>
#include <memory>
#include <vector>

namespace agentinfer {

// Starts loading a cache line that will be read soon. Nothing but speed depends on it.
inline void prefetch([[maybe_unused]] const void* address) {
#if defined(__GNUC__) || defined(__clang__)
  __builtin_prefetch(address);
  // GCC takes a function that does nothing but prefetch for one without effect, and drops calls of it.
  asm volatile("");
#endif
}

// REQUIRES: T is trivially copyable. Page size: 2^kShift elements. Not thread safe.
template <typename T, int kShift>
class Pages {
 public:
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  T& operator[](size_t i) { return pages_[i >> kShift][i & kMask]; }
  const T& operator[](size_t i) const { return pages_[i >> kShift][i & kMask]; }
  const T& back() const { return (*this)[size_ - 1]; }

  void push_back(const T& value) {
    if ((size_ & kMask) == 0 && (size_ >> kShift) == pages_.size())
      pages_.push_back(std::make_unique_for_overwrite<T[]>(size_t{1} << kShift));
    (*this)[size_] = value;
    ++size_;
  }

  size_t bytes() const {
    return pages_.size() * ((sizeof(T) << kShift) + sizeof(void*)) + pages_.capacity() * sizeof(void*);
  }

 private:
  static constexpr size_t kMask = (size_t{1} << kShift) - 1;
  std::vector<std::unique_ptr<T[]>> pages_;
  size_t size_ = 0;
};

}  // namespace agentinfer
