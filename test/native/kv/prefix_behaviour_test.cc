// One plain example for each promise of the prefix index and the reservation.

#include "kv/kv_world.h"

using namespace agentinfer;
using namespace kv_world;

namespace {

PrefixIndexOptions options(int host_blocks = 0, int tombstones = 100) {
  PrefixIndexOptions result;
  result.host_blocks = host_blocks;
  result.tombstones = tombstones;
  result.secret = ChainHasher::Secret{1, 2, 3, 4};
  return result;
}

// Computes all tokens in fresh blocks and finishes.
void run(World& world, uint64_t salt, OwnerId owner, const Tokens& tokens) {
  Sequence sequence(salt, owner, tokens, world.size);
  Reservation reservation(world.index);
  CHECK(reservation.take(sequence.table.blocks_needed(static_cast<int64_t>(tokens.size())), world.now) ==
        Room::kTaken);
  world.commit(reservation, sequence);
  world.compute(sequence, static_cast<int64_t>(tokens.size()));
  world.index.finish(sequence.cursor, owner, tokens, sequence.table);
  world.index.check();
}

Tokens iota(int first, int count) {
  Tokens tokens;
  for (int i = 0; i < count; ++i) tokens.push_back(first + i);
  return tokens;
}

int cached(const World& world, uint64_t salt, const Tokens& tokens) {
  return world.verified_lookup(salt, tokens).device();
}

}  // namespace

TEST("the next turn reuses the unfinished last block of the last one by copy") {
  World world(8, 4, options());
  run(world, 0, 1, iota(0, 10));
  const PrefixMatch match = world.verified_lookup(0, iota(0, 16));
  CHECK_EQ(match.evictable, 2);
  CHECK_EQ(match.partial_tokens, 2);
  Sequence next(0, 1, iota(0, 16), 4);
  Reservation reservation(world.index);
  world.index.probe(next.tokens, next.cursor);
  CHECK(reservation.take_hits(next.cursor, 0) == Room::kTaken);
  CHECK_EQ(reservation.computed(), 10);
  CHECK_EQ(reservation.blocks_needed(16), 1);
  CHECK(reservation.take(1, 0) == Room::kTaken);
  world.commit(reservation, next);
  world.verify(next);
  world.compute(next, 6);
  world.index.finish(next.cursor, 1, next.tokens, next.table);
  world.index.check();
  CHECK_EQ(world.pool.cached_count(), 4);  // the full block took the partial tail's place
}

TEST("only tokens decide: part of a full block, and a tail inside a longer tail, are reused by copy too") {
  World world(8, 4, options());
  run(world, 0, 1, {1, 2, 3, 4, 5, 6, 7});
  CHECK_EQ(world.verified_lookup(0, {1, 2, 3, 9}).partial_tokens, 3);
  CHECK_EQ(world.verified_lookup(0, {1, 2}).partial_tokens, 2);
  CHECK_EQ(world.verified_lookup(0, {1, 2, 3, 4, 5, 9}).partial_tokens, 1);
  CHECK_EQ(world.verified_lookup(0, {2}).partial_tokens, 0);
  const int before = world.pool.cached_count();
  run(world, 0, 1, {1, 2, 3, 4, 5, 6});  // covered
  CHECK_EQ(world.pool.cached_count(), before);
}

TEST("equal content computed twice is held once, and the table points at it") {
  World world(8, 2, options());
  Sequence first(0, 1, {1, 2, 3, 4}, 2), second(0, 2, {1, 2, 3, 4}, 2);
  for (Sequence* sequence : {&first, &second}) {
    Reservation reservation(world.index);
    CHECK(reservation.take(2, 0) == Room::kTaken);
    world.commit(reservation, *sequence);
    world.compute(*sequence, 4);
  }
  CHECK_EQ(world.pool.used_count(), 4);
  CHECK_EQ(world.index.publish(first.cursor, 1, first.tokens, first.table), 2);
  CHECK_EQ(world.index.publish(second.cursor, 2, second.tokens, second.table), 2);
  CHECK(std::ranges::equal(first.table.blocks(), second.table.blocks()));
  CHECK_EQ(world.pool.used_count(), 2);
  CHECK_EQ(world.pool.free_count(), 6);
  world.verify(second);
  world.index.check();
}

