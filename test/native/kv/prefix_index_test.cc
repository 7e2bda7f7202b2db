#include "kv/prefix_index.h"

#include "kv/kv_world.h"
#include "kv/prefix_model.h"

using namespace agentinfer;
using namespace kv_world;

namespace {

constexpr ChainHasher::Secret kSecret = {1, 2, 3, 4};

struct Running {
  Sequence sequence;
  Model::Holder holder;
};

// The world and the model, driven by the same random decisions.
class Driver {
 public:
  Driver(uint32_t seed, int blocks, int block_size, uint32_t alphabet)
      : random(seed), alphabet_(alphabet), world(blocks, block_size, options()), model(blocks, block_size) {}

  static PrefixIndexOptions options() {
    PrefixIndexOptions result;
    result.secret = kSecret;
    result.tombstones = 100000;
    return result;
  }

  void step() {
    switch (random() % 12) {
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
      case 9:
        drop_reservation();
        break;
      case 10:
        retain();
        break;
      default:
        world.now += static_cast<double>(random() % 3);
        break;
    }
    world.index.check();
    compare();
  }

  void end() {
    while (!running.empty()) leave(random() % 2);
    world.index.check();
    CHECK_EQ(world.pool.used_count(), 0);
  }

 private:
  Tokens some_tokens() {
    Tokens tokens;
    if (!histories_.empty() && random() % 4) {
      const Tokens& history = histories_[random() % histories_.size()];
      tokens.assign(history.begin(),
                    history.begin() + static_cast<ptrdiff_t>(random() % (history.size() + 1)));
    }
    const Tokens more =
        random_tokens(random, 1 + random() % static_cast<uint32_t>(2 * world.size + 1), alphabet_);
    tokens.insert(tokens.end(), more.begin(), more.end());
    if (histories_.size() < 30)
      histories_.push_back(tokens);
    else
      histories_[random() % 30] = tokens;
    return tokens;
  }

  bool make_room(Reservation& reservation, int count) {
    const bool room = reservation.take(count, world.now) == Room::kTaken;
    CHECK_EQ(room, model.make_room(count, world.now));
    return room;
  }

  void start() {
    const uint64_t salt = random() % 3 == 0;
    Running run{Sequence(salt, random() % 5 ? static_cast<OwnerId>(random() % 4) : kNoOwner, some_tokens(),
                         world.size),
                {}};
    Sequence& sequence = run.sequence;
    // All but the last token may be reused.
    world.index.probe(std::span(sequence.tokens).first(sequence.tokens.size() - 1), sequence.cursor);
    const PrefixMatch match = sequence.cursor.match();
    Reservation reservation(world.index);
    const bool device_only = random() % 4 == 0;
    const int partial = match.partial_tokens > 0 && !device_only;
    std::vector<Model::Key> shared;
    for (int i = 1; i <= match.device(); ++i)
      shared.push_back({salt, Tokens(sequence.tokens.begin(), sequence.tokens.begin() + i * world.size)});
    for (const Model::Key& key : shared) ++model.entries[key].refs;
    Model::Holder source;  // the block to copy from stays while there is made room for its copy
    if (partial) {
      const int node_tokens = match.device() * world.size + match.partial_tokens;
      for (auto& [key, entry] : model.entries) {
        if (key.first != salt || model.parent(key.second).size() != static_cast<size_t>(match.tokens) ||
            static_cast<int>(key.second.size()) < node_tokens ||
            !std::equal(sequence.tokens.begin(), sequence.tokens.begin() + node_tokens, key.second.begin()))
          continue;
        if (world.index.lookup(salt, key.second).device() > match.device() ||
            world.index.lookup(salt, key.second).partial_block == match.partial_block) {
          std::vector<int32_t> blocks;
          world.index.lookup(salt, key.second, &blocks);
          const bool is_source =
              key.second.size() % static_cast<size_t>(world.size) == 0
                  ? blocks.back() == match.partial_block
                  : world.index.lookup(salt, key.second).partial_block == match.partial_block;
          if (is_source) source.shared.push_back(key);
        }
      }
      CHECK_EQ(source.shared.size(), 1u);
      ++model.entries[source.shared[0]].refs;
    }
    run.holder.shared = shared;
    const bool room = reservation.take_hits(sequence.cursor, world.now, device_only) == Room::kTaken;
    CHECK_EQ(room, model.make_room(partial, world.now));
    if (!room) {
      CHECK(!device_only);
      ++model.tick;  // the hits are given back in one go
      for (Model::Holder* holder : {&run.holder, &source})
        for (const Model::Key& key : holder->shared)
          if (--model.entries[key].refs == 0) model.entries[key].last_use = model.tick;
      return;
    }
    run.holder.own = partial;
    model.own_blocks += partial;
    CHECK_EQ(reservation.computed(), match.tokens + (device_only ? 0 : match.partial_tokens));
    const int64_t target = reservation.computed() + 1 +
                           static_cast<int64_t>(random() % (sequence.tokens.size() -
                                                            static_cast<size_t>(reservation.computed())));
    const int needed = reservation.blocks_needed(target);
    if (!make_room(reservation, needed)) {
      reservation.drop();
      if (partial) model.release(source);
      model.release(run.holder);
      return;
    }
    run.holder.own += needed;
    model.own_blocks += needed;
    world.commit(reservation, sequence);
    if (partial) model.release(source);
    world.verify(sequence);
    world.compute(sequence, target - sequence.table.computed());
    running.push_back(std::move(run));
  }

