#pragma once
// The blocks one sequence takes for a step, held until they are committed to its table. Dropped without
// commit, everything goes back: nothing of it was visible (style: a step is a transaction). One reservation a
// sequence; several live at once.
//
//   Reservation reservation(index);
//   if (reservation.take_hits(cursor, now) != Room::kTaken) defer;
//   if (reservation.take(reservation.blocks_needed(tokens_after_step), now) != Room::kTaken) defer;
//   reservation.commit(table);                        // the table's from here on, whatever comes
//   if (copy = reservation.copy()) { backend.copy_block(...); index.release(copy.from); }
//
// Two effects outlive a dropped reservation, both harmless: cached blocks evicted to make room stay evicted,
// and copies from the host tier go on (the blocks end up cached).

#include <cstdint>
#include <optional>
#include <vector>

#include "kv/block_table.h"
#include "kv/prefix_index.h"

namespace agentinfer {

class Reservation {
 public:
  explicit Reservation(PrefixIndex& index) : index_(&index) {}
  ~Reservation() { drop(); }
  Reservation(const Reservation&) = delete;
  Reservation& operator=(const Reservation&) = delete;

  // Shares what the last probe of `cursor` matched (re-probe in the same step): pins the device hits, brings
  // host hits back (their copies appear in PrefixIndex::take_moves), and takes a block for the copy of a
  // partial hit if there is one. All or nothing. Must come first, for an empty table. Host hits or a partial
  // hit that find no room make it kNoRoom; `device_only` leaves them out, and then there is always room.
  Room take_hits(const ChainCursor& cursor, double now, bool device_only = false);
  // `count` more fresh blocks. All or nothing, also where there is no memory (bad_alloc).
  Room take(int count, double now);

  // Tokens whose KV the sequence will have after commit (0 if only `take` was called).
  int64_t computed() const { return computed_; }
  // Blocks still missing for `tokens` tokens in an empty table with what is held so far. (For a table that
  // has blocks already: BlockTable::blocks_needed.)
  int blocks_needed(int64_t tokens) const;

  // Appends the held blocks to the table and, after take_hits, sets its computed length. The reservation is
  // empty then. Where the table finds no memory (bad_alloc) nothing has changed.
  void commit(BlockTable& table);
  // After commit: the copy to make before the step, if any. The caller owns a reference on `from`, to be
  // given back with PrefixIndex::release when the copy is issued.
  const std::optional<BlockCopy>& copy() const { return committed_copy_; }
  // Gives everything back now.
  void drop() noexcept;

 private:
  PrefixIndex* index_;
  std::vector<int32_t> blocks_;    // in table order, one reference each
  std::optional<BlockCopy> copy_;  // `from` holds a reference of ours
  std::optional<BlockCopy> committed_copy_;
  int64_t computed_ = 0;
  bool opened_ = false;  // take_hits was called
};

}  // namespace agentinfer
