// Pieces of an arena: apart from each other, zeroed, and alive for as long as somebody holds them.

#include "backend/cpu/memory.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <optional>
#include <random>
#include <vector>

#include "check.h"

using namespace agentinfer;

namespace {

bool all_are(const Memory& memory, uint8_t value) {
  const auto* bytes = memory.as<uint8_t>();
  return std::all_of(bytes, bytes + memory.bytes(), [&](uint8_t byte) { return byte == value; });
}

}  // namespace

TEST("pieces of random sizes: zeroed, on pages of their own, nobody writes another's") {
  std::mt19937_64 random(3);
  Arena arena;
  std::vector<Memory> pieces;
  for (int i = 0; i < 40; ++i) {
    const size_t bytes = i % 7 == 0 ? 0 : 1 + random() % (size_t{3} << 20);
    pieces.push_back(arena.take(bytes, "piece"));
    CHECK_EQ(pieces.back().bytes(), bytes);
    CHECK(all_are(pieces.back(), 0));
    if (bytes == 0) continue;
    CHECK_EQ(reinterpret_cast<uintptr_t>(pieces.back().as<uint8_t>()) % 4096, 0u);
    std::memset(pieces.back().as<uint8_t>(), i + 1, bytes);
  }
  for (size_t i = 0; i < pieces.size(); ++i) CHECK(all_are(pieces[i], static_cast<uint8_t>(i + 1)));
}

TEST("pieces outlive their arena and each other; larger ones than it shares have a mapping of their own") {
  std::optional<Arena> arena(std::in_place);
  std::optional<Memory> first(arena->take(100, "first"));
  Memory second = arena->take(5000, "second"), large = arena->take(size_t{70} << 20, "large");
  CHECK(all_are(large, 0));
  std::memset(second.as<uint8_t>(), 9, second.bytes());
  first.reset();
  arena.reset();
  CHECK(all_are(second, 9));
}

TEST("what cannot be had is refused by name, and the arena goes on") {
  Arena arena;
  CHECK_THROWS(arena.take(size_t{1} << 60, "a weight"), ErrorCode::kOutOfMemory, "a weight");
  CHECK(all_are(arena.take(10, "small"), 0));
}

CHECK_MAIN
