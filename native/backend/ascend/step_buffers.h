#pragma once
// The integers of a step on the device, at fixed addresses: tokens, positions, slots, logit rows and the
// block table. One pinned staging buffer mirrors them; one copy a step brings them over.

#include <vector>

#include "backend/ascend/device.h"
#include "backend/backend.h"

namespace agentinfer {

inline constexpr int kAscendBlock =
    128;  // tokens in a KV block: the one size that attention over packed tokens takes everywhere

class StepBuffers {
 public:
  StepBuffers(AscendDevice& device, const StepShape& shape);

  // Dummies behind the step's sequences: `rows` spread over `sequences`, at least one each. They write
  // nowhere (slot -1) and read block 0.
  struct Padding {
    int sequences = 0, rows = 0;
  };
  // Checks the inputs (kInternal) and queues the copy. REQUIRES the previous copy has passed.
  void fill(const StepInputs& inputs, int table_blocks, const Padding& padding);

  // Tokens as rows of a part of the vocabulary, for embed on one rank: `first_row` becomes 0, and what lies
  // outside becomes `rows`. From the next fill() on.
  void set_part(int64_t first_row, int64_t rows) {
    part_first_ = first_row;
    part_rows_ = rows;
  }
  const int32_t* local_tokens() const { return at<const int32_t>(local_); }
  const int32_t* tokens() const { return at<const int32_t>(tokens_); }
  const int32_t* positions() const { return at<const int32_t>(positions_); }
  const int32_t* slots() const { return at<const int32_t>(slots_); }
  // Logit rows [first, ...): `first` must be a multiple of the shape's max_logit_rows, so that the address is
  // aligned.
  const int32_t* logit_rows(int first) const;
  const int32_t* block_table() const { return at<const int32_t>(table_); }
  int table_width() const { return width_; }
  // For the attention: cumulative query ends and KV lengths, with the padding.
  const std::vector<int64_t>& query_ends() const { return ends_; }
  const std::vector<int64_t>& kv_lengths() const { return lengths_; }
  int max_sequences() const { return max_sequences_; }
  size_t bytes() const { return device_memory_.bytes(); }

 private:
  template <typename T>
  T* at(size_t offset) const {
    return reinterpret_cast<T*>(device_memory_.at(offset));
  }
  template <typename T>
  T* staged(size_t offset) const {
    return reinterpret_cast<T*>(staging_.at(offset));
  }

  AscendDevice& device_;
  const StepShape shape_;
  int width_ = 0, max_sequences_ = 0;
  int64_t part_first_ = 0, part_rows_ = 0;  // part_rows_ 0: the whole vocabulary
  int chunk_ = 0;                           // logit rows of a head call, rounded up to whole alignments
  size_t local_ = 0, tokens_ = 0, positions_ = 0, slots_ = 0, logits_ = 0, table_ = 0;
  DeviceMemory device_memory_;
  PinnedMemory staging_;
  std::vector<int64_t> ends_, lengths_;
};

// The graph buckets: 1, 2, 4, 8, then steps of 8.
int bucket_of(int sequences);

}  // namespace agentinfer
