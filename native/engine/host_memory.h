#pragma once
// How much memory this process may still take: the least of what the system and its control group have left.

#include <cstddef>

namespace agentinfer {

// Bytes; 0 where it cannot be told.
size_t available_host_memory();

}  // namespace agentinfer
