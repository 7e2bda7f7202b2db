// Live objects, the command language (socket, environment), and the report at exit.

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>

#include "abi/types.h"
#include "control.h"
#include "control/config.h"
#include "control/counters.h"
#include "control/faults.h"
#include "graph/capture.h"
#include "hccl/comm.h"
#include "meta/executor.h"
#include "runtime/memory.h"

namespace emu {
namespace {

EmuLive live() {
  const MemoryLive memory = live_memory();
  EmuLive l{};
  l.device_blocks = memory.device_blocks;
  l.device_bytes = memory.device_bytes;
  l.host_blocks = memory.host_blocks;
  l.host_bytes = memory.host_bytes;
  l.reservations = memory.reservations;
  l.physical_blocks = memory.physical;
  l.tensors = live_meta(Meta::kTensor);
  l.executors = live_executors();
  l.streams = live_streams();
  l.events = live_events();
  l.contexts = live_contexts();
  l.graphs = live_graphs();
  l.comms = live_comms();
  return l;
}

std::string run_command(const std::string& line) {
  std::istringstream in(line);
  std::string verb, a, b;
  in >> verb >> a >> b;
  const auto number = [](const std::string& s) { return std::strtoull(s.c_str(), nullptr, 10); };
  if (verb == "counters") return counters_json();
  if (verb == "live") return live_json();
  if (verb == "violations") return violations_json();
  if (verb == "reset")
    emu_reset_counters();
  else if (verb == "clear")
    emu_clear_violations();
  else if (verb == "fault")
    return add_faults(a) ? "{\"ok\": true}" : "{\"error\": \"cannot read the fault\"}";
  else if (verb == "unfault")
    emu_clear_faults();
  else if (verb == "restore")
    emu_restore_device(static_cast<int>(number(a)));
  else if (verb == "rule")
    return emu_set_rule(a.c_str(), number(b) != 0) ? "{\"ok\": true}" : "{\"error\": \"unknown rule\"}";
  else if (verb == "lazy")
    emu_set_lazy(number(a) != 0);
  else if (verb == "delay")
    emu_set_task_delay_us(number(a));
  else if (verb == "limit")
    return emu_set_limit(a.c_str(), number(b)) ? "{\"ok\": true}" : "{\"error\": \"unknown limit\"}";
  else if (verb == "timeouts") {
    uint64_t exec = number(b), wait = 0, task = 0;
    in >> wait >> task;
    emu_set_timeouts_ms(number(a), exec, wait, task);
  } else
    return "{\"error\": \"unknown command\"}";
  return "{\"ok\": true}";
}

void write_report() {
  const std::string& path = config().report_path;
  if (path.empty()) return;
  std::ofstream(path) << "{\"counters\": " << counters_json() << ", \"live\": " << live_json()
                      << ", \"violations\": " << violations_json() << "}\n";
}

__attribute__((constructor)) void report_at_exit() {
  if (!config().report_path.empty()) std::atexit(write_report);
}

}  // namespace

std::string live_json() {
  const EmuLive l = live();
  std::ostringstream out;
  out << "{\"device_blocks\": " << l.device_blocks << ", \"device_bytes\": " << l.device_bytes
      << ", \"host_blocks\": " << l.host_blocks << ", \"host_bytes\": " << l.host_bytes
      << ", \"tensors\": " << l.tensors << ", \"executors\": " << l.executors
      << ", \"streams\": " << l.streams << ", \"events\": " << l.events << ", \"contexts\": " << l.contexts
      << ", \"graphs\": " << l.graphs << ", \"comms\": " << l.comms
      << ", \"reservations\": " << l.reservations << ", \"physical_blocks\": " << l.physical_blocks << "}";
  return out.str();
}

}  // namespace emu

extern "C" {

EMU_API void emu_live(EmuLive* out) {
  if (out) *out = emu::live();
}

EMU_API size_t emu_command(const char* line, char* answer, size_t size) {
  const std::string text = emu::run_command(line ? line : "");
  if (answer && size) {
    const size_t n = std::min(size - 1, text.size());
    std::memcpy(answer, text.data(), n);
    answer[n] = 0;
  }
  return text.size();
}

}  // extern "C"
