// Compiled into each of the four libraries: applies the toolkit's version and the hidden symbols to it as it
// is loaded.

#include "control/config.h"

namespace {
void anchor() {}
__attribute__((constructor)) void on_load() {
  emu::hide_symbols(reinterpret_cast<const void*>(&anchor));
}
}  // namespace
