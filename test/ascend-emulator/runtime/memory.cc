#include "runtime/memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <map>
#include <mutex>

#include "control.h"
#include "control/api.h"
#include "control/config.h"
#include "control/counters.h"
#include "control/faults.h"
#include "runtime/memory_tables.h"

namespace emu {

Tables& memory_tables() {
  static Tables* instance = new Tables;
  return *instance;
}

std::shared_ptr<void> map_bytes(size_t size) {
  void* at = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) decline(ACL_ERROR_RT_MEMORY_ALLOCATION, "the emulating host is out of memory");
  return {at, [size](void* p) { munmap(p, size); }};
}

uintptr_t reserve_addresses(uintptr_t hint, size_t size) {
  void* at = mmap(reinterpret_cast<void*>(hint), size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                  -1, 0);
  if (at == MAP_FAILED)
    decline(ACL_ERROR_RT_MEMORY_ALLOCATION, "no address range left on the emulating host");
  return reinterpret_cast<uintptr_t>(at);
}

namespace {

constexpr uintptr_t kFirstAddress = 0x120000000000;
constexpr size_t kRange = size_t{256} << 30;

DeviceRange& range_of(Tables& t, int device) {
  DeviceRange& range = t.devices[device];
  if (!range.begin) {
    range.begin = reserve_addresses(kFirstAddress + static_cast<uintptr_t>(device) * kRange, kRange);
    range.next = range.begin;
    range.end = range.begin + kRange;
  }
  return range;
}

size_t round_up(size_t value, size_t to) {
  return (value + to - 1) / to * to;
}

// The block whose address span holds `address`, live or freed; null when none ever did.
const Block* block_at(const Tables& t, uintptr_t address) {
  auto after = t.blocks.upper_bound(address);
  if (after == t.blocks.begin()) return nullptr;
  const Block& block = std::prev(after)->second;
  return address < block.address + block.span ? &block : nullptr;
}

// Mappings that follow each other in one reservation are one piece of memory.
size_t joined_size(const Tables& t, const Block& first, uintptr_t address) {
  size_t end = first.address + first.size + first.tail;
  for (const Block* block = &first; block->mapped;) {
    const auto next = t.blocks.find(end);
    if (next == t.blocks.end() || !next->second.live || !next->second.mapped) break;
    block = &next->second;
    end = block->address + block->size;
  }
  return end - address;
}

}  // namespace

void take_device_memory(Tables& t, int device, size_t size) {
  const size_t limit = config().hbm_bytes;
  const size_t system = limit / 20;
  if (t.devices[device].used + size > limit - system)
    decline(ACL_ERROR_RT_MEMORY_ALLOCATION, "out of device memory on device ", device, ": ", size,
            " bytes wanted, ", limit - system - t.devices[device].used, " of ", limit, " free");
  t.devices[device].used += size;
}

void* allocate_device(int device, size_t size, size_t tail) {
  if (injected_alloc_failure()) decline(ACL_ERROR_RT_MEMORY_ALLOCATION, "injected: out of device memory");
  const size_t usable = round_up(size, 32) + tail;
  std::shared_ptr<void> bytes = map_bytes(usable);
  std::memset(bytes.get(), kPoison, usable);
  Tables& t = memory_tables();
  const std::lock_guard lock(t.mutex);
  take_device_memory(t, device, usable);
  DeviceRange& range = range_of(t, device);
  const uintptr_t address = round_up(range.next, 128) + 64;  // 64-byte aligned and no better
  if (address + usable > range.end)
    decline(ACL_ERROR_RT_MEMORY_ALLOCATION, "address range of the device used up");
  range.next = address + usable + 4096;
  Block block;
  block.id = ++t.next_id;
  block.address = address;
  block.size = size;
  block.span = usable;
  block.tail = usable - size;
  block.device = device;
  block.live = true;
  block.bytes = bytes;
  block.base = static_cast<char*>(bytes.get());
  t.blocks[address] = block;
  count(Count::kDeviceAllocs);
  return reinterpret_cast<void*>(address);
}

void free_device(void* pointer) {
  Tables& t = memory_tables();
  const std::lock_guard lock(t.mutex);
  const auto found = t.blocks.find(reinterpret_cast<uintptr_t>(pointer));
  require(found != t.blocks.end() && !found->second.mapped, ACL_ERROR_RT_PARAM_INVALID, pointer,
          " is not the start of an allocation");
  Block& block = found->second;
  require(block.live, ACL_ERROR_RT_PARAM_INVALID, pointer, " was freed before");
  block.live = false;
  block.bytes.reset();
  t.devices[block.device].used -= block.span;
  count(Count::kDeviceFrees);
}

