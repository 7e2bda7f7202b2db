// How a step finds room: blocks for each sequence's rows, what of them is cached, and drafts for what is
// left.

#include <algorithm>

#include "engine/engine.h"
#include "engine/outcome.h"
#include "tensor/current_error.h"

namespace agentinfer {

void Engine::reserve(const StepPlan& plan, StepResult& result) {
  for (size_t i = 0; i + kPlanRow.size() <= plan.rows.size(); i += kPlanRow.size()) {
    const int outcome = outcome_count(result);
    result.outcomes.resize(result.outcomes.size() + kOutcome.size(), 0);
    field(result, outcome, OutcomeField::kSequence) = plan.rows[i];
    field(result, outcome, OutcomeField::kError) = -1;
    Sequence* sequence = find(plan.rows[i]);
    OutcomeKind kind = OutcomeKind::kGone;
    if (sequence != nullptr) {
      const bool may_join = unhealthy_.empty() && !batch_.full() && sequence->joined_step != step_;
      kind =
          may_join ? try_join(*sequence, &plan.rows[i], plan.now, outcome, result) : OutcomeKind::kDeferred;
    }
    field(result, outcome, OutcomeField::kKind) = static_cast<int32_t>(kind);
    if (kind == OutcomeKind::kGone || kind == OutcomeKind::kFailed) continue;
    field(result, outcome, OutcomeField::kComputed) = static_cast<int32_t>(sequence->computed());
    field(result, outcome, OutcomeField::kBlocks) = static_cast<int32_t>(sequence->table.blocks().size());
  }
}

// A sequence that fails before it is in the batch ends alone.
OutcomeKind Engine::try_join(Sequence& sequence, const int32_t* row, double now, int outcome,
                             StepResult& result) {
  try {
    return join(sequence, row[1], row[2], now, outcome, result);
  } catch (...) {
    fail_sequence(sequence, outcome, add_error(current_error(), result), result);
    return OutcomeKind::kFailed;
  }
}

// Finds room for a sequence's rows and puts it into the batch. Its blocks are its own from here on; if the
// step fails later they are merely unused.
OutcomeKind Engine::join(Sequence& sequence, int tokens, int draft_limit, double now, int outcome,
                         StepResult& result) {
  Reservation reservation(index_);
  int64_t computed = sequence.computed();
  if (!sequence.started) {
    if (take_hits(reservation, sequence, now) != Room::kTaken) return OutcomeKind::kDeferred;
    computed = reservation.computed();
  }
  BatchEntry entry{.sequence = &sequence, .outcome = outcome, .begin = computed};
  const int64_t missing = sequence.known() - computed;
  entry.known_rows = static_cast<int>(std::min<int64_t>({std::max(tokens, 1), missing, batch_.room()}));
  entry.wants_logits = entry.known_rows == missing;

  const int64_t context_left = max_context_ - sequence.known() - 1;
  const int64_t output_left =
      sequence.max_tokens - sequence.outputs() - 1;  // the sampled token itself is not drafted
  if (entry.wants_logits)
    entry.draft_limit = static_cast<int>(
        std::max<int64_t>(0, std::min<int64_t>({draft_limit, kMaxDraftTokens, context_left, output_left})));

  if (take_room(reservation, sequence, computed + entry.known_rows, now) != Room::kTaken)
    return OutcomeKind::kDeferred;

  reservation.commit(sequence.table);
  const std::optional<BlockCopy> copy = reservation.copy();
  if (copy) copy_block(*copy);
  run_moves();
  if (!sequence.started) {
    sequence.started = true;
    field(result, outcome, OutcomeField::kCachedTokens) = static_cast<int32_t>(computed);
    explain_miss(sequence, result);
    if (speculation_ && !sequence.drafting) speculation_->begin(sequence);
  }
  batch_.add(entry);
  sequence.joined_step = step_;
  return OutcomeKind::kCommitted;
}

// What of the sequence's tokens is cached. Host hits and the copy of a partial hit need blocks of their own;
// where there are none for them, the full device hits alone always fit.
Room Engine::take_hits(Reservation& reservation, Sequence& sequence, double now) {
  const auto wanted = std::span(sequence.tokens).first(sequence.tokens.size() - 1);
  index_.probe(wanted, sequence.cursor);
  Room room = reservation.take_hits(sequence.cursor, now);
  while (room == Room::kCopying) {  // once more for each hit that itself had to leave
    run_moves();
    index_.probe(wanted, sequence.cursor);
    room = reservation.take_hits(sequence.cursor, now);
  }
  if (room == Room::kTaken) return room;
  index_.probe(wanted, sequence.cursor);
  return reservation.take_hits(sequence.cursor, now, true);
}

// Blocks for the sequence's first `tokens` tokens.
Room Engine::take_room(Reservation& reservation, Sequence& sequence, int64_t tokens, double now) {
  const int count =
      sequence.started ? sequence.table.blocks_needed(tokens) : reservation.blocks_needed(tokens);
  Room room = reservation.take(count, now);
  while (room == Room::kCopying) {
    run_moves();
    room = reservation.take(count, now);
  }
  return room;
}

// The reference on the block copied from is given back, come what may.
void Engine::copy_block(const BlockCopy& copy) {
  try {
    run_moves();  // what it is copied from may only just be coming from the host
    decoder_.copy_block(copy.from, copy.to);
  } catch (...) {
    index_.release(copy.from);
    throw;
  }
  index_.release(copy.from);
}

// Issues the host tier's copies. They may be reported complete at once: the backend orders them before
// whatever the next step writes to the same blocks (Backend::block_to_host). When one fails, what lies where
// is unknown: nothing may be read again.
void Engine::run_moves() {
  moves_.clear();
  index_.take_moves(moves_);
  for (const HostMove& move : moves_) {
    try {
      if (unhealthy_.empty() && move.to_host) decoder_.block_to_host(move.block, move.host_block);
      if (unhealthy_.empty() && !move.to_host) decoder_.block_from_host(move.host_block, move.block);
    } catch (const std::exception& error) {
      unhealthy_ = error.what();
    }
    index_.complete(move.id);
  }
  if (!moves_.empty() && !unhealthy_.empty())
    fail(ErrorCode::kDevice, "copying KV blocks failed: ", unhealthy_);
}

void Engine::explain_miss(const Sequence& sequence, StepResult& result) {
  constexpr uint64_t kNobodys = 0;
  const MissReport miss = index_.explain(
      sequence.salt, std::span(sequence.tokens).first(sequence.tokens.size() - 1), std::span(&kNobodys, 1));
  result.misses.insert(result.misses.end(), {sequence.id, static_cast<int32_t>(miss.cause),
                                             static_cast<int32_t>(miss.index), miss.token, miss.indexed});
}

// What the plan drafts. What it drafts for sequences that are not ready for it is left out.
void Engine::take_supplied(const StepPlan& plan, std::span<BatchEntry> entries) {
  std::span<const int32_t> tokens = plan.draft_tokens;
  for (size_t i = 0; i + kPlanDraft.size() <= plan.drafts.size(); i += kPlanDraft.size()) {
    const auto count = std::min(static_cast<size_t>(std::max(plan.drafts[i + 1], 0)), tokens.size());
    const auto entry = std::find_if(entries.begin(), entries.end(), [&](const BatchEntry& of) {
      return of.sequence->id == plan.drafts[i] && of.wants_logits;
    });
    if (entry != entries.end()) {
      entry->supplied = true;
      drafts_[static_cast<size_t>(entry - entries.begin())] = tokens.first(count);
    }
    tokens = tokens.subspan(count);
  }
}

// The part of the draft that is valid and finds room.
std::span<const int32_t> Engine::make_room(const BatchEntry& entry, std::span<const int32_t> draft,
                                           double now) {
  const auto foreign = std::find_if(draft.begin(), draft.end(),
                                    [&](int32_t token) { return token < 0 || token >= vocabulary_; });
  int64_t size = std::min<int64_t>({foreign - draft.begin(), entry.draft_limit, batch_.room()});
  Sequence& sequence = *entry.sequence;
  const int64_t known = entry.begin + entry.known_rows;
  if (sequence.table.blocks_needed(known + size) > 0) {
    Reservation reservation(index_);
    if (take_room(reservation, sequence, known + size, now) == Room::kTaken)
      reservation.commit(sequence.table);
    else
      size = std::min(size, sequence.table.capacity() - known);
  }
  return draft.first(static_cast<size_t>(size));
}

void Engine::prefetch(const StepPlan& plan) {
  if (plan.prefetch.empty() || !unhealthy_.empty()) return;
  for (int32_t session : plan.prefetch) index_.prefetch(session, pool_.free_count());
  run_moves();
}

}  // namespace agentinfer
