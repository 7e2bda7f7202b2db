#pragma once
// Copies between host and devices: where each end lies is looked up, not believed.

#include <cstddef>

#include "abi/types.h"
#include "runtime/stream.h"

namespace emu {

struct CopyEnds {
  bool from_device = false, to_device = false;
  bool pageable = false;   // an ordinary host pointer on either side
  int from = -1, to = -1;  // devices
};

// Checks sizes, pointers, the stated kind against the real places, and peer access; refuses what does not
// fit.
CopyEnds check_copy(void* dst, size_t room, const void* src, size_t size, aclrtMemcpyKind kind,
                    Context& context);
void copy_now(void* dst, const void* src, size_t size, const CopyEnds& ends, int code);
void copy_async(void* dst, const void* src, size_t size, const CopyEnds& ends, Stream& stream);
void fill_async(void* dst, int value, size_t size, Stream& stream);

}  // namespace emu
