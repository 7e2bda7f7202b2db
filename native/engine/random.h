#pragma once
// Counter-based random numbers: a pure function of (seed, position, stream), with no state to save, restore
// or share. Philox4x32-10 as published in J. Salmon, M. Moraes, R. Dror, D. Shaw, "Parallel random numbers:
// as easy as 1, 2, 3" (SC'11).

#include <array>
#include <cstdint>

namespace agentinfer {

std::array<uint32_t, 4> philox4x32(const std::array<uint32_t, 4>& counter,
                                   const std::array<uint32_t, 2>& key);

// One word for each purpose that draws at the same position.
enum class RandomStream : uint32_t { kSample = 0 };

// In the open interval (0, 1), on the grid (i + 1/2) 2^-52; key = seed, counter = (position, stream).
double uniform(uint64_t seed, uint64_t position, RandomStream stream = RandomStream::kSample);

}  // namespace agentinfer
