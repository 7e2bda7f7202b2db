#pragma once
// The emulator behind the Ascend backend, as its tests steer and question it: control functions found in the
// libraries that the backend has opened (ASCEND_HOME_PATH points at them), faults that end with the test, and
// violations of CANN's rules.

#include <dlfcn.h>

#include <cstdlib>
#include <string>

#include "check.h"
#include "control.h"

namespace emulator {

inline std::string installation() {
  const char* home = std::getenv("ASCEND_HOME_PATH");
  if (home == nullptr) {
    std::fprintf(stderr, "set ASCEND_HOME_PATH to an emulated toolkit (ctest does)\n");
    std::exit(1);
  }
  return home;
}

template <typename F>
F* function(const char* name) {
  static void* const handle =
      dlopen((installation() + "/lib64/libascendcl.so").c_str(), RTLD_LAZY | RTLD_LOCAL);
  if (handle == nullptr) {
    std::fprintf(stderr, "the emulator does not load: %s\n", dlerror());
    std::exit(1);
  }
  return reinterpret_cast<F*>(dlsym(handle, name));
}
#define EMU(name) emulator::function<decltype(name)>(#name)

inline EmuCounters counters() {
  EmuCounters all{};
  EMU(emu_counters)(&all);
  return all;
}

inline EmuLive live() {
  EmuLive all{};
  EMU(emu_live)(&all);
  return all;
}

inline std::string violation(uint64_t index) {
  std::string text(4000, 0);
  text.resize(EMU(emu_violation)(index, text.data(), text.size()));
  return text;
}

// No rule of CANN was broken since the last call.
inline void check_clean(const char* file, int line) {
  const uint64_t count = EMU(emu_violation_count)();
  for (uint64_t i = 0; i < count && i < 3; ++i) check::report(file, line, "broke a rule: " + violation(i));
  EMU(emu_clear_violations)();
}
#define CLEAN() emulator::check_clean(__FILE__, __LINE__)

// A rule switched off for a scope: heads of the tiny checkpoints are smaller than devices take.
class Lenient {
 public:
  explicit Lenient(const char* rule) : rule_(rule) { EMU(emu_set_rule)(rule_, 0); }
  ~Lenient() { EMU(emu_set_rule)(rule_, 1); }
  Lenient(const Lenient&) = delete;

 private:
  const char* rule_;
};

struct Faults {
  Faults() = default;
  Faults(const Faults&) = delete;
  ~Faults() { EMU(emu_clear_faults)(); }
};

}  // namespace emulator
