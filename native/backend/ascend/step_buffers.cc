#include "backend/ascend/step_buffers.h"

#include <algorithm>

#include "tensor/check.h"

namespace agentinfer {
namespace {

constexpr size_t kAlign = 64;  // kernels may touch 32 bytes behind an operand: keep parts apart by more

size_t place(size_t& end, size_t count) {
  const size_t begin = end;
  end = (begin + count * sizeof(int32_t) + 32 + kAlign - 1) / kAlign * kAlign;
  return begin;
}

}  // namespace

int bucket_of(int sequences) {
  for (int bucket : {1, 2, 4})
    if (sequences <= bucket) return bucket;
  return (sequences + 7) / 8 * 8;
}

StepBuffers::StepBuffers(AscendDevice& device, const StepShape& shape)
    : device_(device),
      shape_(shape),
      width_((shape.max_context + kAscendBlock - 1) / kAscendBlock),
      max_sequences_(bucket_of(shape.max_sequences) + 1),
      chunk_((shape.max_logit_rows + 7) / 8 * 8) {
  const auto rows = static_cast<size_t>(shape.max_rows);
  size_t end = 0;
  local_ = place(end, rows);
  tokens_ = place(end, rows);
  positions_ = place(end, rows);
  slots_ = place(end, rows);
  const auto chunks =
      (rows + static_cast<size_t>(shape.max_logit_rows) - 1) / static_cast<size_t>(shape.max_logit_rows);
  logits_ = place(end, chunks * static_cast<size_t>(chunk_));
  table_ = place(end, static_cast<size_t>(max_sequences_) * static_cast<size_t>(width_));
  device_memory_ = DeviceMemory(device, end, "step inputs");
  device_memory_.zero();
  staging_ = PinnedMemory(device, end, "step inputs");
  std::fill_n(staging_.as<int32_t>(), end / sizeof(int32_t), 0);
  ends_.reserve(static_cast<size_t>(max_sequences_));
  lengths_.reserve(static_cast<size_t>(max_sequences_));
}

const int32_t* StepBuffers::logit_rows(int first) const {
  ensure(first % shape_.max_logit_rows == 0, "logit rows from ", first, ": not a multiple of ",
         shape_.max_logit_rows);
  return at<const int32_t>(logits_) + first / shape_.max_logit_rows * chunk_;
}

void StepBuffers::fill(const StepInputs& inputs, int table_blocks, const Padding& padding) {
  const int rows = static_cast<int>(inputs.tokens.size());
  const int sequences = static_cast<int>(inputs.sequences.size());
  const int padded = rows + padding.rows;
  ensure(padded <= shape_.max_rows && sequences + padding.sequences <= max_sequences_ && sequences > 0,
         "step of ", padded, " rows in ", sequences + padding.sequences, " sequences, room for ",
         shape_.max_rows, " in ", max_sequences_);
  std::copy(inputs.tokens.begin(), inputs.tokens.end(), staged<int32_t>(tokens_));
  std::copy(inputs.positions.begin(), inputs.positions.end(), staged<int32_t>(positions_));
  std::copy(inputs.slots.begin(), inputs.slots.end(), staged<int32_t>(slots_));
  std::fill(staged<int32_t>(tokens_) + rows, staged<int32_t>(tokens_) + padded, 0);
  std::fill(staged<int32_t>(positions_) + rows, staged<int32_t>(positions_) + padded, 0);
  std::fill(staged<int32_t>(slots_) + rows, staged<int32_t>(slots_) + padded, -1);
  if (part_rows_ != 0)
    for (int i = 0; i < padded; ++i) {
      const int64_t row = staged<int32_t>(tokens_)[i] - part_first_;
      staged<int32_t>(local_)[i] = static_cast<int32_t>(row >= 0 && row < part_rows_ ? row : part_rows_);
    }
  for (size_t i = 0; i < inputs.logit_rows.size(); ++i) {
    const size_t chunk = i / static_cast<size_t>(shape_.max_logit_rows),
                 inside = i % static_cast<size_t>(shape_.max_logit_rows);
    staged<int32_t>(logits_)[chunk * static_cast<size_t>(chunk_) + inside] = inputs.logit_rows[i];
  }
  ends_.clear();
  lengths_.clear();
  int32_t* table = staged<int32_t>(table_);
  int end = 0;
  for (const StepSequence& sequence : inputs.sequences) {
    ensure(sequence.query_begin == end && sequence.query_end > end,
           "the sequences of a step must cover its rows in order");
    end = sequence.query_end;
    const int query = sequence.query_end - sequence.query_begin;
    const int blocks = (sequence.kv_len + kAscendBlock - 1) / kAscendBlock;
    ensure(sequence.kv_len >= query && blocks <= width_ &&
               static_cast<size_t>(blocks) <= sequence.block_table.size(),
           "sequence of ", sequence.kv_len, " tokens with ", sequence.block_table.size(),
           " blocks; the table is ", width_, " wide");
    for (int i = 0; i < blocks; ++i) {
      const int32_t block = sequence.block_table[static_cast<size_t>(i)];
      ensure(block >= 0 && block < table_blocks, "block ", block, " outside the cache of ", table_blocks);
      table[i] = block;
    }
    std::fill(table + blocks, table + width_, 0);
    table += width_;
    ends_.push_back(end);
    lengths_.push_back(sequence.kv_len);
  }
  ensure(end == rows, "the sequences of a step cover ", end, " of its ", rows, " rows");
  for (int i = 0; i < padding.sequences; ++i) {
    const int query = padding.rows / padding.sequences + (i < padding.rows % padding.sequences ? 1 : 0);
    std::fill(table, table + width_, 0);
    table += width_;
    ends_.push_back(ends_.back() + query);
    lengths_.push_back(query);
  }
  // In a padded step every row has logits.
  for (int row = rows; padding.rows > 0 && row < padded; ++row) staged<int32_t>(logits_)[row] = row;
  const size_t used = table_ + ends_.size() * static_cast<size_t>(width_) * sizeof(int32_t);
  copy_to_device(device_, device_memory_.get(), staging_.get(), used);
}

}  // namespace agentinfer
