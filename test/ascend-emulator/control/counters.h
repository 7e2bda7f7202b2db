#pragma once
// Launch accounting. The atomics mirror EmuCounters field by field.

#include <atomic>
#include <cstdint>
#include <string>

#include "control.h"

namespace emu {

enum class Count {
  kLaunches,
  kGraphReplays,
  kGraphKernels,
  kTaskUpdates,
  kPhase1,
  kPhase2,
  kH2dCopies,
  kH2dBytes,
  kD2hCopies,
  kD2hBytes,
  kD2dCopies,
  kD2dBytes,
  kPageableCopies,
  kMemsets,
  kMemsetBytes,
  kEventRecords,
  kEventWaits,
  kStreamSyncs,
  kEventSyncs,
  kDeviceSyncs,
  kQueries,
  kCollectives,
  kCollectiveBytes,
  kDeviceAllocs,
  kDeviceFrees,
  kHostAllocs,
  kHostFrees,
  kKernelReadBytes,
  kKernelWriteBytes,
  kKernelFlops,
  kEnd
};

static_assert(sizeof(EmuCounters) == static_cast<size_t>(Count::kEnd) * sizeof(uint64_t));

void count(Count what, uint64_t amount = 1);
void count_call(const char* function);
void count_kernel(const std::string& op, uint64_t read_bytes, uint64_t written_bytes, uint64_t flops);

// JSON objects for the socket and the report at exit.
std::string counters_json();
std::string live_json();
std::string violations_json();

}  // namespace emu
