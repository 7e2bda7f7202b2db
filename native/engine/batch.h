#pragma once
// One step's rows while they are put together and run: which sequences take part, and the flat arrays the
// backend reads. All storage is taken at construction; building a batch allocates nothing. One thread.

#include <cstdint>
#include <span>
#include <vector>

#include "backend/backend.h"
#include "engine/sequence.h"

namespace agentinfer {

struct BatchEntry {
  Sequence* sequence = nullptr;
  int outcome = 0;                  // index of its outcome record
  int64_t begin = 0;                // first position computed in this step
  int known_rows = 0;               // rows of tokens that are certain
  bool wants_logits = false;        // the known rows reach the last known token
  int draft_limit = 0;              // tokens that may be drafted for it
  bool supplied = false;            // its drafts come from the plan
  int draft_begin = 0, drafts = 0;  // its drafted tokens in Batch::drafts(), rows behind the known ones
  int first_logit = 0;              // index of its first logit row
  // Filled by verification:
  int emitted = 0, accepted = 0;
  bool done = false;  // no further row of it counts
  FinishReason finish = FinishReason::kNone;
  int error = -1;
  bool suspect = false;  // no finite logit: what it computed is not to be read again

  int rows() const { return known_rows + drafts; }
  int logit_rows() const { return wants_logits ? drafts + 1 : 0; }
};

class Batch {
 public:
  Batch(const StepShape& shape, int max_drafts);

  void clear();
  int room() const { return max_rows_ - rows_; }
  bool full() const { return room() == 0 || entries_.size() == max_sequences_; }
  // REQUIRES room for the entry's known rows. It has no drafts yet.
  void add(const BatchEntry& entry);
  // Puts drafted tokens (copied) behind the entry's known rows. REQUIRES room for them; once for an entry of
  // this batch.
  void set_drafts(BatchEntry& entry, std::span<const int32_t> drafts);
  int rows() const { return rows_; }
  std::span<BatchEntry> entries() { return entries_; }
  bool empty() const { return entries_.empty(); }
  std::span<const int32_t> drafts(const BatchEntry& entry) const;

  // Flattens the entries. REQUIRES every table to cover its rows. Valid until the next clear().
  StepInputs inputs();

 private:
  size_t max_sequences_;
  int max_rows_;
  int rows_ = 0;
  std::vector<BatchEntry> entries_;
  std::vector<int32_t> drafts_, tokens_, positions_, slots_, logit_rows_;
  std::vector<StepSequence> sequences_;
};

}  // namespace agentinfer
