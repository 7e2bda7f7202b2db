// Random life with a host tier: blocks leave, come back, are asked for while they travel, and are dropped on
// both sides. The copies take effect when issued or only when completed, and complete in any order. What a
// sequence reads is always what it would have computed.

#include "kv/kv_world.h"

using namespace agentinfer;
using namespace kv_world;

namespace {

class HostDriver {
 public:
  HostDriver(uint32_t seed, int blocks, int block_size, int host_blocks)
      : random(seed), world(blocks, block_size, options(host_blocks)) {}

  static PrefixIndexOptions options(int host_blocks) {
    PrefixIndexOptions result;
    result.host_blocks = host_blocks;
    result.secret = ChainHasher::Secret{1, 2, 3, 4};
    result.tombstones = 100;
    return result;
  }

  void step() {
    switch (random() % 15) {
      case 0:
      case 1:
      case 2:
        start();
        break;
      case 3:
      case 4:
      case 5:
        advance();
        break;
      case 6:
        leave(true);
        break;
      case 7:
        leave(false);
        break;
      case 8:
        retain();
        break;
      case 9:
        ask_for_room();
        break;
      case 10:
        world.issue_moves(random);
        break;
      case 13:
        brought += world.index.prefetch(owner(), 1 + static_cast<int>(random() % 4));
        break;
      case 11:
      case 12:
        world.issue_moves(random), world.complete_one(random);
        break;
      default:
        world.now += static_cast<double>(random() % 3);
    }
    world.index.check();
    for (const Sequence& sequence : running) world.verify(sequence);
    if (histories.empty()) return;
    const Tokens& tokens = histories[random() % histories.size()];
    const PrefixMatch match = world.verified_lookup(random() % 2, tokens);
    CHECK(match.blocks() <= static_cast<int>(tokens.size()) / world.size);
  }

  void end() {
    while (!running.empty()) leave(random() % 2);
    world.complete_all(random);
    world.index.check();
    CHECK_EQ(world.pool.used_count(), 0);
    CHECK_EQ(world.index.available(), world.pool.total());
    CHECK_EQ(world.index.host().in_flight(), 0);
  }

  std::mt19937 random;
  World world;
  std::vector<Sequence> running;
  std::vector<Tokens> histories;
  int brought = 0, host_hits = 0, copying = 0, prefetched = 0, distrusted = 0;

 private:
  OwnerId owner() { return static_cast<OwnerId>(random() % 4); }

  Tokens some_tokens() {
    Tokens tokens;
    if (!histories.empty() && random() % 5) tokens = histories[random() % histories.size()];
    if (random() % 3 == 0) tokens.resize(random() % (tokens.size() + 1));
    const Tokens more = random_tokens(random, 1 + random() % static_cast<uint32_t>(2 * world.size), 2);
    tokens.insert(tokens.end(), more.begin(), more.end());
    if (tokens.size() > static_cast<size_t>(6 * world.size))
      tokens.resize(static_cast<size_t>(6 * world.size));
    if (histories.size() < 12)
      histories.push_back(tokens);
    else
      histories[random() % 12] = tokens;
    return tokens;
  }

  void start() {
    Sequence sequence(random() % 2, owner(), some_tokens(), world.size);
    const auto wanted = [&] { return std::span(sequence.tokens).first(sequence.tokens.size() - 1); };
    world.index.probe(wanted(), sequence.cursor);
    host_hits += sequence.cursor.match().host;
    Reservation reservation(world.index);
    Room room = reservation.take_hits(sequence.cursor, world.now, random() % 6 == 0);
    for (int round = 0; room == Room::kCopying;
         ++round) {  // what left meanwhile may have been a hit, which costs room again
      CHECK(round < world.pool.total());
      ++copying;
      world.complete_all(random);
      world.index.probe(wanted(), sequence.cursor);
      room = reservation.take_hits(sequence.cursor, world.now);
    }
    if (room != Room::kTaken) {
      world.index.probe(wanted(), sequence.cursor);
      room = reservation.take_hits(sequence.cursor, world.now, true);
      CHECK(room == Room::kTaken);
    }
    if (random() % 4 == 0) {  // only a prefetch: the reservation is dropped, the copies go on
      prefetched += world.index.host().in_flight() > 0;
      return;
    }
    const int64_t target = reservation.computed() + 1 +
                           static_cast<int64_t>(random() % (sequence.tokens.size() -
                                                            static_cast<size_t>(reservation.computed())));
    if (!take(reservation, reservation.blocks_needed(target))) return;
    world.complete_all(random);  // nothing is read before it has arrived
    world.commit(reservation, sequence);
    world.verify(sequence);
    world.compute(sequence, target - sequence.table.computed());
    running.push_back(std::move(sequence));
  }

