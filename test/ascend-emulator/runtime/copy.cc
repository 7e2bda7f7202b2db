#include "runtime/copy.h"

#include <cstring>

#include "control/counters.h"
#include "graph/capture.h"
#include "runtime/memory.h"

namespace emu {
namespace {

constexpr int kNull = ACL_ERROR_INVALID_PARAM;
constexpr int kBad = ACL_ERROR_RT_PARAM_INVALID;

void count_copy(const CopyEnds& ends, size_t size) {
  if (ends.from_device && ends.to_device) {
    count(Count::kD2dCopies);
    count(Count::kD2dBytes, size);
  } else if (ends.to_device) {
    count(Count::kH2dCopies);
    count(Count::kH2dBytes, size);
  } else if (ends.from_device) {
    count(Count::kD2hCopies);
    count(Count::kD2hBytes, size);
  }
}

void check_kind(aclrtMemcpyKind kind, const CopyEnds& ends) {
  const auto says = [&](bool from, bool to, const char* name) {
    require(ends.from_device == from && ends.to_device == to, kBad, "kind ", name, " but the source is ",
            ends.from_device ? "device" : "host", " and the destination ", ends.to_device ? "device" : "host",
            " memory");
  };
  switch (kind) {
    case ACL_MEMCPY_HOST_TO_HOST:
      return says(false, false, "HOST_TO_HOST");
    case ACL_MEMCPY_HOST_TO_DEVICE:
    case ACL_MEMCPY_HOST_TO_BUF_TO_DEVICE:
      return says(false, true, "HOST_TO_DEVICE");
    case ACL_MEMCPY_DEVICE_TO_HOST:
      return says(true, false, "DEVICE_TO_HOST");
    case ACL_MEMCPY_DEVICE_TO_DEVICE:
    case ACL_MEMCPY_INNER_DEVICE_TO_DEVICE:
    case ACL_MEMCPY_INTER_DEVICE_TO_DEVICE:
      return says(true, true, "DEVICE_TO_DEVICE");
    case ACL_MEMCPY_DEFAULT:
      return;
  }
  refuse(kNull, "unknown kind ", static_cast<int>(kind));
}

void check_peers(Context& context, const CopyEnds& ends) {
  const int other = ends.from_device && ends.from != context.device ? ends.from
                    : ends.to_device && ends.to != context.device   ? ends.to
                                                                    : -1;
  if (other < 0) return;
  Device& d = device(context.device);
  const std::lock_guard lock(d.mutex);
  require(d.peers.contains(other), kBad, "a pointer of device ", other, " is used by device ", context.device,
          " without aclrtDeviceEnablePeerAccess");
}

// At the time of the copy: both ends must still be what they were.
Bytes device_end(const void* at, size_t size, int device_id, uint64_t block, int code, const char* what) {
  Bytes bytes = device_bytes(at, size, device_id, code, what, false);
  require(bytes.block == block, code, what,
          ": the memory was freed and allocated anew while the copy was queued");
  return bytes;
}

}  // namespace

CopyEnds check_copy(void* dst, size_t room, const void* src, size_t size, aclrtMemcpyKind kind,
                    Context& context) {
  require(size <= room, kBad, "count ", size, " exceeds destMax ", room);
  require(dst && src, kNull, "null pointer");
  CopyEnds ends;
  const Where from = locate(src), to = locate(dst);
  ends.from_device = from.kind == Where::kDevice;
  ends.to_device = to.kind == Where::kDevice;
  ends.from = from.device;
  ends.to = to.device;
  check_kind(kind, ends);
  if (ends.from_device) device_bytes(src, size, -1, kBad, "the source", false);
  if (ends.to_device) device_bytes(dst, size, -1, kBad, "the destination", false);
  ends.pageable = (!ends.from_device && !is_pinned(src, size)) || (!ends.to_device && !is_pinned(dst, size));
  check_peers(context, ends);
  return ends;
}

void copy_now(void* dst, const void* src, size_t size, const CopyEnds& ends, int code) {
  Bytes from, to;
  if (ends.from_device) from = device_bytes(src, size, ends.from, code, "the source", false);
  if (ends.to_device) to = device_bytes(dst, size, ends.to, code, "the destination", false);
  std::memmove(ends.to_device ? to.at : dst, ends.from_device ? from.at : src, size);
  count_copy(ends, size);
}

void copy_async(void* dst, const void* src, size_t size, const CopyEnds& ends, Stream& stream) {
  constexpr int kFault = ACL_ERROR_RT_SYS_DMA;
  const uint64_t from_block = locate(src).block, to_block = locate(dst).block;
  auto task = make_task("memcpy", TaskKind::kCopy, [=](Stream&) {
    Bytes from = ends.from_device ? device_end(src, size, ends.from, from_block, kFault, "the source")
                                  : pinned_bytes(src, size, kFault, "the source");
    Bytes to = ends.to_device ? device_end(dst, size, ends.to, to_block, kFault, "the destination")
                              : pinned_bytes(dst, size, kFault, "the destination");
    require(ends.from_device || from.block == from_block, kFault,
            "the source was freed while the copy was queued");
    require(ends.to_device || to.block == to_block, kFault,
            "the destination was freed while the copy was queued");
    std::memmove(to.at, from.at, size);
    count_copy(ends, size);
  });
  task->describe = [=] { return text("dst ", describe(dst), ", src ", describe(src), ", ", size, " bytes"); };
  submit(stream, std::move(task));
}

void fill_async(void* dst, int value, size_t size, Stream& stream) {
  const uint64_t block = device_bytes(dst, size, stream.device(), kBad, "the destination", false).block;
  auto task = make_task("memset", TaskKind::kMemset, [=](Stream& s) {
    const Bytes to = device_end(dst, size, s.device(), block, ACL_ERROR_RT_SYS_DMA, "the destination");
    std::memset(to.at, value, size);
    count(Count::kMemsets);
    count(Count::kMemsetBytes, size);
  });
  task->describe = [=] { return text("dst ", describe(dst), ", ", size, " bytes"); };
  submit(stream, std::move(task));
}

}  // namespace emu
