// Allocation, copies, virtual memory, accounting.

#include "harness.h"

namespace {
constexpr size_t kBlock = 2u << 20;
}

TEST("arguments of allocation and release") {
  Bound d;
  void* at = nullptr;
  REFUSED(aclrtMalloc, ACL_ERROR_INVALID_PARAM, &at, 0, ACL_MEM_MALLOC_HUGE_FIRST);
  REFUSED(aclrtMalloc, ACL_ERROR_INVALID_PARAM, nullptr, 64, ACL_MEM_MALLOC_HUGE_FIRST);
  REFUSED(aclrtMallocHost, ACL_ERROR_INVALID_PARAM, &at, 0);
  REFUSED(aclrtFree, ACL_ERROR_INVALID_PARAM, nullptr);
  OK(ACL(aclrtMalloc)(&at, 100, ACL_MEM_MALLOC_HUGE_FIRST));
  CHECK_EQ(reinterpret_cast<uintptr_t>(at) % 64, 0);
  REFUSED(aclrtFree, ACL_ERROR_RT_PARAM_INVALID, static_cast<char*>(at) + 32);
  OK(ACL(aclrtFree)(at));
  REFUSED(aclrtFree, ACL_ERROR_RT_PARAM_INVALID, at);
  CLEAN();
}

TEST("new memory is not zero: it reads as NaN and -1") {
  Bound d;
  Buffer memory(16);
  for (const float v : memory.read<float>()) CHECK(v != v);
  for (const int32_t v : memory.read<int32_t>()) CHECK_EQ(v, -1);
  CLEAN();
}

TEST("memory is finite, counted, and given back") {
  Bound d;
  size_t before = 0, total = 0, after = 0;
  OK(ACL(aclrtGetMemInfo)(ACL_HBM_MEM, &before, &total));
  CHECK_EQ(total, size_t{2} << 30);
  {
    Buffer big(size_t{256} << 20);
    OK(ACL(aclrtGetMemInfo)(ACL_HBM_MEM, &after, &total));
    CHECK(before - after >= size_t{256} << 20);
  }
  OK(ACL(aclrtGetMemInfo)(ACL_HBM_MEM, &after, &total));
  CHECK_EQ(before, after);
  void* at = nullptr;
  CHECK_EQ(ACL(aclrtMalloc)(&at, total, ACL_MEM_MALLOC_HUGE_FIRST), ACL_ERROR_RT_MEMORY_ALLOCATION);
  const char* text = ACL(aclGetRecentErrMsg)();
  CHECK(text && std::strstr(text, "EL0004"));
  CLEAN();
}

TEST("copies check sizes, kinds and places") {
  Bound d;
  Buffer a(64), b(64);
  char host[64] = {};
  OK(ACL(aclrtMemcpy)(a.at, 64, host, 0, ACL_MEMCPY_HOST_TO_DEVICE));
  REFUSED(aclrtMemcpy, ACL_ERROR_RT_PARAM_INVALID, a.at, 32, host, 64, ACL_MEMCPY_HOST_TO_DEVICE);
  REFUSED(aclrtMemcpy, ACL_ERROR_INVALID_PARAM, a.at, 64, nullptr, 64, ACL_MEMCPY_HOST_TO_DEVICE);
  REFUSED(aclrtMemcpy, ACL_ERROR_RT_PARAM_INVALID, a.at, 64, host, 64, ACL_MEMCPY_DEVICE_TO_HOST);
  REFUSED(aclrtMemcpy, ACL_ERROR_INVALID_PARAM, a.at, 64, b.at, 64, ACL_MEMCPY_INNER_DEVICE_TO_DEVICE);
  REFUSED(aclrtMemcpy, ACL_ERROR_RT_PARAM_INVALID, a.at, 128, b.at, 128, ACL_MEMCPY_DEVICE_TO_DEVICE);
  OK(ACL(aclrtMemcpy)(a.at, 64, host, 64, ACL_MEMCPY_DEFAULT));
  OK(ACL(aclrtMemcpy)(b.at, 64, a.at, 64, ACL_MEMCPY_DEVICE_TO_DEVICE));
  REFUSED(aclrtMemset, ACL_ERROR_RT_PARAM_INVALID, a.at, 16, 0, 32);
  OK(ACL(aclrtMemset)(a.at, 64, 0x101, 64));
  CHECK_EQ(a.read<char>()[63], 1);
  OK(ACL(aclrtMemsetAsync)(a.at, 64, 2, 64, d.stream));
  d.sync();
  CHECK_EQ(a.read<char>()[0], 2);
  CLEAN();
}