  void advance() {
    if (running.empty()) return;
    Running& run = running[random() % running.size()];
    Sequence& sequence = run.sequence;
    const size_t room = sequence.tokens.size() - static_cast<size_t>(sequence.table.computed());
    if (room == 0) {  // the answer goes on
      const Tokens more = random_tokens(random, 1 + random() % 3, alphabet_);
      sequence.tokens.insert(sequence.tokens.end(), more.begin(), more.end());
      return;
    }
    const int64_t count = 1 + static_cast<int64_t>(random() % room);
    const int drafts = static_cast<int>(random() % 3);  // room for tokens that are then rejected
    Reservation reservation(world.index);
    const int needed = sequence.table.blocks_needed(sequence.table.computed() + count + drafts);
    if (!make_room(reservation, needed)) return;
    run.holder.own += needed;
    model.own_blocks += needed;
    world.commit(reservation, sequence);
    world.compute(sequence, count);
    if (random() % 4) publish(run);
  }

  void publish(Running& run) {
    Sequence& sequence = run.sequence;
    const int64_t published =
        world.index.publish(sequence.cursor, sequence.owner, sequence.tokens, sequence.table);
    CHECK_EQ(published, sequence.table.computed() / world.size);
    model.publish(run.holder, sequence.salt, sequence.owner, sequence.tokens,
                  static_cast<size_t>(sequence.table.computed()));
  }

  void leave(bool finished) {
    if (running.empty()) return;
    const size_t i = random() % running.size();
    Running& run = running[i];
    Sequence& sequence = run.sequence;
    if (!finished && random() % 3 == 0) {
      world.index.distrust(sequence.table);
      model.distrust(run.holder);
    } else if (finished) {
      const size_t computed = static_cast<size_t>(sequence.table.computed());
      world.index.finish(sequence.cursor, sequence.owner, sequence.tokens, sequence.table);
      model.finish(run.holder, sequence.salt, sequence.owner, sequence.tokens, computed);
    } else {
      world.index.release_table(sequence.table);
      model.release(run.holder);
    }
    CHECK(sequence.table.blocks().empty());
    running.erase(running.begin() + static_cast<ptrdiff_t>(i));
  }

  void drop_reservation() {  // taken and not committed: as if nothing had been
    Reservation reservation(world.index);
    const int count = 1 + static_cast<int>(random() % 3);
    if (!make_room(reservation, count)) return;
    CHECK_EQ(world.pool.free_count(), model.free() - count);
    reservation.drop();
    ++model.tick;
  }

  void retain() {
    const OwnerId owner = static_cast<OwnerId>(random() % 4);
    if (random() % 4 == 0) {
      world.index.forget(owner);
      model.tips.erase(owner);
      model.retentions.erase(owner);
      return;
    }
    const double expiries[] = {0, world.now + 2, world.now + 5, kNeverExpires};
    const Retention retention = {static_cast<uint8_t>(random() % 3), expiries[random() % 4]};
    world.index.retain(owner, retention);
    model.retentions[owner] = retention;
  }

