#include "backend/cpu/memory.h"

#include <sys/mman.h>

#include "tensor/check.h"

namespace agentinfer {

Memory::Memory(size_t bytes, std::string_view what) : bytes_(bytes) {
  if (bytes == 0) return;
  void* mapped = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED)
    fail(ErrorCode::kOutOfMemory, "cannot take ", bytes, " bytes of host memory for ", what);
  data_ = mapped;
#if defined(MADV_HUGEPAGE)
  constexpr size_t kWorthHugePages = size_t{4} << 20;
  if (bytes >= kWorthHugePages) madvise(mapped, bytes, MADV_HUGEPAGE);
#endif
}

Memory::~Memory() {
  if (data_ != nullptr) munmap(data_, bytes_);
}

}  // namespace agentinfer
