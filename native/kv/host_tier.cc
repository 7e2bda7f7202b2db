#include "kv/host_tier.h"

#include <algorithm>
#include <limits>

#include "tensor/check.h"

namespace agentinfer {

HostTier::HostTier(int slots) {
  if (slots < 0) fail(ErrorCode::kInvalidArgument, "host tier: expected 0 or more slots, got ", slots);
  const size_t count = static_cast<size_t>(slots);
  slots_.resize(count, State::kFree);
  records_.resize(count);
  for (int32_t slot = slots - 1; slot >= 0; --slot) free_.push_back(slot);
  free_ids_ = free_;
}

int32_t HostTier::allocate() {
  if (free_.empty()) return -1;
  const int32_t slot = free_.back();
  free_.pop_back();
  slots_[static_cast<size_t>(slot)] = State::kHeld;
  return slot;
}

void HostTier::release(int32_t slot) {
  ensure(slots_.at(static_cast<size_t>(slot)) == State::kHeld, "host tier: slot ", slot, " is not held");
  slots_[static_cast<size_t>(slot)] = State::kFree;
  free_.push_back(slot);
}

HostMove HostTier::start(int32_t block, int32_t slot, bool to_host, int32_t node) {
  ensure(slots_.at(static_cast<size_t>(slot)) == State::kHeld, "host tier: slot ", slot, " is not held");
  slots_[static_cast<size_t>(slot)] = State::kInFlight;
  const int32_t id = free_ids_.back();  // there are as many ids as slots
  free_ids_.pop_back();
  records_[static_cast<size_t>(id)] = {{id, block, slot, to_host}, node, false};
  ++in_flight_;
  return records_[static_cast<size_t>(id)].move;
}

const HostTier::Record& HostTier::record(int32_t id) const {
  if (id < 0 || static_cast<size_t>(id) >= records_.size() || records_[static_cast<size_t>(id)].move.id != id)
    fail(ErrorCode::kInvalidArgument, "host tier: no copy ", id, " is in flight");
  return records_[static_cast<size_t>(id)];
}

void HostTier::detach(int32_t id, bool holds_block) {
  record(id);
  records_[static_cast<size_t>(id)].node = kNoNode;
  records_[static_cast<size_t>(id)].holds_block = holds_block;
}

HostTier::Record HostTier::finish(int32_t id) {
  const Record done = record(id);
  records_[static_cast<size_t>(id)] = {};
  free_ids_.push_back(id);
  slots_[static_cast<size_t>(done.move.slot)] = State::kHeld;
  --in_flight_;
  return done;
}

void HostTier::check() const {
  std::vector<int> seen(slots_.size(), 0);
  for (int32_t slot : free_) {
    ensure(slots_.at(static_cast<size_t>(slot)) == State::kFree && ++seen[static_cast<size_t>(slot)] == 1,
           "host tier: slot ", slot, " is wrongly listed as free");
  }
  int copies = 0;
  for (const Record& entry : records_) {
    if (entry.move.id < 0) continue;
    const size_t slot = static_cast<size_t>(entry.move.slot);
    ensure(slots_.at(slot) == State::kInFlight && ++seen[slot] == 1, "host tier: slot ", slot,
           " is in two copies");
    ++copies;
  }
  const auto count = [this](State state) { return std::count(slots_.begin(), slots_.end(), state); };
  ensure(copies == in_flight_ && count(State::kInFlight) == copies, "host tier: ", in_flight_,
         " copies counted, ", copies);
  ensure(count(State::kFree) == static_cast<std::ptrdiff_t>(free_.size()),
         "host tier: a free slot is not listed");
  ensure(free_ids_.size() + static_cast<size_t>(copies) == records_.size(), "host tier: a copy id is lost");
}

}  // namespace agentinfer
