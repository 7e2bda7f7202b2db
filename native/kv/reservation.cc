#include "kv/reservation.h"

#include <utility>

#include "tensor/check.h"

namespace agentinfer {

Room Reservation::take_hits(const ChainCursor& cursor, double now, bool device_only) {
  ensure(blocks_.empty() && !opened_, "reservation: hits must be taken first");
  const PrefixMatch& match = cursor.match();
  const int64_t blocks = device_only ? match.device() : match.blocks();
  const int partial = device_only ? 0 : match.partial_tokens;
  const Room room = index_->share(cursor, now, device_only, blocks_, copy_);
  if (room != Room::kTaken) return room;
  computed_ = blocks * index_->pool().block_size() + partial;
  opened_ = true;
  return room;
}

Room Reservation::take(int count, double now) {
  if (count <= 0) return Room::kTaken;
  blocks_.reserve(blocks_.size() + static_cast<size_t>(count));
  const Room room = index_->make_room(count, now);
  if (room != Room::kTaken) return room;
  for (int i = 0; i < count; ++i) blocks_.push_back(index_->pool().allocate());
  return room;
}

int Reservation::blocks_needed(int64_t tokens) const {
  const int64_t size = index_->pool().block_size();
  const int64_t missing = (tokens + size - 1) / size - static_cast<int64_t>(blocks_.size());
  return missing > 0 ? static_cast<int>(missing) : 0;
}

void Reservation::commit(BlockTable& table) {
  ensure(!opened_ || table.blocks().empty(), "reservation: shared blocks must come first in a table, it has ",
         table.blocks().size());
  table.append(blocks_);
  if (opened_) table.set_computed(computed_);
  committed_copy_ = std::exchange(copy_, std::nullopt);
  blocks_.clear();
  computed_ = 0;
  opened_ = false;
}

void Reservation::drop() noexcept {
  if (copy_) index_->release(copy_->from);
  if (!blocks_.empty()) index_->release(blocks_);
  blocks_.clear();
  copy_.reset();
  computed_ = 0;
  opened_ = false;
}

}  // namespace agentinfer
