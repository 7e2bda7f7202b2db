#include "control/counters.h"

#include <array>
#include <map>
#include <mutex>
#include <sstream>
#include <unordered_map>

#include "abi/types.h"

namespace emu {
namespace {

constexpr size_t kFields = static_cast<size_t>(Count::kEnd);
constexpr const char* kNames[kFields] = {"launches",
                                         "graph_replays",
                                         "graph_kernels",
                                         "task_updates",
                                         "phase1",
                                         "phase2",
                                         "h2d_copies",
                                         "h2d_bytes",
                                         "d2h_copies",
                                         "d2h_bytes",
                                         "d2d_copies",
                                         "d2d_bytes",
                                         "pageable_copies",
                                         "memsets",
                                         "memset_bytes",
                                         "event_records",
                                         "event_waits",
                                         "stream_syncs",
                                         "event_syncs",
                                         "device_syncs",
                                         "queries",
                                         "collectives",
                                         "collective_bytes",
                                         "device_allocs",
                                         "device_frees",
                                         "host_allocs",
                                         "host_frees",
                                         "kernel_read_bytes",
                                         "kernel_write_bytes",
                                         "kernel_flops"};

struct Usage {
  uint64_t runs = 0, bytes = 0, flops = 0;
};

struct State {
  std::array<std::atomic<uint64_t>, kFields> fields{};
  std::mutex mutex;
  std::unordered_map<std::string, uint64_t> calls;  // guarded by mutex
  std::map<std::string, Usage> ops;                 // guarded by mutex
};

State& state() {
  static State* instance = new State;
  return *instance;
}

}  // namespace

void count(Count what, uint64_t amount) {
  state().fields[static_cast<size_t>(what)].fetch_add(amount, std::memory_order_relaxed);
}

void count_call(const char* function) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  ++s.calls[function];
}

void count_kernel(const std::string& op, uint64_t read_bytes, uint64_t written_bytes, uint64_t flops) {
  count(Count::kKernelReadBytes, read_bytes);
  count(Count::kKernelWriteBytes, written_bytes);
  count(Count::kKernelFlops, flops);
  State& s = state();
  const std::lock_guard lock(s.mutex);
  Usage& usage = s.ops[op];
  ++usage.runs;
  usage.bytes += read_bytes + written_bytes;
  usage.flops += flops;
}

std::string counters_json() {
  State& s = state();
  std::ostringstream out;
  out << "{";
  for (size_t i = 0; i < kFields; ++i)
    out << (i ? ", \"" : "\"") << kNames[i] << "\": " << s.fields[i].load();
  const std::lock_guard lock(s.mutex);
  out << ", \"ops\": {";
  bool first = true;
  for (const auto& [name, usage] : s.ops) {
    out << (first ? "\"" : ", \"") << name << "\": {\"runs\": " << usage.runs
        << ", \"bytes\": " << usage.bytes << ", \"flops\": " << usage.flops << "}";
    first = false;
  }
  out << "}, \"calls\": {";
  first = true;
  for (const auto& [name, calls] : std::map<std::string, uint64_t>(s.calls.begin(), s.calls.end())) {
    out << (first ? "\"" : ", \"") << name << "\": " << calls;
    first = false;
  }
  out << "}}";
  return out.str();
}

}  // namespace emu

extern "C" {

EMU_API void emu_counters(EmuCounters* out) {
  if (!out) return;
  auto* fields = reinterpret_cast<uint64_t*>(out);
  for (size_t i = 0; i < emu::kFields; ++i) fields[i] = emu::state().fields[i].load();
}

EMU_API void emu_reset_counters(void) {
  emu::State& s = emu::state();
  for (auto& field : s.fields) field = 0;
  const std::lock_guard lock(s.mutex);
  s.calls.clear();
  s.ops.clear();
}

EMU_API uint64_t emu_calls(const char* function) {
  emu::State& s = emu::state();
  const std::lock_guard lock(s.mutex);
  const auto found = s.calls.find(function ? function : "");
  return found == s.calls.end() ? 0 : found->second;
}

EMU_API void emu_op_usage(const char* op, uint64_t* runs, uint64_t* bytes, uint64_t* flops) {
  emu::State& s = emu::state();
  const std::lock_guard lock(s.mutex);
  const auto found = s.ops.find(op ? op : "");
  const emu::Usage usage = found == s.ops.end() ? emu::Usage{} : found->second;
  if (runs) *runs = usage.runs;
  if (bytes) *bytes = usage.bytes;
  if (flops) *flops = usage.flops;
}

}  // extern "C"
