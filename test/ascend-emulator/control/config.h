#pragma once
// Settings of the emulated host: environment first, then `emulator.env` beside lib64, then defaults. Read
// once, when the core library is loaded; the atomics may be changed later by the control functions.

#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

namespace emu {

constexpr uint64_t kForeverMs = 1ull << 38;  // some nine years; more would overflow nanoseconds

struct Config {
  std::string root;                 // the folder that holds lib64
  std::string version;              // of the emulated toolkit, from its version.info
  std::string driver_version;       // ASCEND_EMULATOR_DRIVER
  std::string soc;                  // ASCEND_EMULATOR_SOC
  std::vector<int> devices;         // physical ids behind user ids 0..n-1 (ASCEND_RT_VISIBLE_DEVICES applied)
  std::vector<std::string> hidden;  // symbol patterns (trailing * allowed)
  bool stub = false;                // every call answers 100039
  std::string report_path, socket_path;

  std::atomic<uint64_t> hbm_bytes{2ull << 30}, stream_limit{1984}, event_limit{65536};
  std::atomic<uint64_t> connect_ms{140000}, exec_ms{1836000}, event_wait_ms{1866000}, task_ms{1091000};
  std::atomic<uint64_t> task_delay_us{0};
  std::atomic<bool> lazy{false}, abort_on_violation{false};
};

Config& config();
std::string setting(const char* name, const std::string& fallback);
uint64_t setting(const char* name, uint64_t fallback);

// "8.1.RC1" < "8.5.0" < "9.0.0": the numbers compared one by one, a release candidate before its release.
int compare_versions(const std::string& a, const std::string& b);
// Is the symbol absent from the emulated toolkit (newer than its version, or hidden)?
bool symbol_hidden(const char* name);
// Makes dlsym blind for the hidden symbols of the library that holds `inside`. Called as each library is
// loaded.
void hide_symbols(const void* inside);

}  // namespace emu
