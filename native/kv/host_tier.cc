#include "kv/host_tier.h"

#include <algorithm>

#include "tensor/check.h"

namespace agentinfer {

HostTier::HostTier(int host_blocks) {
  if (host_blocks < 0)
    fail(ErrorCode::kInvalidArgument, "host tier: expected 0 or more host blocks, got ", host_blocks);
  const size_t count = static_cast<size_t>(host_blocks);
  states_.resize(count, State::kFree);
  records_.resize(count);
  for (int32_t host_block = host_blocks - 1; host_block >= 0; --host_block) free_.push_back(host_block);
  free_ids_ = free_;
}

int32_t HostTier::allocate() {
  if (free_.empty()) return -1;
  const int32_t host_block = free_.back();
  free_.pop_back();
  states_[static_cast<size_t>(host_block)] = State::kHeld;
  return host_block;
}

void HostTier::release(int32_t host_block) {
  ensure(states_.at(static_cast<size_t>(host_block)) == State::kHeld, "host tier: host block ", host_block,
         " is not held");
  states_[static_cast<size_t>(host_block)] = State::kFree;
  free_.push_back(host_block);
}

HostMove HostTier::start(int32_t block, int32_t host_block, bool to_host, int32_t node) {
  ensure(states_.at(static_cast<size_t>(host_block)) == State::kHeld, "host tier: host block ", host_block,
         " is not held");
  states_[static_cast<size_t>(host_block)] = State::kInFlight;
  const int32_t id = free_ids_.back();  // there are as many ids as host blocks
  free_ids_.pop_back();
  records_[static_cast<size_t>(id)] = {{id, block, host_block, to_host}, node, false};
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
  states_[static_cast<size_t>(done.move.host_block)] = State::kHeld;
  --in_flight_;
  return done;
}

void HostTier::check() const {
  std::vector<int> seen(states_.size(), 0);
  for (int32_t host_block : free_) {
    ensure(states_.at(static_cast<size_t>(host_block)) == State::kFree &&
               ++seen[static_cast<size_t>(host_block)] == 1,
           "host tier: host block ", host_block, " is wrongly listed as free");
  }
  int copies = 0;
  for (const Record& entry : records_) {
    if (entry.move.id < 0) continue;
    const size_t host_block = static_cast<size_t>(entry.move.host_block);
    ensure(states_.at(host_block) == State::kInFlight && ++seen[host_block] == 1, "host tier: host block ",
           host_block, " is in two copies");
    ++copies;
  }
  const auto count = [this](State state) { return std::count(states_.begin(), states_.end(), state); };
  ensure(copies == in_flight_ && count(State::kInFlight) == copies, "host tier: ", in_flight_,
         " copies counted, ", copies);
  ensure(count(State::kFree) == static_cast<std::ptrdiff_t>(free_.size()),
         "host tier: a free host block is not listed");
  ensure(free_ids_.size() + static_cast<size_t>(copies) == records_.size(), "host tier: a copy id is lost");
}

}  // namespace agentinfer
