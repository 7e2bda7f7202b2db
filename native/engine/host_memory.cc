#include "engine/host_memory.h"

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <string>

namespace agentinfer {
namespace {

// "MemAvailable:   12345 kB" of /proc/meminfo, in bytes.
size_t system_available() {
  std::ifstream file("/proc/meminfo");
  std::string key;
  while (file >> key) {
    size_t kilobytes = 0;
    std::string unit;
    if (key == "MemAvailable:" && file >> kilobytes) return kilobytes * 1024;
    std::getline(file, unit);
  }
  return 0;
}

size_t number_in(const char* path) {
  std::ifstream file(path);
  size_t value = 0;
  return file >> value ? value : 0;  // "max" is no number: no limit
}

// Control group version 2. File pages in `current` can be reclaimed, so this errs on the careful side.
size_t group_available() {
  const size_t limit = number_in("/sys/fs/cgroup/memory.max");
  const size_t current = number_in("/sys/fs/cgroup/memory.current");
  return limit > current ? limit - current : 0;
}

}  // namespace

size_t available_host_memory() {
  const size_t system = system_available(), group = group_available();
  if (system == 0 || group == 0) return std::max(system, group);
  return std::min(system, group);
}

}  // namespace agentinfer
