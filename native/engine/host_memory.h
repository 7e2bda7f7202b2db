#pragma once
// How much memory this process may still take: the least of what the system and its control groups have left.

#include <cstddef>
#include <filesystem>
#include <optional>

namespace agentinfer {

// Bytes; 0 where it cannot be told.
size_t available_host_memory();

// Bytes left in the control group (version 2) of this folder: its limit less what cannot be reclaimed of its
// use. File pages can, and a model that was read leaves them behind. Nothing where there is no limit.
std::optional<size_t> available_in_group(const std::filesystem::path& folder);

}  // namespace agentinfer
