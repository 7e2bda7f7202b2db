#pragma once
// Finds the KV of token prefixes that were computed before, and decides, by the order TypeScript gave, which
// to forget.
//
// Content. A tree per salt: a node is a full block of tokens following its parent's, or a *partial tail*: the
// unfinished last block of a finished sequence (valid length < block size, never a parent). A child is found
// by comparing tokens, never by a hash alone, so wrong KV cannot be returned. Siblings are kept in
// lexicographic order (kv/block_tree.h), which finds an exact child and the longest common prefix with any
// child in O(log siblings), whatever tenants submit. Different salts share nothing.
//
// A node lives on the device (its block used or cached in the pool), on its way to or from the host, or on
// the host. Invariants, proved by check():
//   - a node on the device has its parent on the device; one with refs > 0 has a parent with refs > 0
//   - the device leaf (no children on the device) is evicted first, so nothing is ever kept but unreachable
//   - each indexed block belongs to one node; a block whose copy is in flight is neither evicted nor reused
//   - no partial tail is a prefix of one of its siblings (it would be redundant)
//
// Owners. Blocks are tagged with the session that published them: an owner is attached to the deepest node it
// published last (its tip) and retains everything from there to the root. A block's retention is the
// strongest of the owners in its subtree; because leaves go first, only tips have to be looked at, and when a
// tip is evicted its owners move to the parent. A block moved to the host keeps following the owner that was
// strongest when it moved.
//
// Memory: about 100 + 4 * block_size bytes a block or host block, taken in the constructor. After it, only
// cursors, owners (one small record each) and a map entry per salt allocate. Threads: one (the engine's).
// Errors: kInvalidArgument for a broken contract, kInternal for ours. Every call either does all it says or,
// if it throws, leaves the index as it was.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kv/block_pool.h"
#include "kv/block_table.h"
#include "kv/block_tree.h"
#include "kv/chain_cursor.h"
#include "kv/chain_hash.h"
#include "kv/eviction_queue.h"
#include "kv/host_tier.h"
#include "kv/owners.h"
#include "kv/retention.h"
#include "kv/tombstones.h"

namespace agentinfer {

struct PrefixIndexOptions {
  int host_blocks = 0;  // of the host tier; 0: none
  uint8_t host_min_class =
      1;  // blocks of at least this retention class move to the host instead of being dropped
  int tombstones = 65536;                     // evicted blocks remembered for `explain`; 40 bytes each
  std::optional<ChainHasher::Secret> secret;  // default: random; tests fix it
};

enum class Room : uint8_t {
  kTaken,    // done
  kNoRoom,   // not now: nothing was taken
  kCopying,  // nothing was taken, but there is room once the moves of take_moves() are complete: issue them
             // and try again
};

enum class MissCause : uint8_t {
  kNone,       // everything asked for is indexed
  kNeverSeen,  // the content from `index` on was not indexed, or was forgotten too long ago to know
  kEvicted,    // it was indexed and evicted
  kSalt,       // more of it is indexed under another of the salts the caller named as its own
  kPartial,    // a partial tail ends at `index`: all that was computed before is reused, and what follows is
               // new
};
inline constexpr int kMissCauses = static_cast<int>(MissCause::kPartial) + 1;
std::string_view miss_cause_name(MissCause cause);  // "none", "never-seen", "evicted", "salt", "partial"

struct MissReport {
  MissCause cause = MissCause::kNone;
  int64_t index =
      0;  // the first token that no indexed chain of this salt continues with; tokens.size() if all is there
  int32_t token = -1;    // tokens[index], -1 at the end
  int32_t indexed = -1;  // the token the closest chain has there instead, -1 if it has none
  uint64_t salt = 0;     // with kSalt: the salt that has more of it
};

struct PrefixStats {  // since construction
  uint64_t published = 0, deduplicated = 0, evicted = 0, to_host = 0, from_host = 0, host_evicted = 0;
};

class PrefixIndex {
 public:
  // The pool must outlive the index and must not be given other index's nodes.
  PrefixIndex(BlockPool& pool, const PrefixIndexOptions& options);
  PrefixIndex(const PrefixIndex&) = delete;
  PrefixIndex& operator=(const PrefixIndex&) = delete;

  BlockPool& pool() { return pool_; }
  const BlockPool& pool() const { return pool_; }

  // ---- looking: no side effects on the index ----

  // Matches as many of `tokens` as possible; the result is cursor.match(). To have at least one token
  // computed (somebody must produce logits), pass the tokens without the last.
  void probe(std::span<const int32_t> tokens, ChainCursor& cursor) const;
  // The same for a list without a cursor; `blocks`, if given, receives the device hits in order.
  PrefixMatch lookup(uint64_t salt, std::span<const int32_t> tokens,
                     std::vector<int32_t>* blocks = nullptr) const;
  // The union of several probed lists. Each cursor is probed again first (cheap).
  struct Listed {
    std::span<const int32_t> tokens;
    ChainCursor* cursor = nullptr;
  };
  UnionDemand demand(std::span<const Listed> lists) const;
  // Why a lookup of `tokens` stops where it does. A tenant must not learn what others have cached: only
  // `salt` and the salts in `own_salts` (the caller's own) are looked at, and `indexed` comes from `salt`
  // only.
  MissReport explain(uint64_t salt, std::span<const int32_t> tokens,
                     std::span<const uint64_t> own_salts = {}) const;
  // Changes whenever the result of a probe might.
  uint64_t generation() const { return generation_; }
  // Blocks a reservation could get now: free + cached (without those whose copy is in flight).
  int available() const;

  // ---- sharing ----

