// Copies and fills.

#include <cstring>

#include "abi/acl_rt.h"
#include "control/api.h"
#include "control/counters.h"
#include "graph/capture.h"
#include "runtime/copy.h"
#include "runtime/memory.h"

namespace {

using namespace emu;

constexpr int kNull = ACL_ERROR_INVALID_PARAM;
constexpr int kBad = ACL_ERROR_RT_PARAM_INVALID;
constexpr size_t kMaxBatch = 4096, kMaxWidth = 5000000, kMaxHeight = 5242880;

void copy_sync(void* dst, size_t room, const void* src, size_t size, aclrtMemcpyKind kind) {
  require(kind != ACL_MEMCPY_INNER_DEVICE_TO_DEVICE && kind != ACL_MEMCPY_INTER_DEVICE_TO_DEVICE, kNull,
          "INNER and INTER kinds are for the asynchronous call");
  Context& context = current_context();
  refuse_unsafe("a synchronous copy");
  if (size == 0 || dst == src) return;
  copy_now(dst, src, size, check_copy(dst, room, src, size, kind, context), kBad);
}

void copy_on(void* dst, size_t room, const void* src, size_t size, aclrtMemcpyKind kind, aclrtStream handle) {
  Stream& stream = own_stream(handle);
  require(kind != ACL_MEMCPY_HOST_TO_HOST, ACL_ERROR_RT_FEATURE_NOT_SUPPORT,
          "host to host is not for this call");
  if (size == 0) return;
  const CopyEnds ends = check_copy(dst, room, src, size, kind, stream.context());
  require(ends.from_device || ends.to_device, ACL_ERROR_RT_FEATURE_NOT_SUPPORT, "both ends are host memory");
  if (!ends.pageable) return copy_async(dst, src, size, ends, stream);
  refuse_if_captured(stream, ACL_ERROR_RT_CAPTURE_MODE_BLOCK_ASYNC,
                     "an asynchronous copy with pageable host memory");
  count(Count::kPageableCopies);
  if (rule_on("pageable")) report("the host memory is not page-locked: the copy synchronises the stream");
  stream.wait(-1);
  check_health(stream.context());
  copy_now(dst, src, size, ends, kBad);
}

void check_2d(size_t dpitch, size_t spitch, size_t width, size_t height) {
  require(width <= dpitch && width <= spitch, kNull, "width ", width, " exceeds a pitch (", dpitch, ", ",
          spitch, ")");
  require(width <= kMaxWidth && height <= kMaxHeight, kNull, "width or height beyond the limits");
}

template <class Copy>
void copy_batch(void** dsts, size_t* destMaxs, void** srcs, size_t* sizes, size_t n, size_t* failIndex,
                Copy&& copy) {
  require(dsts && destMaxs && srcs && sizes && n, kNull, "null or empty batch");
  require(n <= kMaxBatch, kBad, n, " entries, at most ", kMaxBatch);
  for (size_t i = 0; i < n; ++i) {
    if (failIndex) *failIndex = i;
    copy(dsts[i], destMaxs[i], srcs[i], sizes[i]);
  }
  if (failIndex) *failIndex = SIZE_MAX;
}

}  // namespace

