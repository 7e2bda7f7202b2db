#pragma once
// What every native bench takes: --json, and --runs N.

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>

namespace agentinfer {

struct BenchArguments {
  bool json = false;
  int runs;  // >= 1
};

// Nothing, and a line on stderr, when there is something else.
inline std::optional<BenchArguments> bench_arguments(int argc, char** argv, int runs) {
  BenchArguments result{.runs = runs};
  for (int i = 1; i < argc; ++i) {
    if (!std::strcmp(argv[i], "--json")) {
      result.json = true;
    } else if (!std::strcmp(argv[i], "--runs") && i + 1 < argc) {
      result.runs = std::max(1, std::atoi(argv[++i]));
    } else {
      std::fprintf(stderr, "usage: %s [--json] [--runs N]\n", argv[0]);
      return std::nullopt;
    }
  }
  return result;
}

}  // namespace agentinfer
