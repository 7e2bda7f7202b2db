#pragma once
// Which instruction sets this machine runs, and their kernels (kernels.h).

#include <string>
#include <string_view>
#include <vector>

#include "backend/cpu/kernels.h"

namespace agentinfer {

// Names this processor can run, best first; the last is always "portable". All of:
// x86-64: "avx512vnni", "avx512", "avx2"; aarch64: "neon-dotprod", "neon".
std::vector<std::string> available_isas();

// The table of `isa`, or of the best one for "". A name that is unknown or that this machine cannot run is
// kInvalidArgument, with the names that would do.
Kernels select_kernels(std::string_view isa);

}  // namespace agentinfer
