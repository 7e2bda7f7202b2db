#include <sys/mman.h>

#include <cstring>

#include "control/api.h"
#include "control/counters.h"
#include "control/faults.h"
#include "runtime/memory.h"
#include "runtime/memory_tables.h"

namespace emu {
namespace {

constexpr size_t kPage = 4096;

const HostBlock* host_block(const Tables& t, uintptr_t address, size_t size) {
  auto after = t.host.upper_bound(address);
  if (after == t.host.begin()) return nullptr;
  const HostBlock& block = std::prev(after)->second;
  return address + size <= block.address + block.size ? &block : nullptr;
}

}  // namespace

void* allocate_host(size_t size) {
  if (injected_alloc_failure())
    decline(ACL_ERROR_RT_MEMORY_ALLOCATION, "injected: out of page-locked memory");
  const size_t mapping = (size + kPage - 1) / kPage * kPage + kPage;  // the last page stays closed
  void* at = mmap(nullptr, mapping, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED)
    decline(ACL_ERROR_RT_MEMORY_ALLOCATION, "out of page-locked memory: ", size, " bytes");
  std::memset(at, kPoison, mapping - kPage);
  mprotect(static_cast<char*>(at) + mapping - kPage, kPage, PROT_NONE);
  Tables& t = memory_tables();
  const std::lock_guard lock(t.mutex);
  const auto address = reinterpret_cast<uintptr_t>(at);
  t.host[address] = {++t.next_id, address, size, mapping, false};
  count(Count::kHostAllocs);
  return at;
}

void free_host(void* pointer) {
  Tables& t = memory_tables();
  const std::lock_guard lock(t.mutex);
  const auto found = t.host.find(reinterpret_cast<uintptr_t>(pointer));
  require(found != t.host.end() && !found->second.registered, ACL_ERROR_RT_PARAM_INVALID, pointer,
          " is not the start of a page-locked allocation");
  munmap(pointer, found->second.mapping);
  t.host.erase(found);
  count(Count::kHostFrees);
}

void register_host(void* pointer, size_t size) {
  Tables& t = memory_tables();
  const std::lock_guard lock(t.mutex);
  const auto address = reinterpret_cast<uintptr_t>(pointer);
  require(!host_block(t, address, 1), ACL_ERROR_HOST_MEMORY_ALREADY_REGISTERED, pointer,
          " is registered already");
  t.host[address] = {++t.next_id, address, size, 0, true};
}

void unregister_host(void* pointer) {
  Tables& t = memory_tables();
  const std::lock_guard lock(t.mutex);
  const auto found = t.host.find(reinterpret_cast<uintptr_t>(pointer));
  require(found != t.host.end() && found->second.registered, ACL_ERROR_HOST_MEMORY_NOT_REGISTERED, pointer,
          " is not registered");
  t.host.erase(found);
}

bool is_pinned(const void* pointer, size_t size) {
  Tables& t = memory_tables();
  const std::lock_guard lock(t.mutex);
  return host_block(t, reinterpret_cast<uintptr_t>(pointer), size) != nullptr;
}

Bytes pinned_bytes(const void* pointer, size_t size, int code, const char* what) {
  Tables& t = memory_tables();
  {
    const std::lock_guard lock(t.mutex);
    if (const HostBlock* block = host_block(t, reinterpret_cast<uintptr_t>(pointer), size))
      return {nullptr, static_cast<char*>(const_cast<void*>(pointer)), block->id, -1};
  }
  refuse(code, what, " of ", size, " bytes lies at ", describe(pointer), ": not live page-locked memory");
}

}  // namespace emu
