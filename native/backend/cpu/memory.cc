#include "backend/cpu/memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>

#include "tensor/check.h"

namespace agentinfer {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kWorthHugePages = size_t{4} << 20;
constexpr size_t kChunk = size_t{64} << 20;

size_t round_up(size_t bytes, size_t unit) {
  return (bytes + unit - 1) / unit * unit;
}

size_t page() {
  static const auto bytes = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return bytes;
}

// A new mapping that begins at a multiple of `alignment`. REQUIRES: both are multiples of the page.
void* map_aligned(size_t bytes, size_t alignment, std::string_view what) {
  const size_t more = alignment - page();
  void* mapped = mmap(nullptr, bytes + more, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED)
    fail(ErrorCode::kOutOfMemory, "cannot take ", bytes, " bytes of host memory for ", what);
  char* begin = static_cast<char*>(mapped);
  const auto address = reinterpret_cast<uintptr_t>(mapped);
  const size_t before = round_up(address, alignment) - address;
  if (before > 0) munmap(begin, before);
  if (more > before) munmap(begin + before + bytes, more - before);
  return begin + before;
}

}  // namespace

Memory::Memory(size_t bytes, std::string_view what) : bytes_(bytes) {
  if (bytes == 0) return;
  const size_t mapped_bytes = round_up(bytes, page());
  const bool huge = bytes >= kWorthHugePages;
  void* mapped = map_aligned(mapped_bytes, huge ? kHugePage : page(), what);
#if defined(MADV_HUGEPAGE)
  if (huge) madvise(mapped, mapped_bytes, MADV_HUGEPAGE);
#endif
  data_ = std::shared_ptr<void>(mapped, [mapped_bytes](void* data) { munmap(data, mapped_bytes); });
}

Memory Arena::take(size_t bytes, std::string_view what) {
  if (bytes >= kChunk) return Memory(bytes, what);
  if (bytes > chunk_.bytes() - used_) {
    chunk_ = Memory(kChunk, what);
    used_ = 0;
  }
  std::shared_ptr<void> piece(chunk_.data_, chunk_.as<std::byte>() + used_);
  used_ = std::min(round_up(used_ + bytes, page()), chunk_.bytes());
  return Memory(std::move(piece), bytes);
}

}  // namespace agentinfer