  bool take(Reservation& reservation, int count) {
    const int available = world.index.available();
    Room room = reservation.take(count, world.now);
    if (room == Room::kCopying) {
      ++copying;
      world.complete_all(random);
      room = reservation.take(count, world.now);
      if (room == Room::kCopying) {  // more had to leave
        world.complete_all(random);
        room = reservation.take(count, world.now);
      }
      CHECK(room == Room::kTaken);
    }
    if (room == Room::kNoRoom) CHECK(available < count);
    return room == Room::kTaken;
  }

  void ask_for_room() {  // and gives it back: cached blocks were evicted for it
    Reservation reservation(world.index);
    take(reservation, 1 + static_cast<int>(random() % static_cast<uint32_t>(world.pool.total())));
  }

  void advance() {
    if (running.empty()) return;
    Sequence& sequence = running[random() % running.size()];
    const size_t left = sequence.tokens.size() - static_cast<size_t>(sequence.table.computed());
    if (left == 0) {
      sequence.tokens.push_back(static_cast<int32_t>(random() % 2));
      return;
    }
    const int64_t count = 1 + static_cast<int64_t>(random() % left);
    Reservation reservation(world.index);
    if (!take(reservation, sequence.table.blocks_needed(sequence.table.computed() + count))) return;
    world.commit(reservation, sequence);
    world.compute(sequence, count);
    if (random() % 4) world.index.publish(sequence.cursor, sequence.owner, sequence.tokens, sequence.table);
  }

  void leave(bool finished) {
    if (running.empty()) return;
    const size_t i = random() % running.size();
    Sequence& sequence = running[i];
    if (finished)
      world.index.finish(sequence.cursor, sequence.owner, sequence.tokens, sequence.table);
    else if (random() % 2)
      world.index.release_table(sequence.table);
    else
      distrust(sequence);
    running.erase(running.begin() + static_cast<ptrdiff_t>(i));
  }

  // Of its blocks only those that others hold are found afterwards.
  void distrust(Sequence& sequence) {
    const auto& blocks = sequence.table.blocks();
    const auto own = std::find_if(blocks.begin(), blocks.end(),
                                  [&](int32_t block) { return world.pool.refs(block) == 1; });
    const int shared = static_cast<int>(own - blocks.begin());
    const bool indexed = own != blocks.end() && world.pool.node(*own) != kNoNode;
    world.index.distrust(sequence.table);
    CHECK(sequence.table.blocks().empty());
    if (!indexed) return;
    ++distrusted;
    CHECK(world.index.lookup(sequence.salt, sequence.tokens).blocks() <= shared);
  }

  void retain() {
    if (random() % 6 == 0) return world.index.forget(owner());
    const double expiries[] = {0, world.now + 2, kNeverExpires};
    world.index.retain(owner(), {static_cast<uint8_t>(random() % 3), expiries[random() % 3]});
  }
};

// All cached blocks but the strongest leave: for the host where they are worth it, until so many are free.
void make_leave(World& world, std::mt19937& random, int free) {
  Reservation reservation(world.index);
  while (reservation.take(free, world.now) == Room::kCopying) world.complete_all(random);
}

}  // namespace

