#include "engine/host_memory.h"

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <sstream>
#include <string>

#include "tensor/control_groups.h"

namespace agentinfer {
namespace {

// The number behind `key` in a file of lines "key number" ("MemAvailable:   12345 kB", "active_file 678").
std::optional<size_t> number_of(const std::filesystem::path& path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string name;
    size_t value = 0;
    if (words >> name && name == key && words >> value) return value;
  }
  return std::nullopt;
}

std::optional<size_t> number_in(const std::filesystem::path& path) {
  std::ifstream file(path);
  size_t value = 0;
  return file >> value ? std::optional(value) : std::nullopt;  // "max" is no number: no limit
}

}  // namespace

std::optional<size_t> available_in_group(const std::filesystem::path& folder) {
  const auto limit = number_in(folder / "memory.max"), current = number_in(folder / "memory.current");
  if (!limit || !current) return std::nullopt;
  const std::filesystem::path stat = folder / "memory.stat";
  const size_t files =
      number_of(stat, "active_file").value_or(0) + number_of(stat, "inactive_file").value_or(0);
  const size_t held = *current - std::min(files, *current);
  return *limit - std::min(held, *limit);
}

size_t available_host_memory() {
  const auto kilobytes = number_of("/proc/meminfo", "MemAvailable:");
  std::optional<size_t> least;
  if (kilobytes) least = *kilobytes * 1024;
  for (const std::filesystem::path& group : control_groups())
    if (const auto left = available_in_group(group)) least = std::min(least.value_or(SIZE_MAX), *left);
  return least ? std::max<size_t>(*least, 1) : 0;  // none left is known, too
}

}  // namespace agentinfer
