// Allocation, queries, virtual memory management.

#include "abi/acl_rt.h"
#include "control/api.h"
#include "graph/capture.h"
#include "runtime/context.h"
#include "runtime/memory.h"
#include "runtime/stream.h"

namespace {

using namespace emu;

constexpr int kNull = ACL_ERROR_INVALID_PARAM;
constexpr int kBad = ACL_ERROR_RT_PARAM_INVALID;

void malloc_device(void** devPtr, size_t size, aclrtMemMallocPolicy policy, size_t tail) {
  require(devPtr, kNull, "devPtr is null");
  require(size > 0, kNull, "size is 0");
  const int p = policy;
  require(p >= ACL_MEM_MALLOC_HUGE_FIRST && p <= ACL_MEM_MALLOC_HUGE1G_ONLY_P2P, kNull, "policy ", p,
          " is not one of the policies of this product");
  Context& context = current_context();
  refuse_unsafe("allocation of device memory");
  *devPtr = nullptr;
  *devPtr = allocate_device(context.device, size, tail);
}

void free_memory(void* devPtr, bool synchronise) {
  require(devPtr, kNull, "devPtr is null");
  if (synchronise) wait_streams_of(current_context(), -1);
  free_device(devPtr);
}

void require_prop(const aclrtPhysicalMemProp* prop) {
  require(prop, kNull, "prop is null");
  require(prop->handleType == ACL_MEM_HANDLE_TYPE_NONE || prop->handleType == ACL_MEM_HANDLE_TYPE_POSIX, kBad,
          "unknown handleType");
  require(prop->allocationType == ACL_MEM_ALLOCATION_TYPE_PINNED, kBad, "unknown allocationType");
  require(prop->location.type == ACL_MEM_LOCATION_TYPE_DEVICE, kBad, "only device memory is supported");
  require(prop->reserve == 0, kBad, "reserve is not zero: initialise the structure");
  device(static_cast<int>(prop->location.id));
}

}  // namespace

