#pragma once
// Device memory, page-locked host memory and virtual memory management.
//
// The address handed to the caller lies in a range of its device that is mapped PROT_NONE, so a host touch
// faults at once. The bytes live elsewhere; kernels and copies ask for them with `device_bytes`. Addresses
// are never used twice, so a freed block stays recognisable. New and freed bytes are 0xff (NaN in every float
// type, -1 in every integer).
//
// Thread safe.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace emu {

constexpr int kPoison = 0xff;
constexpr size_t kHugePage = 2u << 20;

// Bytes behind a pointer, held alive as long as this is.
struct Bytes {
  std::shared_ptr<void> keep;
  char* at = nullptr;
  uint64_t block = 0;  // identity of the allocation: differs after free + allocate
  int device = -1;     // -1: page-locked host memory
};

// What a pointer is. `offset` and `size` describe the block it lies in.
struct Where {
  enum Kind { kUnknown, kDevice, kHost } kind = kUnknown;
  bool freed = false;
  int device = -1;
  uint64_t block = 0;
  size_t offset = 0, size = 0;
};
Where locate(const void* pointer);
std::string describe(const void* pointer);

// --- device blocks. `tail` = bytes kernels may touch behind `size` (32 from aclrtMalloc, 0 from the Align32
// form).
void* allocate_device(int device, size_t size, size_t tail);
void free_device(void* pointer);
void free_all_of_device(int device);
void device_memory_info(int device, size_t* free_bytes, size_t* total_bytes);

// Memory the system itself takes (communicator buffers): counted, not addressable.
void take_system_memory(int device, size_t size);
void give_system_memory(int device, size_t size);

// The bytes [pointer, pointer + size) of live device memory; refuses with `code` when freed, foreign to
// `device` (when device >= 0), or too short. `kernel` asks for the 32 bytes behind as well, which kernels may
// touch.
Bytes device_bytes(const void* pointer, size_t size, int device, int code, const char* what, bool kernel);

// --- page-locked host memory
void* allocate_host(size_t size);
void free_host(void* pointer);
void register_host(void* pointer, size_t size);
void unregister_host(void* pointer);
bool is_pinned(const void* pointer, size_t size);
Bytes pinned_bytes(const void* pointer, size_t size, int code, const char* what);

struct MemoryLive {
  uint64_t device_blocks = 0, device_bytes = 0, host_blocks = 0, host_bytes = 0, reservations = 0,
           physical = 0;
};
MemoryLive live_memory();

// --- virtual memory management (granularity kHugePage)
void* reserve_range(size_t size, int device_hint);
void release_range(void* pointer);
void* make_physical(int device, size_t size);
void free_physical(void* handle);
void map_physical(void* pointer, size_t size, void* handle);
void unmap_physical(void* pointer);
void* retain_physical(void* pointer);

}  // namespace emu
