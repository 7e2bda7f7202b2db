#include "engine/random.h"

namespace agentinfer {

std::array<uint32_t, 4> philox4x32(const std::array<uint32_t, 4>& counter,
                                   const std::array<uint32_t, 2>& key) {
  constexpr uint32_t kMultiplier[2] = {0xd2511f53u, 0xcd9e8d57u};
  constexpr uint32_t kWeyl[2] = {0x9e3779b9u, 0xbb67ae85u};  // golden ratio, sqrt(3) - 1
  constexpr int kRounds = 10;
  std::array<uint32_t, 4> x = counter;
  uint32_t key0 = key[0], key1 = key[1];
  for (int round = 0; round < kRounds; ++round) {
    const uint64_t first = static_cast<uint64_t>(kMultiplier[0]) * x[0];
    const uint64_t second = static_cast<uint64_t>(kMultiplier[1]) * x[2];
    x = {static_cast<uint32_t>(second >> 32) ^ x[1] ^ key0, static_cast<uint32_t>(second),
         static_cast<uint32_t>(first >> 32) ^ x[3] ^ key1, static_cast<uint32_t>(first)};
    key0 += kWeyl[0];
    key1 += kWeyl[1];
  }
  return x;
}

double uniform(uint64_t seed, uint64_t position, RandomStream stream) {
  const std::array<uint32_t, 4> x =
      philox4x32({static_cast<uint32_t>(position), static_cast<uint32_t>(position >> 32),
                  static_cast<uint32_t>(stream), 0},
                 {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  const uint64_t bits = (static_cast<uint64_t>(x[1]) << 32 | x[0]) >> 12;  // 52 bits, so that + 0.5 is exact
  return (static_cast<double>(bits) + 0.5) * 0x1p-52;
}

}  // namespace agentinfer
