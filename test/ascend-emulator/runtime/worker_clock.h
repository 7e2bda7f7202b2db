#pragma once
// How a worker (or a host thread in a rendezvous) passes time while it polls: short at first, then easy on
// the processor.

#include <chrono>
#include <thread>

namespace emu {

inline void pause_worker(int round) {
  if (round < 16)
    std::this_thread::yield();
  else
    std::this_thread::sleep_for(std::chrono::microseconds(round < 200 ? 50 : 1000));
}

inline double now_us() {
  return static_cast<double>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                 std::chrono::steady_clock::now().time_since_epoch())
                                 .count()) /
         1000.0;
}

}  // namespace emu
