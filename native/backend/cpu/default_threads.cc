#include <algorithm>
#include <cmath>
#include <fstream>
#include <string>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#endif

#include "backend/cpu/cpu_backend.h"
#include "tensor/control_groups.h"

namespace agentinfer {
namespace {

int allowed_cores() {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return CPU_COUNT(&set);
#endif
  return static_cast<int>(std::thread::hardware_concurrency());
}

// "<microseconds> <period>" or "max <period>". A pool larger than the quota would spin it away.
int quota_cores() {
  double least = kMaxThreads;
  for (const std::filesystem::path& group : control_groups()) {
    std::ifstream file(group / "cpu.max");
    double quota = 0, period = 0;
    if (file >> quota >> period && quota > 0 && period > 0)
      least = std::min(least, std::ceil(quota / period));
  }
  return static_cast<int>(least);
}

}  // namespace

int default_threads() {
  return std::clamp(std::min(allowed_cores(), quota_cores()), 1, kMaxThreads);
}

}  // namespace agentinfer
