#pragma once
// The tables behind runtime/memory.h, shared by its three source files.

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <set>

namespace emu {

struct Block {
  uint64_t id = 0;
  uintptr_t address = 0;
  size_t size = 0;  // as asked for
  size_t span = 0;  // addresses taken: size rounded up, and the tail
  size_t tail = 0;  // span - size
  int device = -1;
  bool live = false;
  bool mapped = false;  // a physical block mapped into a reservation
  std::shared_ptr<void> bytes;
  char* base = nullptr;
  void* physical = nullptr;
};

struct HostBlock {
  uint64_t id = 0;
  uintptr_t address = 0;
  size_t size = 0, mapping = 0;
  bool registered = false;  // the caller's own pages
};

struct DeviceRange {
  uintptr_t begin = 0, next = 0, end = 0;
  size_t used = 0;
};

struct Physical {
  int device = -1;
  size_t size = 0;
  int fd = -1;
  int mappings = 0;
};

// A reserved address range with a shadow range of the same size in which the bytes of its mappings lie side
// by side.
struct Reservation {
  uintptr_t address = 0;
  size_t size = 0;
  std::shared_ptr<void> shadow;
  int device = -1;  // of the blocks mapped so far
};

struct Tables {
  std::mutex mutex;  // guards everything here
  std::map<uintptr_t, Block> blocks;
  std::map<uintptr_t, HostBlock> host;
  std::map<int, DeviceRange> devices;
  std::map<uintptr_t, Reservation> reservations;
  std::map<void*, Physical> physical;
  uint64_t next_id = 0;
};

Tables& memory_tables();
std::shared_ptr<void> map_bytes(size_t size);
uintptr_t reserve_addresses(uintptr_t hint, size_t size);
void take_device_memory(Tables& t, int device, size_t size);  // under the mutex

}  // namespace emu