TEST("blocks are invisible until they are full, computed and published") {
  World world(4, 2, options());
  Sequence sequence(0, 1, {1, 2, 3}, 2);
  Reservation reservation(world.index);
  CHECK(reservation.take(2, 0) == Room::kTaken);
  world.commit(reservation, sequence);
  world.compute(sequence, 1);
  CHECK_EQ(world.index.publish(sequence.cursor, 1, sequence.tokens, sequence.table), 0);
  CHECK_EQ(cached(world, 0, sequence.tokens), 0);
  world.compute(sequence, 2);
  CHECK_EQ(cached(world, 0, sequence.tokens), 0);
  CHECK_EQ(world.index.publish(sequence.cursor, 1, sequence.tokens, sequence.table), 1);
  CHECK_EQ(world.verified_lookup(0, sequence.tokens).pinned, 1);
  CHECK_EQ(cached(world, 1, sequence.tokens), 0);  // another salt
  world.index.release_table(sequence.table);
  CHECK_EQ(world.verified_lookup(0, sequence.tokens).evictable, 1);
}

TEST("a reservation is all or nothing, and gives everything back unless committed") {
  World world(4, 2, options());
  run(world, 0, 1, {1, 2, 3, 4});
  {
    Reservation reservation(world.index);
    CHECK(reservation.take(5, 0) == Room::kNoRoom);
    CHECK_EQ(world.pool.used_count(), 0);
    CHECK_EQ(world.pool.cached_count(), 2);  // and nothing was evicted for it
    CHECK(reservation.take(3, 0) == Room::kTaken);
    CHECK_EQ(world.pool.used_count(), 3);
    CHECK(reservation.take(2, 0) == Room::kNoRoom);
    CHECK_EQ(world.pool.used_count(), 3);
  }
  CHECK_EQ(world.pool.used_count(), 0);
  world.index.check();
  ChainCursor stale(0);
  const Tokens tokens = {1, 2};
  world.index.probe(tokens, stale);
  run(world, 0, 1, {5, 6});
  Reservation reservation(world.index);
  CHECK_THROWS(reservation.take_hits(stale, 0), ErrorCode::kInvalidArgument, "changed since");
}

TEST("eviction: lowest class, then expired, then least recently used; leaves before what they follow") {
  World world(6, 2, options());
  run(world, 0, 1, {1, 1, 2, 2});
  run(world, 0, 2, {3, 3, 4, 4});
  run(world, 0, 3, {5, 5, 6, 6});
  world.index.retain(1, {1, 10});
  world.index.retain(2, {1, 5});
  world.now = 7;  // 2 has expired, 1 has not, 3 has no class
  const auto survivors = [&](int blocks) {
    Reservation reservation(world.index);
    CHECK(reservation.take(blocks, world.now) == Room::kTaken);
    return std::array{cached(world, 0, {1, 1, 2, 2}), cached(world, 0, {3, 3, 4, 4}),
                      cached(world, 0, {5, 5, 6, 6})};
  };
  CHECK((survivors(1) == std::array{2, 2, 1}));
  CHECK((survivors(2) == std::array{2, 2, 0}));
  CHECK((survivors(3) == std::array{2, 1, 0}));
  CHECK((survivors(4) == std::array{2, 0, 0}));
  CHECK((survivors(5) == std::array{1, 0, 0}));
  CHECK((survivors(6) == std::array{0, 0, 0}));
}

TEST("a shared prefix is kept as strongly as its strongest owner asks, until that one is gone") {
  const auto left_of_prefix = [](bool forget) {
    World world(6, 2, options());
    run(world, 0, 1, {1, 1, 2, 2});
    run(world, 0, 2, {1, 1, 3, 3});
    run(world, 0, 3, {8, 8});
    world.index.retain(2, {3, kNeverExpires});
    if (forget) world.index.forget(2);
    run(world, 0, 3, {9, 9});
    Reservation reservation(world.index);
    CHECK(reservation.take(4, 0) == Room::kTaken);
    return std::array{cached(world, 0, {1, 1, 3, 3}), cached(world, 0, {8, 8}) + cached(world, 0, {9, 9})};
  };
  CHECK((left_of_prefix(false) == std::array{2, 0}));
  CHECK((left_of_prefix(true) == std::array{0, 2}));
}