  void compare() {
    CHECK_EQ(world.pool.free_count(), model.free());
    CHECK_EQ(world.pool.cached_count(), model.cached());
    CHECK_EQ(world.index.available(), model.free() + model.cached());
    for (const Running& run : running) world.verify(run.sequence);
    if (histories_.empty()) return;
    std::vector<Tokens> lists;
    std::vector<uint64_t> salts;
    for (int i = 0; i < 3; ++i) {
      Tokens tokens = histories_[random() % histories_.size()];
      if (random() % 2) tokens[random() % tokens.size()] = static_cast<int32_t>(random() % alphabet_);
      salts.push_back(random() % 2);
      compare_lookup(salts.back(), tokens);
      lists.push_back(std::move(tokens));
    }
    compare_demand(lists, salts);
  }

  void compare_lookup(uint64_t salt, const Tokens& tokens) {
    PrefixMatch found = world.verified_lookup(salt, tokens);
    const PrefixMatch expected = model.lookup(salt, tokens);
    CHECK_EQ(found.partial_block == kNoBlock, expected.partial_tokens == 0);
    found.partial_block = kNoBlock;
    CHECK(found == expected);
    const MissReport report = world.index.explain(salt, tokens);
    const size_t index = model.reach(salt, tokens, static_cast<size_t>(expected.tokens));
    CHECK_EQ(report.index, static_cast<int64_t>(index));
    CHECK_EQ(report.token, index < tokens.size() ? tokens[index] : -1);
    CHECK_EQ(miss_cause_name(report.cause), miss_cause_name(model.cause(salt, tokens, index)));
    if (report.indexed >= 0) {
      Tokens other(tokens.begin(), tokens.begin() + static_cast<ptrdiff_t>(index));
      other.push_back(report.indexed);
      CHECK(report.indexed != report.token);
      CHECK_EQ(model.reach(salt, other, static_cast<size_t>(expected.tokens)), index + 1);
    }
  }

  void compare_demand(const std::vector<Tokens>& lists, const std::vector<uint64_t>& salts) {
    std::set<Model::Key> pinned, evictable, fresh;
    int64_t tails = 0;
    std::vector<ChainCursor> cursors;
    std::vector<PrefixIndex::Listed> listed;
    for (uint64_t salt : salts) cursors.emplace_back(salt);
    for (size_t i = 0; i < lists.size(); ++i) {
      listed.push_back({lists[i], &cursors[i]});
      tails += lists[i].size() % static_cast<size_t>(world.size) != 0;
      const PrefixMatch match = model.lookup(salts[i], lists[i]);
      for (int block = 0; (block + 1) * world.size <= static_cast<int>(lists[i].size()); ++block) {
        const Model::Key key = {salts[i],
                                Tokens(lists[i].begin(), lists[i].begin() + (block + 1) * world.size)};
        (block < match.pinned ? pinned : block < match.device() ? evictable : fresh).insert(key);
      }
    }
    const UnionDemand found = world.index.demand(listed);
    CHECK_EQ(found.pinned, static_cast<int64_t>(pinned.size()));
    CHECK_EQ(found.evictable, static_cast<int64_t>(evictable.size()));
    CHECK_EQ(found.fresh, static_cast<int64_t>(fresh.size()) + tails);
    CHECK_EQ(found.host, 0);
  }

 public:
  std::mt19937 random;

 private:
  uint32_t alphabet_;
  std::vector<Tokens> histories_;

 public:
  World world;
  Model model;
  std::vector<Running> running;
};

}  // namespace

TEST(
    "random life: contents, counts, matches, unions, misses and the order of eviction equal a naive "
    "model's") {
  for (uint32_t seed = 0; seed < 300; ++seed) {
    const int blocks = seed < 20 ? 1 : 1 + static_cast<int>(seed % 23);
    Driver driver(seed, blocks, 1 + static_cast<int>(seed / 3 % 4), 2 + seed % 2);
    const int before = check::failures();
    for (int step = 0; step < 120 && check::failures() == before; ++step) driver.step();
    driver.end();
    if (check::failures() != before) {
      std::fprintf(stderr, "  seed %u\n", seed);
      return;
    }
  }
}

CHECK_MAIN
