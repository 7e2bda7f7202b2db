#pragma once
// Injected faults: asked for by the functions of control.h, by ASCEND_EMULATOR_FAULTS, or over the socket.

#include <cstdint>
#include <string>

namespace emu {

// The answer to give instead of running `function`; 0 to run it.
int injected_answer(const char* function);
bool injected_alloc_failure();
int lost_code(int device);  // 0 while the device is there
// Consulted before each task: what shall happen to it.
struct TaskFate {
  int fail_code = 0;
  bool hang = false;
};
TaskFate task_fate(int device);
bool injected_collective_hang();
uint64_t unhang_generation();  // grows with emu_clear_faults: hung tasks give up waiting

// "call:aclrtMemcpyAsync:3:507899", "alloc:5", "task:0:10:507015", "lose:0:507010", "hang:0:7",
// "collective:4"; several separated by ';'. False when one cannot be read.
bool add_faults(const std::string& specification);

}  // namespace emu