  // Publishes every full computed block of `table` that `cursor` has not published yet. tokens[0 ..
  // table.computed()) are the sequence's tokens. The blocks stay the table's. Where the same content was
  // published first by another sequence, the table's entry is replaced by that block and its own is given
  // back, so equal content is held once. Stops early, to be continued by the next call, at content whose copy
  // from the host is in flight. Returns the number of full blocks published so far. `owner`: see above;
  // kNoOwner: nobody's.
  int64_t publish(ChainCursor& cursor, OwnerId owner, std::span<const int32_t> tokens, BlockTable& table);
  // For a sequence that has finished: publishes the full blocks, then the computed tokens of an unfinished
  // last block as a partial tail (unless an indexed block covers it), gives all references back and empties
  // the table.
  void finish(ChainCursor& cursor, OwnerId owner, std::span<const int32_t> tokens, BlockTable& table);
  // Gives back references without publishing: an aborted or preempted sequence, a copied-from block.
  void release(std::span<const int32_t> blocks);
  void release(int32_t block) { release(std::span<const int32_t>(&block, 1)); }
  void release_table(BlockTable& table);
  // For a sequence whose KV is not what it should be: gives all references back, empties the table, and
  // forgets its chain and whatever was computed on top of it, from the first block on that no other sequence
  // holds. Blocks that others hold stay findable: if they are bad, their holders fail in their turn.
  void distrust(BlockTable& table);

  // ---- retention ----

  // From now on the owner's blocks have this retention. Remembered for owners that have published nothing
  // yet.
  void retain(OwnerId owner, Retention retention);
  // The owner is gone: its blocks keep only what other owners ask for.
  void forget(OwnerId owner);
  // Starts bringing blocks that follow the owner back from the host, parents first, into free blocks only:
  // nothing is evicted for them. They arrive cached, held by nobody. Returns how many.
  int prefetch(OwnerId owner, int max_blocks);

  // ---- host tier ----

  // The copies to start, in order; each is handed out once.
  void take_moves(std::vector<HostMove>& out);
  // The copy is done (or ordered before anything that could disturb it, see host_tier.h).
  void complete(int32_t move_id);
  const HostTier& host() const { return host_; }

  PrefixStats stats() const { return stats_; }
  // Proves the invariants above and those of the pool, queues and tier. O(everything); for tests.
  void check() const;
  // Everything that a lookup, an eviction or a copy could depend on, as text, for tests.
  std::string dump() const;

 private:
  friend class Reservation;

  // prefix_look.cc
  void match_path(std::span<const int32_t> tokens, ChainCursor& cursor) const;
  void match_partial(std::span<const int32_t> tokens, ChainCursor& cursor) const;
  bool was_evicted(uint64_t salt, int32_t parent, std::span<const int32_t> rest, int common) const;

  // prefix_index.cc
  void resume_publishing(ChainCursor& cursor, const BlockTable& table) const;
  bool publish_next(ChainCursor& cursor, std::span<const int32_t> tokens, BlockTable& table);
  bool adopt(int32_t node, size_t index, BlockTable& table);
  int32_t insert(uint64_t salt, int32_t parent, std::span<const int32_t> tokens, int32_t block);
  int32_t publish_tail(uint64_t salt, int32_t parent, std::span<const int32_t> tail, int32_t block);
  void set_tip(int32_t record, int32_t node);
  void pin(int32_t block);      // one more reference, for an indexed or a private block
  void pin_node(int32_t node);  // on the device or kToHost (whose move is cancelled)
  void unpin(int32_t block);

  // prefix_room.cc
  Room make_room(int count, double now);  // kTaken: `count` blocks are free
  bool evict_one(double now);
  bool host_block_for(int32_t node, double now, int32_t* host_block);
  bool move_to_host(int32_t node, double now);
  void drop(int32_t node);  // with everything below it; nobody refers to it
  void remove_leaf(int32_t node, bool evicted);
  void orphan_copy(const Node& node);
  void requeue(int32_t node);  // after anything that its place in the queues depends on
  RetentionKey device_key(int32_t node) const;
  RetentionKey host_key(int32_t node) const;
  // Pins the device hits of the cursor, brings host hits back and takes a block for a partial hit; appends to
  // `blocks`.
  Room share(const ChainCursor& cursor, double now, bool device_only, std::vector<int32_t>& blocks,
             std::optional<BlockCopy>& copy);
  void cancel_move(int32_t node);                     // kToHost -> kDevice
  void attach_block(int32_t node, int32_t block);     // kHost -> kDevice, content computed again
  void start_from_host(int32_t node, int32_t block);  // kHost -> kFromHost
  void enter_device(int32_t node);                    // what these three have in common

  // prefix_check.cc
  void check_node(int32_t node) const;
  void check_siblings(std::span<const int32_t> siblings) const;
  void list_siblings(int32_t root, std::vector<int32_t>& out) const;  // in order

  BlockPool& pool_;
  PrefixIndexOptions options_;
  BlockTree tree_;
  OwnerTable owners_;
  EvictionQueue queue_;       // device leaves that nobody refers to
  EvictionQueue host_queue_;  // host nodes without children
  HostTier host_;
  Tombstones tombstones_;
  std::vector<HostMove> outgoing_;
  uint64_t generation_ = 1;
  uint64_t tick_ = 0;                 // RetentionKey::last_use
  int leaving_ = 0;                   // nodes in kToHost
  int orphaned_ = 0;                  // copies whose node was dropped: they hold a reference on their block
  int arriving_ = 0;                  // nodes in kFromHost
  int arriving_idle_ = 0;             // of these, referenced by nobody
  int32_t held_host_node_ = kNoNode;  // must not be dropped while room is made for it
  PrefixStats stats_;
};

}  // namespace agentinfer