extern "C" {

aclError aclrtMemcpy(void* dst, size_t destMax, const void* src, size_t count, aclrtMemcpyKind kind) {
  return api("aclrtMemcpy", args(dst, destMax, src, count, kind),
             [&] { copy_sync(dst, destMax, src, count, kind); });
}

aclError aclrtMemcpyAsync(void* dst, size_t destMax, const void* src, size_t count, aclrtMemcpyKind kind,
                          aclrtStream stream) {
  return api("aclrtMemcpyAsync", args(dst, destMax, src, count, kind, stream),
             [&] { copy_on(dst, destMax, src, count, kind, stream); });
}

aclError aclrtMemcpyAsyncWithCondition(void* dst, size_t destMax, const void* src, size_t count,
                                       aclrtMemcpyKind kind, aclrtStream stream) {
  return api("aclrtMemcpyAsyncWithCondition", args(dst, destMax, src, count, kind, stream),
             [&] { copy_on(dst, destMax, src, count, kind, stream); });
}

aclError aclrtMemcpy2d(void* dst, size_t dpitch, const void* src, size_t spitch, size_t width, size_t height,
                       aclrtMemcpyKind kind) {
  return api("aclrtMemcpy2d", args(dst, dpitch, src, spitch, width, height, kind), [&] {
    check_2d(dpitch, spitch, width, height);
    require(kind == ACL_MEMCPY_HOST_TO_DEVICE || kind == ACL_MEMCPY_DEVICE_TO_HOST, kBad, "only H2D and D2H");
    for (size_t row = 0; row < height; ++row)
      copy_sync(static_cast<char*>(dst) + row * dpitch, width, static_cast<const char*>(src) + row * spitch,
                width, kind);
  });
}

aclError aclrtMemcpy2dAsync(void* dst, size_t dpitch, const void* src, size_t spitch, size_t width,
                            size_t height, aclrtMemcpyKind kind, aclrtStream stream) {
  return api("aclrtMemcpy2dAsync", args(dst, dpitch, src, spitch, width, height, kind, stream), [&] {
    check_2d(dpitch, spitch, width, height);
    for (size_t row = 0; row < height; ++row)
      copy_on(static_cast<char*>(dst) + row * dpitch, width, static_cast<const char*>(src) + row * spitch,
              width, kind, stream);
  });
}

aclError aclrtMemcpyBatch(void** dsts, size_t* destMaxs, void** srcs, size_t* sizes, size_t numBatches,
                          aclrtMemcpyBatchAttr* attrs, size_t* attrsIndexes, size_t numAttrs,
                          size_t* failIndex) {
  return api("aclrtMemcpyBatch", args(dsts, sizes, numBatches, attrs, attrsIndexes, numAttrs), [&] {
    copy_batch(dsts, destMaxs, srcs, sizes, numBatches, failIndex,
               [](void* dst, size_t room, void* src, size_t size) {
                 copy_sync(dst, room, src, size, ACL_MEMCPY_DEFAULT);
               });
  });
}

aclError aclrtMemcpyBatchAsync(void** dsts, size_t* destMaxs, void** srcs, size_t* sizes, size_t numBatches,
                               aclrtMemcpyBatchAttr* attrs, size_t* attrsIndexes, size_t numAttrs,
                               size_t* failIndex, aclrtStream stream) {
  return api("aclrtMemcpyBatchAsync", args(dsts, sizes, numBatches, attrs, attrsIndexes, numAttrs, stream),
             [&] {
               copy_batch(dsts, destMaxs, srcs, sizes, numBatches, failIndex,
                          [&](void* dst, size_t room, void* src, size_t size) {
                            copy_on(dst, room, src, size, ACL_MEMCPY_DEFAULT, stream);
                          });
             });
}

aclError aclrtMemset(void* devPtr, size_t maxCount, int32_t value, size_t count) {
  return api("aclrtMemset", args(devPtr, maxCount, value, count), [&] {
    require(count <= maxCount, kBad, "count ", count, " exceeds maxCount ", maxCount);
    current_context();
    refuse_unsafe("a synchronous fill");
    if (count == 0) return;
    require(devPtr, kNull, "devPtr is null");
    const bool host = locate(devPtr).kind == Where::kHost;
    const Bytes bytes = host ? pinned_bytes(devPtr, count, kBad, "the destination")
                             : device_bytes(devPtr, count, -1, kBad, "the destination", false);
    std::memset(bytes.at, value & 0xff, count);
  });
}

aclError aclrtMemsetAsync(void* devPtr, size_t maxCount, int32_t value, size_t count, aclrtStream stream) {
  return api("aclrtMemsetAsync", args(devPtr, maxCount, value, count, stream), [&] {
    require(count <= maxCount, kBad, "count ", count, " exceeds maxCount ", maxCount);
    Stream& s = own_stream(stream);
    if (count == 0) return;
    require(devPtr, kNull, "devPtr is null");
    fill_async(devPtr, value & 0xff, count, s);
  });
}

}  // extern "C"
