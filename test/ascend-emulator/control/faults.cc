#include "control/faults.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <sstream>
#include <vector>

#include "abi/types.h"
#include "control.h"
#include "control/config.h"

namespace emu {
namespace {

struct CallFault {
  uint64_t left;
  int code;
  bool repeat;
};

struct TaskFault_ {
  uint64_t left;
  int code;  // 0: hang
};

struct State {
  std::mutex mutex;
  std::map<std::string, std::vector<CallFault>> calls;  // guarded by mutex, as all below
  std::map<int, std::vector<TaskFault_>> tasks;
  std::map<int, int> lost;
  std::vector<uint64_t> allocs, collectives;
  std::atomic<bool> any{false};
  std::atomic<uint64_t> generation{0};
};

State& state() {
  static State* instance = new State;
  return *instance;
}

// Counts every entry down; true when one of them reached its turn.
bool strike(std::vector<uint64_t>& counts) {
  bool hit = false;
  for (size_t i = 0; i < counts.size();) {
    if (--counts[i] == 0) {
      hit = true;
      counts.erase(counts.begin() + static_cast<ptrdiff_t>(i));
    } else {
      ++i;
    }
  }
  return hit;
}

std::vector<std::string> split(const std::string& line, char by) {
  std::vector<std::string> parts;
  std::istringstream in(line);
  for (std::string part; std::getline(in, part, by);) parts.push_back(part);
  return parts;
}

bool add_fault(const std::vector<std::string>& f) {
  const auto number = [&](size_t i) { return i < f.size() ? std::strtoull(f[i].c_str(), nullptr, 10) : 0; };
  if (f.size() >= 4 && f[0] == "call")
    emu_fail_call(f[1].c_str(), number(2), static_cast<int>(number(3)), f.size() > 4 && f[4] == "repeat");
  else if (f.size() == 2 && f[0] == "alloc")
    emu_fail_alloc(number(1));
  else if (f.size() == 4 && f[0] == "task")
    emu_fail_task(static_cast<int>(number(1)), number(2), static_cast<int>(number(3)));
  else if (f.size() == 3 && f[0] == "lose")
    emu_lose_device(static_cast<int>(number(1)), static_cast<int>(number(2)));
  else if (f.size() == 3 && f[0] == "hang")
    emu_hang_task(static_cast<int>(number(1)), number(2));
  else if (f.size() == 2 && f[0] == "collective")
    emu_hang_collective(number(1));
  else
    return false;
  return true;
}

__attribute__((constructor)) void read_environment() {
  const std::string faults = setting("ASCEND_EMULATOR_FAULTS", std::string());
  if (!add_faults(faults))
    std::fprintf(stderr, "ascend-emulator: cannot read ASCEND_EMULATOR_FAULTS=%s\n", faults.c_str());
}

}  // namespace

bool add_faults(const std::string& specification) {
  bool understood = true;
  for (const std::string& one : split(specification, ';'))
    if (!one.empty()) understood = add_fault(split(one, ':')) && understood;
  return understood;
}

int injected_answer(const char* function) {
  State& s = state();
  if (!s.any) return 0;
  const std::lock_guard lock(s.mutex);
  const auto found = s.calls.find(function);
  if (found == s.calls.end()) return 0;
  int answer = 0;
  auto& faults = found->second;
  for (size_t i = 0; i < faults.size();) {
    CallFault& fault = faults[i];
    if (fault.left > 1) {
      --fault.left;
      ++i;
      continue;
    }
    answer = fault.code;
    if (fault.repeat)
      ++i;
    else
      faults.erase(faults.begin() + static_cast<ptrdiff_t>(i));
  }
  return answer;
}

bool injected_alloc_failure() {
  State& s = state();
  if (!s.any) return false;
  const std::lock_guard lock(s.mutex);
  return strike(s.allocs);
}

bool injected_collective_hang() {
  State& s = state();
  if (!s.any) return false;
  const std::lock_guard lock(s.mutex);
  return strike(s.collectives);
}

int lost_code(int device) {
  State& s = state();
  if (!s.any) return 0;
  const std::lock_guard lock(s.mutex);
  const auto found = s.lost.find(device);
  return found == s.lost.end() ? 0 : found->second;
}

TaskFate task_fate(int device) {
  State& s = state();
  TaskFate fate;
  if (!s.any) return fate;
  const std::lock_guard lock(s.mutex);
  auto& faults = s.tasks[device];
  for (size_t i = 0; i < faults.size();) {
    if (--faults[i].left != 0) {
      ++i;
      continue;
    }
    fate.hang = fate.hang || faults[i].code == 0;
    if (faults[i].code) fate.fail_code = faults[i].code;
    faults.erase(faults.begin() + static_cast<ptrdiff_t>(i));
  }
  return fate;
}

uint64_t unhang_generation() {
  return state().generation;
}

}  // namespace emu

extern "C" {

EMU_API void emu_fail_call(const char* function, uint64_t nth, int code, int repeat) {
  emu::State& s = emu::state();
  const std::lock_guard lock(s.mutex);
  s.calls[function].push_back({nth ? nth : 1, code, repeat != 0});
  s.any = true;
}

EMU_API void emu_fail_alloc(uint64_t nth) {
  emu::State& s = emu::state();
  const std::lock_guard lock(s.mutex);
  s.allocs.push_back(nth ? nth : 1);
  s.any = true;
}

EMU_API void emu_fail_task(int device, uint64_t nth, int code) {
  emu::State& s = emu::state();
  const std::lock_guard lock(s.mutex);
  s.tasks[device].push_back({nth ? nth : 1, code});
  s.any = true;
}

EMU_API void emu_hang_task(int device, uint64_t nth) {
  emu_fail_task(device, nth, 0);
}

EMU_API void emu_lose_device(int device, int code) {
  emu::State& s = emu::state();
  const std::lock_guard lock(s.mutex);
  s.lost[device] = code;
  s.any = true;
}

EMU_API void emu_restore_device(int device) {
  emu::State& s = emu::state();
  const std::lock_guard lock(s.mutex);
  s.lost.erase(device);
}

EMU_API void emu_hang_collective(uint64_t nth) {
  emu::State& s = emu::state();
  const std::lock_guard lock(s.mutex);
  s.collectives.push_back(nth ? nth : 1);
  s.any = true;
}

EMU_API void emu_clear_faults(void) {
  emu::State& s = emu::state();
  const std::lock_guard lock(s.mutex);
  s.calls.clear();
  s.tasks.clear();
  s.lost.clear();
  s.allocs.clear();
  s.collectives.clear();
  ++s.generation;
}

}  // extern "C"