TEST("random life with a host tier: contents stay right, nothing leaks, lookups change nothing") {
  uint64_t to_host = 0, from_host = 0, dropped = 0;
  int brought = 0, host_hits = 0, copying = 0, prefetched = 0, distrusted = 0;
  for (uint32_t seed = 0; seed < 400; ++seed) {
    HostDriver driver(seed, 1 + static_cast<int>(seed % 17), 1 + static_cast<int>(seed / 5 % 4),
                      static_cast<int>(seed / 3 % 12));
    const int before = check::failures();
    for (int step = 0; step < 200 && check::failures() == before; ++step) driver.step();
    driver.end();
    if (check::failures() != before) {
      std::fprintf(stderr, "  seed %u\n", seed);
      return;
    }
    const PrefixStats stats = driver.world.index.stats();
    to_host += stats.to_host, from_host += stats.from_host, dropped += stats.host_evicted;
    brought += driver.brought;
    distrusted += driver.distrusted;
    host_hits += driver.host_hits, copying += driver.copying, prefetched += driver.prefetched;
  }
  std::printf(
      "     %llu to the host, %llu back, %llu dropped there; %d hits there, %d copying, %d prefetched, %d "
      "brought\n",
      static_cast<unsigned long long>(to_host), static_cast<unsigned long long>(from_host),
      static_cast<unsigned long long>(dropped), host_hits, copying, prefetched, brought);
  // The paths this test is about were taken.
  CHECK(to_host > 1000 && from_host > 500 && dropped > 400);
  CHECK(host_hits > 500 && copying > 500 && prefetched > 50 && brought > 50);
  CHECK(distrusted > 200);
}

TEST("a conversation leaves for the host when room is needed and comes back by copy, not by computing") {
  World world(6, 2, HostDriver::options(8));
  std::mt19937 random(1);
  Sequence first(0, 1, {1, 2, 3, 4, 5, 6, 7, 8}, 2), second(0, 2, {9, 9, 8, 8, 7, 7, 6, 6, 5, 5}, 2);
  const auto run = [&](Sequence& sequence) {
    Reservation reservation(world.index);
    Room room = reservation.take(5, 0);
    if (room == Room::kCopying) {
      world.complete_all(random);
      room = reservation.take(5, 0);
    }
    CHECK(room == Room::kTaken);
    world.commit(reservation, sequence);
    world.compute(sequence, static_cast<int64_t>(sequence.tokens.size()));
    world.index.finish(sequence.cursor, sequence.owner, sequence.tokens, sequence.table);
  };
  world.index.retain(1, {1, kNeverExpires});
  run(first);
  run(second);
  const PrefixMatch match = world.verified_lookup(0, first.tokens);
  CHECK_EQ(match.blocks(), 4);
  CHECK(match.host >= 3);
  Sequence next(0, 1, first.tokens, 2);
  Reservation reservation(world.index);
  world.index.probe(next.tokens, next.cursor);
  CHECK(reservation.take_hits(next.cursor, 0) ==
        Room::kTaken);  // `second` is not retained: it is dropped at once
  CHECK(world.verified_lookup(0, first.tokens).in_flight >= 3);
  world.complete_all(random);
  CHECK_EQ(reservation.computed(), 8);
  world.commit(reservation, next);
  world.verify(next);
  CHECK_EQ(world.index.host().free_count(), 8);
  world.index.release_table(next.table);
  world.index.check();
}

