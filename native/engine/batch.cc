#include "engine/batch.h"

#include "tensor/check.h"

namespace agentinfer {

Batch::Batch(const StepShape& shape, int max_drafts)
    : max_sequences_(static_cast<size_t>(shape.max_sequences)), max_rows_(shape.max_rows) {
  entries_.reserve(max_sequences_);
  sequences_.reserve(max_sequences_);
  drafts_.reserve(max_sequences_ * static_cast<size_t>(max_drafts));
  for (auto* rows : {&tokens_, &positions_, &slots_, &logit_rows_})
    rows->reserve(static_cast<size_t>(max_rows_));
}

void Batch::clear() {
  rows_ = 0;
  entries_.clear();
  sequences_.clear();
  for (auto* rows : {&drafts_, &tokens_, &positions_, &slots_, &logit_rows_}) rows->clear();
}

void Batch::add(const BatchEntry& entry) {
  ensure(!full() && entry.known_rows <= room() && entry.drafts == 0, "batch overflow: ", entry.known_rows,
         " rows, room for ", room());
  entries_.push_back(entry);
  rows_ += entry.known_rows;
}

void Batch::set_drafts(BatchEntry& entry, std::span<const int32_t> drafts) {
  const int count = static_cast<int>(drafts.size());
  ensure(entry.wants_logits && entry.drafts == 0 && count <= room(), "batch overflow: ", count,
         " drafts, room for ", room());
  entry.draft_begin = static_cast<int>(drafts_.size());
  entry.drafts = count;
  drafts_.insert(drafts_.end(), drafts.begin(), drafts.end());
  rows_ += count;
}

std::span<const int32_t> Batch::drafts(const BatchEntry& entry) const {
  return std::span(drafts_).subspan(static_cast<size_t>(entry.draft_begin),
                                    static_cast<size_t>(entry.drafts));
}

StepInputs Batch::inputs() {
  for (BatchEntry& entry : entries_) {
    const Sequence& sequence = *entry.sequence;
    const int query_begin = static_cast<int>(tokens_.size());
    const auto known = std::span(sequence.tokens)
                           .subspan(static_cast<size_t>(entry.begin), static_cast<size_t>(entry.known_rows));
    tokens_.insert(tokens_.end(), known.begin(), known.end());
    const auto drafted = drafts(entry);
    tokens_.insert(tokens_.end(), drafted.begin(), drafted.end());
    for (int row = 0; row < entry.rows(); ++row) {
      positions_.push_back(static_cast<int32_t>(entry.begin + row));
      slots_.push_back(sequence.table.slot(entry.begin + row));
    }
    const int query_end = static_cast<int>(tokens_.size());
    entry.first_logit = static_cast<int>(logit_rows_.size());
    for (int row = query_end - entry.logit_rows(); row < query_end; ++row) logit_rows_.push_back(row);
    sequences_.push_back({.query_begin = query_begin,
                          .query_end = query_end,
                          .kv_len = static_cast<int>(entry.begin) + entry.rows(),
                          .block_table = sequence.table.blocks()});
  }
  return {.tokens = tokens_,
          .positions = positions_,
          .slots = slots_,
          .sequences = sequences_,
          .logit_rows = logit_rows_};
}

}  // namespace agentinfer
