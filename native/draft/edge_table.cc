#include "draft/edge_table.h"

#include "tensor/check.h"

namespace agentinfer {

EdgeTable::EdgeTable() {
  segments_.push_back(std::make_unique<Segment>());
  directory_.push_back(segments_.back().get());
}

const EdgeTable::Edge* EdgeTable::find(uint32_t state, int32_t token) const {
  const uint64_t h = hash(state, token);
  const Segment& segment = *directory_[place(h)];
  const uint32_t home = home_of(h);
  // Ends: a segment is never full.
  for (uint32_t probe = 0;; ++probe) {
    const Edge& edge = segment.slots[home ^ probe];
    const uint32_t from = edge.state & ~kSpilled;
    if (from == state && edge.token == token) return &edge;
    if (from == kEmpty) return nullptr;
    if (probe == kLine - 1 && !(segment.slots[home & ~(kLine - 1)].state & kSpilled)) return nullptr;
  }
}

void EdgeTable::put(Segment& segment, uint64_t hash, const Edge& edge) {
  const uint32_t home = home_of(hash);
  uint32_t probe = 0;
  while ((segment.slots[home ^ probe].state & ~kSpilled) != kEmpty) ++probe;
  segment.slots[home ^ probe] = edge;
  if (probe >= kLine) segment.slots[home & ~(kLine - 1)].state |= kSpilled;
  ++segment.used;
}

void EdgeTable::insert(const Edge& edge) {
  const uint64_t h = hash(edge.state, edge.token);
  while (directory_[place(h)]->used >= kFull) split(place(h));
  put(*directory_[place(h)], h, edge);
  ++size_;
}

void EdgeTable::split(size_t at) {
  Segment* low = directory_[at];
  if (low->depth == depth_) {
    std::vector<Segment*> doubled(directory_.size() * 2);
    for (size_t i = 0; i < doubled.size(); ++i) doubled[i] = directory_[i / 2];
    directory_ = std::move(doubled);
    ++depth_;
    at *= 2;
  }
  segments_.push_back(std::make_unique<Segment>());
  Segment* high = segments_.back().get();
  low->depth = high->depth = low->depth + 1;

  const size_t span = size_t{1} << (depth_ - low->depth);  // directory entries of each half
  const size_t begin = at / (2 * span) * (2 * span);
  for (size_t i = begin + span; i < begin + 2 * span; ++i) directory_[i] = high;

  const Segment old = *low;
  for (Edge& edge : low->slots) edge = Edge();
  low->used = 0;
  for (Edge edge : old.slots) {
    edge.state &= ~kSpilled;
    if (edge.state == kEmpty) continue;
    const uint64_t h = hash(edge.state, edge.token);
    put(*directory_[place(h)], h, edge);
  }
}

size_t EdgeTable::bytes() const {
  return segments_.size() * sizeof(Segment) + segments_.capacity() * sizeof(void*) +
         directory_.capacity() * sizeof(void*);
}

void EdgeTable::check() const {
  ensure(directory_.size() == size_t{1} << depth_, "edge table: directory of ", directory_.size());
  size_t edges = 0;
  for (const auto& segment : segments_) {
    uint32_t used = 0;
    for (const Edge& edge : segment->slots) {
      const uint32_t state = edge.state & ~kSpilled;
      if (state == kEmpty) continue;
      ++used;
      ensure(find(state, edge.token) == &edge, "edge table: edge of state ", state, " is not found");
    }
    ensure(used == segment->used && used <= kFull, "edge table: segment counts ", segment->used, ", has ",
           used);
    edges += used;
  }
  ensure(edges == size_, "edge table: counts ", size_, ", has ", edges);
}

}  // namespace agentinfer