TEST("a host block is not given up for the room that it needs itself") {
  World world(2, 2, HostDriver::options(1));
  std::mt19937 random(3);
  const auto run = [&](OwnerId owner, uint8_t retention_class, const Tokens& tokens) {
    world.index.retain(owner, {retention_class, kNeverExpires});
    Sequence sequence(0, owner, tokens, 2);
    Reservation reservation(world.index);
    const int blocks = static_cast<int>(tokens.size()) / 2;
    while (reservation.take(blocks, 0) == Room::kCopying) world.complete_all(random);
    world.commit(reservation, sequence);
    world.compute(sequence, static_cast<int64_t>(tokens.size()));
    world.index.finish(sequence.cursor, owner, tokens, sequence.table);
  };
  run(1, 1, {1, 1});
  make_leave(world, random, 2);
  CHECK_EQ(world.index.host().free_count(), 0);
  run(2, 2, {2, 2, 3, 3});  // stronger than what the only host block holds
  Sequence sequence(0, 1, {1, 1}, 2);
  world.index.probe(sequence.tokens, sequence.cursor);
  CHECK_EQ(sequence.cursor.match().host, 1);
  Reservation reservation(world.index);
  CHECK(reservation.take_hits(sequence.cursor, 0) == Room::kTaken);
  world.complete_all(random);
  world.commit(reservation, sequence);
  CHECK_EQ(sequence.table.computed(), 2);
  world.verify(sequence);
  world.index.release_table(sequence.table);
  world.index.check();
}

TEST("a session's blocks come back into free blocks, first ones first, and evict nobody") {
  World world(6, 2, HostDriver::options(8));
  std::mt19937 random(3);
  Sequence first(0, 1, {1, 2, 3, 4, 5, 6, 7, 8}, 2), other(0, 2, {9, 9, 8, 8}, 2);
  const auto run = [&](Sequence& sequence) {
    Reservation reservation(world.index);
    CHECK(reservation.take(static_cast<int>(sequence.tokens.size()) / 2, 0) == Room::kTaken);
    world.commit(reservation, sequence);
    world.compute(sequence, static_cast<int64_t>(sequence.tokens.size()));
    world.index.finish(sequence.cursor, sequence.owner, sequence.tokens, sequence.table);
  };
  const Tokens tokens = first.tokens;
  run(first);
  run(other);
  CHECK_EQ(world.index.prefetch(1, 10), 0);  // nothing is away
  world.index.retain(1, {1, kNeverExpires});
  world.index.retain(2, {2, kNeverExpires});
  make_leave(world, random, 4);
  CHECK_EQ(world.pool.free_count(), 4);
  CHECK_EQ(world.index.prefetch(1, 3), 3);
  world.index.check();
  world.complete_all(random);
  const PrefixMatch match = world.verified_lookup(0, tokens);
  CHECK_EQ(match.device(), 3);
  CHECK_EQ(match.host, 1);
  CHECK_EQ(world.index.prefetch(1, 10), 1);
  CHECK_EQ(world.index.prefetch(7, 10), 0);  // nobody
  world.complete_all(random);
  CHECK_EQ(world.verified_lookup(0, tokens).device(), 4);
  CHECK_EQ(world.pool.cached_count(), 6);
  world.index.check();
}

TEST("a block asked for again while it leaves stays where it is, without a copy back") {
  World world(4, 2, HostDriver::options(4));
  std::mt19937 random(2);
  Sequence sequence(0, 1, {1, 2, 3, 4}, 2);
  Reservation first(world.index);
  CHECK(first.take(2, 0) == Room::kTaken);
  world.commit(first, sequence);
  world.compute(sequence, 4);
  world.index.finish(sequence.cursor, 1, sequence.tokens, sequence.table);
  world.index.retain(1, {1, kNeverExpires});
  Reservation everything(world.index);
  CHECK(everything.take(4, 0) == Room::kCopying);
  CHECK_EQ(world.index.available(), 2);
  world.index.probe(sequence.tokens, sequence.cursor);
  CHECK_EQ(sequence.cursor.match().host, 2);
  Reservation again(world.index);
  CHECK(again.take_hits(sequence.cursor, 0) == Room::kTaken);
  world.commit(again, sequence);
  world.verify(sequence);
  CHECK_EQ(world.index.stats().from_host, 0u);
  CHECK_EQ(world.index.host().free_count(), 2);  // the copies under way still fill their host blocks
  world.index.check();
  world.complete_all(random);
  CHECK_EQ(world.index.host().free_count(), 4);
  world.verify(sequence);
  world.index.release_table(sequence.table);
  world.index.check();
}

CHECK_MAIN
