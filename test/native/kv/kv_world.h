#pragma once
// A small world around the prefix index: sequences that compute, share, fork, finish and abort, and a
// make-believe device and host memory whose every KV slot holds a hash of the exact prefix it was computed
// from. Whatever the index does, what a sequence reads from its table must be what it would have computed
// itself; a block reused too early or matched wrongly shows at once.

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "check.h"
#include "kv/prefix_index.h"
#include "kv/reservation.h"

namespace kv_world {

using namespace agentinfer;
using Tokens = std::vector<int32_t>;

struct Sequence {
  uint64_t salt = 0;
  OwnerId owner = kNoOwner;
  Tokens tokens;
  BlockTable table;
  ChainCursor cursor;
  Sequence(uint64_t salt_, OwnerId owner_, Tokens tokens_, int block_size)
      : salt(salt_), owner(owner_), tokens(std::move(tokens_)), table(block_size), cursor(salt_) {}
};

class World {
 public:
  World(int blocks, int block_size, const PrefixIndexOptions& options)
      : pool(blocks, block_size),
        index(pool, options),
        size(block_size),
        device_(static_cast<size_t>(blocks * block_size)),
        host_(static_cast<size_t>(options.host_blocks * block_size)) {}

  BlockPool pool;
  PrefixIndex index;
  int size;
  double now = 0;

  static uint64_t content(uint64_t salt, const Tokens& tokens, size_t position) {
    uint64_t hash = salt * 0x9e3779b97f4a7c15u + 1;
    for (size_t i = 0; i <= position; ++i)
      hash = (hash ^ static_cast<uint64_t>(tokens[i] + 1)) * 0x100000001b3u + (hash >> 29);
    return hash;
  }

  // Every computed slot of the table holds what the sequence would have computed.
  void verify(const Sequence& sequence) const {
    uint64_t wrong = 0;
    for (int64_t position = 0; position < sequence.table.computed(); ++position) {
      const uint64_t held = device_[static_cast<size_t>(sequence.table.slot(position))];
      wrong += held != content(sequence.salt, sequence.tokens, static_cast<size_t>(position));
    }
    CHECK_EQ(wrong, 0u);
  }

  // A lookup changes nothing and returns blocks with the right content.
  PrefixMatch verified_lookup(uint64_t salt, const Tokens& tokens) const {
    const std::string before = index.dump();
    std::vector<int32_t> blocks;
    const PrefixMatch match = index.lookup(salt, tokens, &blocks);
    CHECK(index.dump() == before);
    CHECK_EQ(static_cast<int>(blocks.size()), match.device());
    for (size_t i = 0; match.in_flight == 0 && i < blocks.size(); ++i)
      verify_block(blocks[i], size, salt, tokens, i);
    if (match.partial_tokens > 0)
      verify_block(match.partial_block, match.partial_tokens, salt, tokens,
                   static_cast<size_t>(match.device()));
    return match;
  }

  // Computes `count` tokens of the sequence in blocks it already has.
  void compute(Sequence& sequence, int64_t count) {
    const int64_t begin = sequence.table.computed();
    for (int64_t position = begin; position < begin + count; ++position) {
      device_[static_cast<size_t>(sequence.table.slot(position))] =
          content(sequence.salt, sequence.tokens, static_cast<size_t>(position));
    }
    sequence.table.set_computed(begin + count);
  }

  void commit(Reservation& reservation, Sequence& sequence) {
    reservation.commit(sequence.table);
    if (!reservation.copy()) return;
    copy(device_, reservation.copy()->to, device_, reservation.copy()->from);
    index.release(reservation.copy()->from);
  }

  // Copies to and from the host: each is carried out either when issued or only when completed, and completes
  // in any order.
  void issue_moves(std::mt19937& random) {
    std::vector<HostMove> moves;
    index.take_moves(moves);
    for (const HostMove& move : moves) {
      const bool early = random() % 2;
      if (early) carry_out(move);
      flying_.push_back({move, early});
    }
  }
  void complete_one(std::mt19937& random) {
    if (flying_.empty()) return;
    const size_t i = random() % flying_.size();
    const Flying flying = flying_[i];
    flying_.erase(flying_.begin() + static_cast<ptrdiff_t>(i));
    if (!flying.done) carry_out(flying.move);
    index.complete(flying.move.id);
  }
  void complete_all(std::mt19937& random) {
    issue_moves(random);
    while (!flying_.empty()) complete_one(random);
  }

 private:
  struct Flying {
    HostMove move;
    bool done = false;
  };
  void copy(std::vector<uint64_t>& to, int32_t to_block, const std::vector<uint64_t>& from,
            int32_t from_block) const {
    for (int i = 0; i < size; ++i)
      to[static_cast<size_t>(to_block * size + i)] = from[static_cast<size_t>(from_block * size + i)];
  }
  void carry_out(const HostMove& move) {
    if (move.to_host) {
      copy(host_, move.host_block, device_, move.block);
    } else {
      copy(device_, move.block, host_, move.host_block);
    }
  }
  void verify_block(int32_t block, int length, uint64_t salt, const Tokens& tokens, size_t nth) const {
    uint64_t wrong = 0;
    for (int i = 0; i < length; ++i) {
      const size_t position = nth * static_cast<size_t>(size) + static_cast<size_t>(i);
      wrong += device_[static_cast<size_t>(block * size + i)] != content(salt, tokens, position);
    }
    CHECK_EQ(wrong, 0u);
  }

  std::vector<uint64_t> device_, host_;
  std::vector<Flying> flying_;
};

inline Tokens random_tokens(std::mt19937& random, size_t length, uint32_t alphabet) {
  Tokens tokens(length);
  for (int32_t& token : tokens) token = static_cast<int32_t>(random() % alphabet);
  return tokens;
}

}  // namespace kv_world
