// Every allocation of memory may fail. Whatever was under way then, the index is as it was, nothing leaks,
// and trying again works.

#include <cstdlib>
#include <functional>
#include <new>

#include "kv/kv_world.h"

namespace {
int64_t allocations_left = -1;  // < 0: all succeed
}

// The whole program's operator new: one that can be told to fail.
void* operator new(std::size_t bytes) {
  if (allocations_left == 0) throw std::bad_alloc();
  if (allocations_left > 0) --allocations_left;
  if (void* memory = std::malloc(bytes ? bytes : 1)) return memory;
  throw std::bad_alloc();
}
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  if (allocations_left == 0) return nullptr;
  if (allocations_left > 0) --allocations_left;
  return std::malloc(bytes ? bytes : 1);
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}

using namespace agentinfer;
using namespace kv_world;

namespace {

struct Fixture {
  World world;
  std::vector<Sequence> sequences;
  std::mt19937 random{5};
  static PrefixIndexOptions options() {
    PrefixIndexOptions result;
    result.host_blocks = 6;
    result.secret = ChainHasher::Secret{1, 2, 3, 4};
    return result;
  }
  Fixture() : world(12, 2, options()) {
    world.index.retain(1, {1, kNeverExpires});
    for (uint64_t salt : {0, 0, 7}) {
      sequences.emplace_back(salt, 1 + static_cast<OwnerId>(sequences.size()), Tokens{1, 2, 3, 4, 5, 6, 7},
                             2);
      Reservation reservation(world.index);
      CHECK(reservation.take(4, 0) == Room::kTaken);
      world.commit(reservation, sequences.back());
      world.compute(sequences.back(), 7);
    }
    sequences.emplace_back(0, 9, Tokens{1, 2, 3, 4, 9, 9}, 2);
  }
};

// Runs `operation` with the nth allocation failing, for every n, until it succeeds.
void try_everywhere(const char* name, const std::function<void(Fixture&)>& prepare,
                    const std::function<void(Fixture&)>& operation) {
  int failed = 0;
  for (int64_t n = 0;; ++n) {
    Fixture fixture;
    prepare(fixture);
    fixture.world.index.check();
    const int free = fixture.world.pool.free_count() + fixture.world.pool.cached_count();
    bool threw = false;
    allocations_left = n;
    try {
      operation(fixture);
    } catch (const std::bad_alloc&) {
      threw = true;
    }
    allocations_left = -1;
    fixture.world.index.check();
    for (const Sequence& sequence : fixture.sequences) fixture.world.verify(sequence);
    if (threw) {
      ++failed;
      operation(fixture);
      fixture.world.index.check();
    }
    fixture.world.complete_all(fixture.random);
    for (Sequence& sequence : fixture.sequences) fixture.world.index.release_table(sequence.table);
    fixture.world.index.check();
    CHECK_EQ(fixture.world.pool.used_count(), 0);
    CHECK(free <= 12);
    if (!threw) break;
  }
  std::printf("     %s: failed at each of %d allocations\n", name, failed);
}

void publish_all(Fixture& fixture) {
  for (Sequence& sequence : fixture.sequences)
    fixture.world.index.publish(sequence.cursor, sequence.owner, sequence.tokens, sequence.table);
}

void finish_all(Fixture& fixture) {
  for (Sequence& sequence : fixture.sequences)
    fixture.world.index.finish(sequence.cursor, sequence.owner, sequence.tokens, sequence.table);
}

void start_last(Fixture& fixture) {
  Sequence& last = fixture.sequences.back();
  if (!last.table.blocks().empty()) return;
  Reservation reservation(fixture.world.index);
  fixture.world.index.probe(last.tokens, last.cursor);
  if (reservation.take_hits(last.cursor, 0) != Room::kTaken || reservation.take(1, 0) != Room::kTaken) return;
  last.table.reserve(
      8);  // the engine's tables are made for their longest context, so that commit cannot fail
  fixture.world.complete_all(fixture.random);
  fixture.world.commit(reservation, last);
}

}  // namespace

TEST("publish") {
  try_everywhere(
      "publish", [](Fixture&) {}, publish_all);
}
TEST("finish") {
  try_everywhere(
      "finish", [](Fixture&) {}, finish_all);
}
TEST("probe, take hits, take, commit") {
  try_everywhere("start", finish_all, start_last);
}
TEST("the same with hits on the host") {
  try_everywhere(
      "start from host",
      [](Fixture& fixture) {
        finish_all(fixture);
        Reservation everything(fixture.world.index);
        while (everything.take(fixture.world.pool.total(), 0) == Room::kCopying)
          fixture.world.complete_all(fixture.random);
        CHECK(fixture.world.index.stats().to_host > 0);
      },
      start_last);
}
TEST("retain and demand") {
  try_everywhere("retain", finish_all, [](Fixture& fixture) {
    fixture.world.index.retain(77, {1, 5});
    std::vector<ChainCursor> cursors(2, ChainCursor(0));
    const std::vector<PrefixIndex::Listed> lists = {{fixture.sequences[0].tokens, &cursors[0]},
                                                    {fixture.sequences[3].tokens, &cursors[1]}};
    const UnionDemand demand = fixture.world.index.demand(lists);
    CHECK_EQ(demand.evictable, 3);
    CHECK_EQ(demand.fresh, 2);
  });
}

CHECK_MAIN
