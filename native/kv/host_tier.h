#pragma once
// The host tier's books: which host blocks are taken and which copies are on their way. It moves no bytes; it
// says which copy to make, and the engine makes it (Backend::block_to_host, block_from_host) and reports it
// complete.
//
// A host block is free, held (a node's content lies in it), or in flight (part of a copy). A device block
// that is part of a copy is not reused before complete(). On a backend that orders copies with the steps
// around them, the engine may report a copy complete as soon as it is issued: whatever is written to the
// block later is ordered after the copy.

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kv/block_pool.h"

namespace agentinfer {

struct HostMove {
  int32_t id = -1;     // for PrefixIndex::complete
  int32_t block = -1;  // device block
  int32_t host_block = -1;
  bool to_host = false;  // block -> host block, else the other way
};

// All memory is taken by the constructor. One thread (the engine's).
class HostTier {
 public:
  explicit HostTier(int host_blocks);  // >= 0, else kInvalidArgument

  int32_t allocate();                // a host block, held; -1 if none is free
  void release(int32_t host_block);  // held -> free. REQUIRES: held (kInternal)

  // A copy between `block` and the host block, which is in flight until finish. `node` is the caller's.
  // REQUIRES: held (kInternal).
  HostMove start(int32_t block, int32_t host_block, bool to_host, int32_t node);
  struct Record {
    HostMove move;
    int32_t node = kNoNode;    // kNoNode: nobody wants the copy any more; only the blocks wait for its end
    bool holds_block = false;  // then: a reference on the block to give back at the end
  };
  // REQUIRES a copy in flight; else kInvalidArgument.
  const Record& record(int32_t id) const;
  void detach(int32_t id, bool holds_block);  // record.node = kNoNode
  Record finish(int32_t id);                  // the host block is held again, the id may be used again

  int total() const { return static_cast<int>(states_.size()); }
  int free_count() const { return static_cast<int>(free_.size()); }
  int in_flight() const { return in_flight_; }
  bool is_free(int32_t host_block) const {
    return states_.at(static_cast<size_t>(host_block)) == State::kFree;
  }
  void check() const;  // kInternal unless every host block is in one state

 private:
  enum class State : uint8_t { kFree, kHeld, kInFlight };
  std::vector<State> states_;    // by host block
  std::vector<int32_t> free_;    // stack
  std::vector<Record> records_;  // by id; move.id < 0: unused. At most one a host block
  std::vector<int32_t> free_ids_;
  int in_flight_ = 0;
};

}  // namespace agentinfer