void free_all_of_device(int device) {
  Tables& t = memory_tables();
  const std::lock_guard lock(t.mutex);
  for (auto& [address, block] : t.blocks) {
    if (!block.live || block.device != device || block.mapped) continue;
    block.live = false;
    block.bytes.reset();
    t.devices[device].used -= block.span;
  }
}

void device_memory_info(int device, size_t* free_bytes, size_t* total_bytes) {
  Tables& t = memory_tables();
  const std::lock_guard lock(t.mutex);
  const size_t total = config().hbm_bytes;
  *total_bytes = total;
  *free_bytes = total - total / 20 - t.devices[device].used;
}

void take_system_memory(int device, size_t size) {
  Tables& t = memory_tables();
  const std::lock_guard lock(t.mutex);
  take_device_memory(t, device, size);
}

void give_system_memory(int device, size_t size) {
  Tables& t = memory_tables();
  const std::lock_guard lock(t.mutex);
  t.devices[device].used -= size;
}

MemoryLive live_memory() {
  Tables& t = memory_tables();
  const std::lock_guard lock(t.mutex);
  MemoryLive live;
  for (const auto& [address, block] : t.blocks) {
    live.device_blocks += block.live;
    live.device_bytes += block.live ? block.size : 0;
  }
  for (const auto& [address, block] : t.host) {
    live.host_blocks += !block.registered;
    live.host_bytes += block.registered ? 0 : block.size;
  }
  live.reservations = t.reservations.size();
  live.physical = t.physical.size();
  return live;
}

Where locate(const void* pointer) {
  const auto address = reinterpret_cast<uintptr_t>(pointer);
  Tables& t = memory_tables();
  const std::lock_guard lock(t.mutex);
  Where where;
  if (const Block* block = block_at(t, address)) {
    where = {Where::kDevice, !block->live, block->device, block->id, address - block->address, block->size};
    return where;
  }
  for (const auto& [device, range] : t.devices)
    if (address >= range.begin && address < range.end) return {Where::kDevice, true, device, 0, 0, 0};
  auto after = t.host.upper_bound(address);
  if (after != t.host.begin()) {
    const HostBlock& host = std::prev(after)->second;
    if (address < host.address + host.size)
      return {Where::kHost, false, -1, host.id, address - host.address, host.size};
  }
  return where;
}

std::string describe(const void* pointer) {
  const Where where = locate(pointer);
  switch (where.kind) {
    case Where::kDevice:
      if (where.block == 0) return text(pointer, " (no allocation of device ", where.device, ")");
      return text(pointer, " (device ", where.device, ", byte ", where.offset, " of a block of ", where.size,
                  where.freed ? ", freed)" : ")");
    case Where::kHost:
      return text(pointer, " (page-locked host memory, byte ", where.offset, " of ", where.size, ")");
    default:
      return text(pointer, " (ordinary host memory)");
  }
}

Bytes device_bytes(const void* pointer, size_t size, int device, int code, const char* what, bool kernel) {
  const auto address = reinterpret_cast<uintptr_t>(pointer);
  Tables& t = memory_tables();
  std::unique_lock lock(t.mutex);
  const Block* block = block_at(t, address);
  if (!block || !block->live) {
    lock.unlock();
    refuse(code, what, " lies at ", describe(pointer), ": not live device memory");
  }
  if (device >= 0 && block->device != device) {
    lock.unlock();
    refuse(code, what, " lies at ", describe(pointer), " but the work is for device ", device);
  }
  const size_t available = joined_size(t, *block, address);
  const size_t wanted = size + (kernel && rule_on("tail") ? 32 : 0);
  const size_t own = available >= block->tail && !block->mapped ? available - block->tail : available;
  if (size > own || wanted > available) {
    const size_t block_size = block->size;
    lock.unlock();
    refuse(code, what, " of ", size, " bytes at ", describe(pointer), " reaches past its block",
           size > own ? "" : " with the 32 bytes kernels may touch behind it", " (block of ", block_size,
           ")");
  }
  return {block->bytes, block->base + (address - block->address), block->id, block->device};
}

}  // namespace emu

extern "C" {

EMU_API int emu_peek(const void* device_ptr, void* out, size_t bytes) {
  try {
    std::memcpy(out, emu::device_bytes(device_ptr, bytes, -1, -1, "peek", false).at, bytes);
    return 0;
  } catch (const emu::Refusal&) {
    return -1;
  }
}

EMU_API int emu_poke(void* device_ptr, const void* in, size_t bytes) {
  try {
    std::memcpy(emu::device_bytes(device_ptr, bytes, -1, -1, "poke", false).at, in, bytes);
    return 0;
  } catch (const emu::Refusal&) {
    return -1;
  }
}

}  // extern "C"