extern "C" {

aclError aclrtMalloc(void** devPtr, size_t size, aclrtMemMallocPolicy policy) {
  return api("aclrtMalloc", args(devPtr, size, policy), [&] { malloc_device(devPtr, size, policy, 32); });
}

aclError aclrtMallocAlign32(void** devPtr, size_t size, aclrtMemMallocPolicy policy) {
  return api("aclrtMallocAlign32", args(devPtr, size, policy),
             [&] { malloc_device(devPtr, size, policy, 0); });
}

aclError aclrtMallocWithCfg(void** devPtr, size_t size, aclrtMemMallocPolicy policy, aclrtMallocConfig* cfg) {
  return api("aclrtMallocWithCfg", args(devPtr, size, policy, cfg),
             [&] { malloc_device(devPtr, size, policy, 32); });
}

aclError aclrtFree(void* devPtr) {
  return api("aclrtFree", args(devPtr), [&] { free_memory(devPtr, false); });
}

aclError aclrtFreeWithDevSync(void* devPtr) {
  return api("aclrtFreeWithDevSync", args(devPtr), [&] { free_memory(devPtr, true); });
}

aclError aclrtMallocHost(void** hostPtr, size_t size) {
  return api("aclrtMallocHost", args(hostPtr, size), [&] {
    require(hostPtr, kNull, "hostPtr is null");
    require(size > 0, kNull, "size is 0");
    current_context();
    refuse_unsafe("allocation of page-locked memory");
    *hostPtr = nullptr;
    *hostPtr = allocate_host(size);
  });
}

aclError aclrtFreeHost(void* hostPtr) {
  return api("aclrtFreeHost", args(hostPtr), [&] {
    require(hostPtr, kNull, "hostPtr is null");
    free_host(hostPtr);
  });
}

aclError aclrtFreeHostWithDevSync(void* hostPtr) {
  return api("aclrtFreeHostWithDevSync", args(hostPtr), [&] {
    require(hostPtr, kNull, "hostPtr is null");
    wait_streams_of(current_context(), -1);
    free_host(hostPtr);
  });
}

aclError aclrtHostRegister(void* ptr, uint64_t size, aclrtHostRegisterType type, void** devPtr) {
  return api("aclrtHostRegister", args(ptr, size, type, devPtr), [&] {
    decline(ACL_ERROR_RT_FEATURE_NOT_SUPPORT,
            "mapping host pages to the device is not supported by this product");
  });
}

aclError aclrtHostRegisterV2(void* ptr, uint64_t size, uint32_t flag) {
  return api("aclrtHostRegisterV2", args(ptr, size, flag), [&] {
    require(ptr && size, kNull, "null or empty range");
    if (flag != 0x10000000u)
      decline(ACL_ERROR_RT_FEATURE_NOT_SUPPORT, "only ACL_HOST_REG_PINNED is supported");
    current_context();
    register_host(ptr, size);
  });
}

aclError aclrtHostUnregister(void* ptr) {
  return api("aclrtHostUnregister", args(ptr), [&] {
    require(ptr, kNull, "ptr is null");
    unregister_host(ptr);
  });
}

aclError aclrtPointerGetAttributes(const void* ptr, aclrtPtrAttributes* attributes) {
  return api("aclrtPointerGetAttributes", args(ptr, attributes), [&] {
    require(attributes, kNull, "attributes is null");
    const Where where = locate(ptr);
    *attributes = {};
    attributes->pageSize = 4096;
    if (where.kind == Where::kDevice && !where.freed)
      attributes->location = {static_cast<uint32_t>(where.device), ACL_MEM_LOCATION_TYPE_DEVICE};
    else
      attributes->location = {
          0, where.kind == Where::kHost ? ACL_MEM_LOCATION_TYPE_HOST : ACL_MEM_LOCATION_TYPE_UNREGISTERED};
  });
}

aclError aclrtGetMemInfo(aclrtMemAttr attr, size_t* free, size_t* total) {
  return api("aclrtGetMemInfo", args(attr, free, total), [&] {
    require(free && total, kNull, "null argument");
    Context& context = current_context();
    const int a = attr;
    const bool hbm = a == ACL_HBM_MEM || a == ACL_HBM_MEM_HUGE || a == ACL_HBM_MEM_NORMAL;
    *free = *total = 0;  // a 910B has no DDR of its own
    if (hbm) device_memory_info(context.device, free, total);
  });
}

aclError aclrtReserveMemAddress(void** virPtr, size_t size, size_t alignment, void* expectPtr,
                                uint64_t flags) {
  return api("aclrtReserveMemAddress", args(virPtr, size, alignment, expectPtr, flags), [&] {
    require(virPtr && size, kNull, "null or empty range");
    require(alignment == 0 && !expectPtr && flags <= 1, kNull,
            "alignment and expectPtr must be 0, flags 0 or 1");
    current_context();
    *virPtr = reserve_range(size, 0);
  });
}

aclError aclrtReleaseMemAddress(void* virPtr) {
  return api("aclrtReleaseMemAddress", args(virPtr), [&] {
    require(virPtr, kNull, "virPtr is null");
    release_range(virPtr);
  });
}

aclError aclrtMallocPhysical(aclrtDrvMemHandle* handle, size_t size, const aclrtPhysicalMemProp* prop,
                             uint64_t flags) {
  return api("aclrtMallocPhysical", args(handle, size, prop, flags), [&] {
    require(handle, kNull, "handle is null");
    require_prop(prop);
    require(flags == 0, kBad, "flags must be 0");
    current_context();
    refuse_unsafe("allocation of device memory");
    *handle = make_physical(static_cast<int>(prop->location.id), size);
  });
}

aclError aclrtFreePhysical(aclrtDrvMemHandle handle) {
  return api("aclrtFreePhysical", args(handle), [&] {
    require(handle, kNull, "handle is null");
    free_physical(handle);
  });
}

aclError aclrtMapMem(void* virPtr, size_t size, size_t offset, aclrtDrvMemHandle handle, uint64_t flags) {
  return api("aclrtMapMem", args(virPtr, size, offset, handle, flags), [&] {
    require(virPtr && handle, kNull, "null argument");
    require(offset == 0 && flags == 0, kBad, "offset and flags must be 0");
    current_context();
    map_physical(virPtr, size, handle);
  });
}

aclError aclrtUnmapMem(void* virPtr) {
  return api("aclrtUnmapMem", args(virPtr), [&] {
    require(virPtr, kNull, "virPtr is null");
    unmap_physical(virPtr);
  });
}

aclError aclrtMemGetAllocationGranularity(aclrtPhysicalMemProp* prop, aclrtMemGranularityOptions option,
                                          size_t* granularity) {
  return api("aclrtMemGetAllocationGranularity", args(prop, option, granularity), [&] {
    require_prop(prop);
    require(granularity, kNull, "granularity is null");
    require(
        option == ACL_RT_MEM_ALLOC_GRANULARITY_MINIMUM || option == ACL_RT_MEM_ALLOC_GRANULARITY_RECOMMENDED,
        kBad, "unknown option");
    *granularity = kHugePage;
  });
}

aclError aclrtMemSetAccess(void* virPtr, size_t size, aclrtMemAccessDesc* desc, size_t count) {
  return api("aclrtMemSetAccess", args(virPtr, size, desc, count), [&] {
    require(virPtr && size && desc && count, kNull, "null argument");
    current_context();
  });
}

aclError aclrtMemGetAccess(void* virPtr, aclrtMemLocation* location, uint64_t* flag) {
  return api("aclrtMemGetAccess", args(virPtr, location, flag), [&] {
    require(virPtr && location && flag, kNull, "null argument");
    const Where where = locate(virPtr);
    const bool own =
        where.kind == Where::kDevice && !where.freed && static_cast<int>(location->id) == where.device;
    *flag = own ? ACL_RT_MEM_ACCESS_FLAGS_READWRITE : ACL_RT_MEM_ACCESS_FLAGS_NONE;
  });
}

aclError aclrtMemRetainAllocationHandle(void* virPtr, aclrtDrvMemHandle* handle) {
  return api("aclrtMemRetainAllocationHandle", args(virPtr, handle), [&] {
    require(virPtr && handle, kNull, "null argument");
    *handle = retain_physical(virPtr);
  });
}

}  // extern "C"