TEST("why the cache missed: divergence, eviction, another salt of one's own, a tail") {
  World world(4, 2, options());
  run(world, 5, 1, {1, 2, 3, 4, 5});
  MissReport report = world.index.explain(5, Tokens{1, 2, 3, 7, 8});
  CHECK_EQ(miss_cause_name(report.cause), "never-seen");
  CHECK(report.index == 3 && report.token == 7 && report.indexed == 4);
  report = world.index.explain(5, Tokens{1, 2, 3, 4, 5, 6});
  CHECK_EQ(miss_cause_name(report.cause), "partial");
  CHECK(report.index == 5 && report.token == 6 && report.indexed == -1);
  report = world.index.explain(5, Tokens{1, 2, 3, 4});
  CHECK_EQ(miss_cause_name(report.cause), "none");
  CHECK(report.index == 4 && report.token == -1);

  const std::vector<uint64_t> own = {6, 5};
  report = world.index.explain(6, Tokens{1, 2, 3, 9}, own);
  CHECK_EQ(miss_cause_name(report.cause), "salt");
  CHECK(report.salt == 5 && report.index == 0 && report.token == 1 && report.indexed == -1);
  report = world.index.explain(6, Tokens{1, 2, 3, 9});  // not told: another tenant's content stays secret
  CHECK_EQ(miss_cause_name(report.cause), "never-seen");
  CHECK(report.index == 0 && report.indexed == -1 && report.salt == 0);

  {
    Reservation reservation(world.index);
    CHECK(reservation.take(4, 0) == Room::kTaken);
  }
  report = world.index.explain(5, Tokens{1, 2, 3, 4});
  CHECK_EQ(miss_cause_name(report.cause), "evicted");
  CHECK(report.index == 0 && report.token == 1);
  CHECK_EQ(miss_cause_name(world.index.explain(6, Tokens{1, 2, 3, 4}).cause), "never-seen");
}

TEST("a cursor that is probed again equals a fresh lookup, whatever happened in between") {
  for (uint32_t seed = 0; seed < 100; ++seed) {
    std::mt19937 random(seed);
    World world(10, 2, options(static_cast<int>(seed % 5)));
    Tokens tokens = random_tokens(random, 1, 2);
    ChainCursor cursor(0);
    for (int step = 0; step < 60; ++step) {
      if (random() % 3 == 0) tokens.push_back(static_cast<int32_t>(random() % 2));
      if (random() % 2) {
        Tokens other(tokens.begin(), tokens.begin() + static_cast<ptrdiff_t>(random() % (tokens.size() + 1)));
        other.push_back(static_cast<int32_t>(random() % 2));
        if (other.size() <= 16) {
          world.index.retain(1, {static_cast<uint8_t>(random() % 2), kNeverExpires});
          Reservation reservation(world.index);
          while (reservation.take(8, 0) == Room::kCopying) world.complete_all(random);
          reservation.drop();
          run(world, 0, 1, other);
        }
      }
      world.index.probe(tokens, cursor);
      CHECK(cursor.match() == world.index.lookup(0, tokens));
      const uint64_t generation = world.index.generation();
      world.index.probe(tokens, cursor);
      CHECK_EQ(world.index.generation(), generation);
    }
  }
}

TEST("misuse is refused with its values") {
  World world(4, 2, options());
  Sequence sequence(0, 1, {1, 2}, 2);
  Reservation reservation(world.index);
  CHECK(reservation.take(1, 0) == Room::kTaken);
  world.commit(reservation, sequence);
  world.compute(sequence, 2);
  CHECK_THROWS(world.index.publish(sequence.cursor, 1, Tokens{1}, sequence.table),
               ErrorCode::kInvalidArgument, "at least 2 tokens");
  CHECK_THROWS(world.index.retain(kNoOwner, {}), ErrorCode::kInvalidArgument, "expected an owner");
  CHECK_THROWS(world.index.retain(1, {1, std::nan("")}), ErrorCode::kInvalidArgument, "expiry nan");
  CHECK_THROWS(world.index.complete(0), ErrorCode::kInvalidArgument, "no copy 0");
  BlockTable wrong(4);
  CHECK_THROWS(world.index.publish(sequence.cursor, 1, sequence.tokens, wrong), ErrorCode::kInvalidArgument,
               "blocks of 4");
  CHECK_THROWS(world.index.release(3), ErrorCode::kInvalidArgument, "more often than");
  world.index.release_table(sequence.table);
  world.index.check();
}

CHECK_MAIN