TEST("pitched copies") {
  Bound d;
  Buffer wide(std::vector<char>(40, 'x'));
  const char rows[] = "abcdefgh";
  OK(ACL(aclrtMemcpy2d)(wide.at, 10, rows, 4, 4, 2, ACL_MEMCPY_HOST_TO_DEVICE));
  const auto got = wide.read<char>();
  CHECK(std::string(got.begin(), got.begin() + 15) == "abcdxxxxxxefghx");
  REFUSED(aclrtMemcpy2d, ACL_ERROR_INVALID_PARAM, wide.at, 3, rows, 4, 4, 2, ACL_MEMCPY_HOST_TO_DEVICE);
  CLEAN();
}

TEST("batched copies stop at the bad entry and at 4096") {
  Bound d;
  Buffer a(64), b(64);
  int32_t x = 1, y = 2;
  void *dsts[] = {a.at, b.at}, *srcs[] = {&x, &y};
  size_t room[] = {64, 2}, sizes[] = {4, 4}, bad = 9;
  REFUSED(aclrtMemcpyBatch, ACL_ERROR_RT_PARAM_INVALID, dsts, room, srcs, sizes, 2, nullptr, nullptr, 0,
          &bad);
  CHECK_EQ(bad, 1);
  room[1] = 64;
  OK(ACL(aclrtMemcpyBatch)(dsts, room, srcs, sizes, 2, nullptr, nullptr, 0, &bad));
  CHECK_EQ(b.read<int32_t>()[0], 2);
  REFUSED(aclrtMemcpyBatch, ACL_ERROR_RT_PARAM_INVALID, dsts, room, srcs, sizes, 4097, nullptr, nullptr, 0,
          &bad);
  CLEAN();
}

TEST("an asynchronous copy of pageable memory is carried out, counted and reported") {
  Bound d;
  Buffer a(64);
  int32_t value = 5;
  ACL(emu_reset_counters)();
  OK(ACL(aclrtMemcpyAsync)(a.at, 64, &value, 4, ACL_MEMCPY_HOST_TO_DEVICE, d.stream));
  value = 6;
  CHECK(violation(0).find("not page-locked") != std::string::npos);
  CHECK_EQ(a.read<int32_t>()[0], 5);  // it was synchronous
  EmuCounters c;
  ACL(emu_counters)(&c);
  CHECK_EQ(c.pageable_copies, 1);
  ACL(emu_clear_violations)();
  alignas(64) static char mine[4096];
  OK(ACL(aclrtHostRegisterV2)(mine, sizeof(mine), 0x10000000u));
  OK(ACL(aclrtMemcpyAsync)(a.at, 64, mine, 64, ACL_MEMCPY_HOST_TO_DEVICE, d.stream));
  d.sync();
  OK(ACL(aclrtHostUnregister)(mine));
  CLEAN();
}

TEST("device and pinned memory freed under queued work is found when the work runs") {
  for (const bool device_side : {true, false}) {
    Bound d(device_side ? 1 : 2);
    void *memory = nullptr, *pinned = nullptr;
    OK(ACL(aclrtMalloc)(&memory, 64, ACL_MEM_MALLOC_HUGE_FIRST));
    OK(ACL(aclrtMallocHost)(&pinned, 64));
    ACL(emu_hold_stream)(d.stream);
    OK(ACL(aclrtMemcpyAsync)(pinned, 64, memory, 64, ACL_MEMCPY_DEVICE_TO_HOST, d.stream));
    OK(device_side ? ACL(aclrtFree)(memory) : ACL(aclrtFreeHost)(pinned));
    ACL(emu_release_stream)(d.stream);
    CHECK_EQ(ACL(aclrtSynchronizeStream)(d.stream), ACL_ERROR_RT_SYS_DMA);
    CHECK(violation(0).find("task memcpy(") == 0);
    ACL(emu_clear_violations)();
    device_side ? ACL(aclrtFreeHost)(pinned) : ACL(aclrtFree)(memory);
  }
  CLEAN();
}

TEST("another device's memory needs peer access") {
  Bound other(1);
  Buffer theirs(64);
  OK(ACL(aclrtSetDevice)(0));
  Buffer ours(64);
  REFUSED(aclrtMemcpy, ACL_ERROR_RT_PARAM_INVALID, ours.at, 64, theirs.at, 64, ACL_MEMCPY_DEVICE_TO_DEVICE);
  OK(ACL(aclrtDeviceEnablePeerAccess)(1, 0));
  OK(ACL(aclrtDeviceEnablePeerAccess)(1, 0));
  OK(ACL(aclrtMemcpy)(ours.at, 64, theirs.at, 64, ACL_MEMCPY_DEVICE_TO_DEVICE));
  OK(ACL(aclrtDeviceDisablePeerAccess)(1));
  OK(ACL(aclrtFree)(ours.at));
  ours.at = nullptr;
  OK(ACL(aclrtResetDevice)(0));
  OK(ACL(aclrtSetDevice)(1));
  OK(ACL(aclrtResetDevice)(1));
  CLEAN();
}

