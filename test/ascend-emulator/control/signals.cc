// CANN's trace library takes over the process's signal handlers when it is loaded, unless
// ASCEND_COREDUMP_SIGNAL=none. So does this one: on such a signal it restores the handler that was there
// before and raises the signal again. It also says where a host touch of device memory went.

#include <signal.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>

#include "control/config.h"

namespace emu {
namespace {

constexpr int kSignals[] = {SIGINT, SIGTERM, SIGQUIT, SIGILL,  SIGTRAP, SIGABRT, SIGBUS,
                            SIGFPE, SIGSEGV, SIGXCPU, SIGXFSZ, SIGSYS,  35};
std::array<struct sigaction, 65> g_before;

// Only what is safe in a handler: no locks, no allocation.
void say_touch(uintptr_t address) {
  const uintptr_t first = 0x120000000000, last = 0x170000000000;
  if (address < first || address >= last) return;
  char line[] = "ascend-emulator: the host touched device memory at 0x________________\n";
  char* digits = std::strchr(line, '_');
  for (int i = 0; i < 16; ++i) digits[i] = "0123456789abcdef"[address >> (60 - 4 * i) & 15];
  (void)!write(STDERR_FILENO, line, sizeof(line) - 1);
}

void on_signal(int signal, siginfo_t* info, void*) {
  if (signal == SIGSEGV) say_touch(reinterpret_cast<uintptr_t>(info->si_addr));
  sigaction(signal, &g_before[static_cast<size_t>(signal)], nullptr);
  raise(signal);
}

__attribute__((constructor)) void take_signals() {
  struct sigaction action {};
  action.sa_sigaction = on_signal;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  const bool all = setting("ASCEND_COREDUMP_SIGNAL", "") != "none";
  for (const int signal : kSignals)
    if (all || signal == SIGSEGV) sigaction(signal, &action, &g_before[static_cast<size_t>(signal)]);
}

}  // namespace
}  // namespace emu
