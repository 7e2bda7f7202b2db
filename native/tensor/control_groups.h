#pragma once
// Where the limits lie that the system has set for this process.

#include <filesystem>
#include <vector>

namespace agentinfer {

// The folders of the control groups (version 2) that this process is in, outermost first: each may have a
// limit of its own. `mount` itself is the first: a container sees its own group there. `own` has the line
// "0::<path below the mount>"; where that path is not below this mount, its folders are not there.
std::vector<std::filesystem::path> control_groups(const std::filesystem::path& mount = "/sys/fs/cgroup",
                                                  const std::filesystem::path& own = "/proc/self/cgroup");

}  // namespace agentinfer