TEST("pointers tell where they lie") {
  Bound d(1);
  Buffer memory(64);
  void* pinned = nullptr;
  OK(ACL(aclrtMallocHost)(&pinned, 64));
  int here = 0;
  aclrtPtrAttributes a;
  OK(ACL(aclrtPointerGetAttributes)(memory.at, &a));
  CHECK(a.location.type == ACL_MEM_LOCATION_TYPE_DEVICE && a.location.id == 1);
  OK(ACL(aclrtPointerGetAttributes)(pinned, &a));
  CHECK_EQ(a.location.type, ACL_MEM_LOCATION_TYPE_HOST);
  OK(ACL(aclrtPointerGetAttributes)(&here, &a));
  CHECK_EQ(a.location.type, ACL_MEM_LOCATION_TYPE_UNREGISTERED);
  OK(ACL(aclrtFreeHost)(pinned));
  CLEAN();
}

TEST("reserved ranges: granularity, one device, joined mappings, order of release") {
  Bound d;
  aclrtPhysicalMemProp prop{};
  prop.memAttr = ACL_HBM_MEM_HUGE;
  prop.location = {0, ACL_MEM_LOCATION_TYPE_DEVICE};
  size_t unit = 0;
  OK(ACL(aclrtMemGetAllocationGranularity)(&prop, ACL_RT_MEM_ALLOC_GRANULARITY_MINIMUM, &unit));
  CHECK_EQ(unit, kBlock);
  void* base = nullptr;
  OK(ACL(aclrtReserveMemAddress)(&base, 4 * kBlock, 0, nullptr, 1));
  aclrtDrvMemHandle h[2] = {}, odd = nullptr;
  for (auto& handle : h) OK(ACL(aclrtMallocPhysical)(&handle, kBlock, &prop, 0));
  REFUSED(aclrtMallocPhysical, ACL_ERROR_RT_PARAM_INVALID, &odd, kBlock + 1, &prop, 0);
  char* at = static_cast<char*>(base);
  REFUSED(aclrtMapMem, ACL_ERROR_RT_PARAM_INVALID, at + 64, kBlock, 0, h[0], 0);
  REFUSED(aclrtMapMem, ACL_ERROR_RT_PARAM_INVALID, at, kBlock / 2, 0, h[0], 0);
  OK(ACL(aclrtMapMem)(at, kBlock, 0, h[0], 0));
  REFUSED(aclrtMapMem, ACL_ERROR_RT_PARAM_INVALID, at, kBlock, 0, h[1], 0);
  OK(ACL(aclrtMapMem)(at + kBlock, kBlock, 0, h[1], 0));
  std::vector<char> data(kBlock, 'z');  // across the border
  OK(ACL(aclrtMemcpy)(at + kBlock / 2, kBlock, data.data(), kBlock, ACL_MEMCPY_HOST_TO_DEVICE));
  REFUSED(aclrtMemcpy, ACL_ERROR_RT_PARAM_INVALID, at + kBlock + 1, kBlock, data.data(), kBlock,
          ACL_MEMCPY_HOST_TO_DEVICE);
  aclrtPhysicalMemProp elsewhere = prop;
  elsewhere.location.id = 1;
  OK(ACL(aclrtMallocPhysical)(&odd, kBlock, &elsewhere, 0));
  REFUSED(aclrtMapMem, ACL_ERROR_RT_PARAM_INVALID, at + 2 * kBlock, kBlock, 0, odd, 0);
  REFUSED(aclrtReleaseMemAddress, ACL_ERROR_RT_PARAM_INVALID, base);
  REFUSED(aclrtFreePhysical, ACL_ERROR_RT_PARAM_INVALID, h[0]);
  OK(ACL(aclrtUnmapMem)(at));
  REFUSED(aclrtMemcpy, ACL_ERROR_RT_PARAM_INVALID, at, 64, data.data(), 64, ACL_MEMCPY_HOST_TO_DEVICE);
  OK(ACL(aclrtUnmapMem)(at + kBlock));
  for (auto handle : {h[0], h[1], odd}) OK(ACL(aclrtFreePhysical)(handle));
  OK(ACL(aclrtReleaseMemAddress)(base));
  CLEAN();
}

HARNESS_MAIN
