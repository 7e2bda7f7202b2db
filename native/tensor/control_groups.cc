#include "tensor/control_groups.h"

#include <fstream>
#include <string>

namespace agentinfer {

std::vector<std::filesystem::path> control_groups(const std::filesystem::path& mount,
                                                  const std::filesystem::path& own) {
  std::vector<std::filesystem::path> groups{mount};
  std::ifstream file(own);
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("0::/")) continue;
    for (const std::filesystem::path& part : std::filesystem::path(line.substr(4)))
      groups.push_back(groups.back() / part);
    break;
  }
  return groups;
}

}  // namespace agentinfer
