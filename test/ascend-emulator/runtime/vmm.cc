// Reserved ranges and physical blocks. A reservation's addresses are PROT_NONE like all device memory; its
// shadow holds the mapped blocks' bytes, so that a tensor may cross from one mapping into the next.

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

#include "control/api.h"
#include "runtime/memory.h"
#include "runtime/memory_tables.h"

namespace emu {
namespace {

constexpr int kBad = ACL_ERROR_RT_PARAM_INVALID;

Physical& physical_of(Tables& t, void* handle) {
  const auto found = t.physical.find(handle);
  require(found != t.physical.end(), ACL_ERROR_RT_INVALID_HANDLE, handle, " is not a physical memory handle");
  return found->second;
}

Reservation& reservation_of(Tables& t, uintptr_t address, size_t size) {
  auto after = t.reservations.upper_bound(address);
  require(after != t.reservations.begin(), kBad, "address outside of any reservation");
  Reservation& r = std::prev(after)->second;
  require(address + size <= r.address + r.size, kBad, "range reaches past its reservation");
  return r;
}

}  // namespace

void* reserve_range(size_t size, int) {
  require(size % kHugePage == 0, kBad, "size ", size, " is not a multiple of the granularity ", kHugePage);
  Tables& t = memory_tables();
  const std::lock_guard lock(t.mutex);
  // Over-reserve to align; the slack is never given back.
  uintptr_t address = reserve_addresses(0x160000000000, size + kHugePage);
  address = (address + kHugePage - 1) / kHugePage * kHugePage;
  void* shadow = mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (shadow == MAP_FAILED)
    decline(ACL_ERROR_RT_MEMORY_ALLOCATION, "no address range left on the emulating host");
  t.reservations[address] = {address, size, {shadow, [size](void* p) { munmap(p, size); }}, -1};
  return reinterpret_cast<void*>(address);
}

void release_range(void* pointer) {
  Tables& t = memory_tables();
  const std::lock_guard lock(t.mutex);
  const auto found = t.reservations.find(reinterpret_cast<uintptr_t>(pointer));
  require(found != t.reservations.end(), kBad, pointer, " is not the start of a reservation");
  const Reservation& r = found->second;
  for (auto it = t.blocks.lower_bound(r.address); it != t.blocks.end() && it->first < r.address + r.size;
       ++it)
    require(!it->second.live, kBad, "memory is still mapped at ", reinterpret_cast<void*>(it->first));
  t.reservations.erase(found);
}

void* make_physical(int device, size_t size) {
  require(size > 0 && size % kHugePage == 0, kBad, "size ", size, " is not a multiple of the granularity ",
          kHugePage);
  Tables& t = memory_tables();
  const std::lock_guard lock(t.mutex);
  take_device_memory(t, device, size);
  const int fd = memfd_create("ascend-emulator", MFD_CLOEXEC);
  if (fd < 0 || ftruncate(fd, static_cast<off_t>(size)) != 0) {
    if (fd >= 0) close(fd);
    t.devices[device].used -= size;
    decline(ACL_ERROR_RT_MEMORY_ALLOCATION, "the emulating host is out of memory");
  }
  auto* handle = reinterpret_cast<void*>(0x5000000000000000ull + ++t.next_id);
  t.physical[handle] = {device, size, fd, 0};
  void* at = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (at != MAP_FAILED) {
    std::memset(at, kPoison, size);
    munmap(at, size);
  }
  return handle;
}

void free_physical(void* handle) {
  Tables& t = memory_tables();
  const std::lock_guard lock(t.mutex);
  const Physical& p = physical_of(t, handle);
  require(p.mappings == 0, kBad, "physical memory is still mapped");
  close(p.fd);
  t.devices[p.device].used -= p.size;
  t.physical.erase(handle);
}

void map_physical(void* pointer, size_t size, void* handle) {
  const auto address = reinterpret_cast<uintptr_t>(pointer);
  Tables& t = memory_tables();
  const std::lock_guard lock(t.mutex);
  Physical& p = physical_of(t, handle);
  require(address % kHugePage == 0, kBad, pointer, " is not aligned to the granularity ", kHugePage);
  require(size == p.size, kBad, "size ", size, " differs from the physical block's ", p.size);
  Reservation& r = reservation_of(t, address, size);
  require(r.device < 0 || r.device == p.device, kBad, "the reservation holds memory of device ", r.device,
          ", the block is of device ", p.device);
  for (auto it = t.blocks.lower_bound(address); it != t.blocks.end() && it->first < address + size; ++it)
    require(!it->second.live, kBad, "the range is mapped already");
  char* at = static_cast<char*>(r.shadow.get()) + (address - r.address);
  if (mmap(at, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, p.fd, 0) == MAP_FAILED)
    decline(ACL_ERROR_RT_MEMORY_ALLOCATION, "the emulating host cannot map the memory");
  ++p.mappings;
  r.device = p.device;
  Block block;
  block.id = ++t.next_id;
  block.address = address;
  block.size = block.span = size;
  block.device = p.device;
  block.live = block.mapped = true;
  block.bytes = r.shadow;
  block.base = at;
  block.physical = handle;
  t.blocks[address] = block;
}

void unmap_physical(void* pointer) {
  Tables& t = memory_tables();
  const std::lock_guard lock(t.mutex);
  const auto found = t.blocks.find(reinterpret_cast<uintptr_t>(pointer));
  require(found != t.blocks.end() && found->second.mapped && found->second.live, kBad, pointer,
          " is not the start of a mapping");
  Block& block = found->second;
  // Private zero pages take the place: a task still running there must not crash the emulating process.
  mmap(block.base, block.size, PROT_READ | PROT_WRITE,
       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
  block.live = false;
  block.bytes.reset();
  --physical_of(t, block.physical).mappings;
}

void* retain_physical(void* pointer) {
  Tables& t = memory_tables();
  const std::lock_guard lock(t.mutex);
  const auto found = t.blocks.find(reinterpret_cast<uintptr_t>(pointer));
  require(found != t.blocks.end() && found->second.mapped && found->second.live, kBad, pointer,
          " is not the start of a mapping");
  return found->second.physical;
}

}  // namespace emu
