#pragma once
// Runs steps: reserve -> draft -> forward -> verify -> commit. Owns the sequences, the KV blocks and their
// index; decides nothing (the plan comes from TypeScript). One thread calls everything, the one that made the
// backend.

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/batch.h"
#include "engine/sequence.h"
#include "engine/speculation.h"
#include "engine/step.h"
#include "engine/verify.h"
#include "kv/block_pool.h"
#include "kv/prefix_index.h"
#include "kv/reservation.h"
#include "model/forward_pass.h"
#include "tensor/check.h"

namespace agentinfer {

class Engine {
 public:
  // `decoder` is borrowed. The pool has the decoder's blocks and host blocks. Without `speculation` nothing
  // is drafted.
  Engine(ForwardPass& decoder, int vocabulary, std::unique_ptr<Speculation> speculation);
  // What the live sequences generated so far is kept for others to draft from.
  ~Engine();

  // Throws kInvalidArgument: empty prompt, token outside the vocabulary, id in use, prompt longer than the
  // context, bad sampling.
  void add(SequenceSpec spec);
  // Ends a sequence; what it computed stays cached. Unknown ids are ignored (it may have ended by itself).
  void remove(int32_t id);
  // The session will not come back: its blocks lose their retention, and nobody drafts from its text any
  // more.
  void forget_session(int64_t session);

  // What a sequence or the device did is in the result. A failure of the forward pass fails the sequences of
  // the step and gives all their blocks back; a device failure, or one of a copy of blocks, also makes every
  // later step fail. Throws (bad_alloc) only where the result itself finds no memory; nothing is lost or
  // leaked then but what this step emitted.
  StepResult step(const StepPlan& plan);

  const BlockPool& pool() const { return pool_; }
  int64_t max_context() const { return max_context_; }
  // Proves the invariants of pool, index and tables. O(everything); for tests.
  void check() const;

 private:
  using Clock = std::chrono::steady_clock;

  // engine.cc
  void apply(const StepPlan& plan);
  void draft(const StepPlan& plan, StepResult& result);
  void forward(StepResult& result);
  void learn(StepResult& result);
  void commit(StepResult& result);
  void commit_entry(BatchEntry& entry, StepResult& result);
  void fail_batch(const Error& error, StepResult& result);
  void fail_sequence(Sequence& sequence, int outcome, int error, StepResult& result);
  int add_error(const Error& error, StepResult& result);
  void end_drafting(Sequence& sequence);
  void release(Sequence& sequence);
  void probe(const StepPlan& plan, StepResult& result);
  void report_pool(StepResult& result) const;
  Sequence* find(int32_t id);

  // engine_room.cc
  void reserve(const StepPlan& plan, StepResult& result);
  OutcomeKind try_join(Sequence& sequence, const int32_t* row, double now, int outcome, StepResult& result);
  OutcomeKind join(Sequence& sequence, int tokens, int draft_limit, double now, int outcome,
                   StepResult& result);
  Room take_hits(Reservation& reservation, Sequence& sequence, double now);
  Room take_room(Reservation& reservation, Sequence& sequence, int64_t tokens, double now);
  void take_supplied(const StepPlan& plan, std::span<BatchEntry> entries);
  std::span<const int32_t> make_room(const BatchEntry& entry, std::span<const int32_t> draft, double now);
  void run_moves();
  void copy_block(const BlockCopy& copy);
  void explain_miss(const Sequence& sequence, StepResult& result);
  void prefetch(const StepPlan& plan);

  ForwardPass& decoder_;
  const int vocabulary_;
  const int64_t max_context_;
  std::unique_ptr<Speculation> speculation_;  // outlives the sequences
  BlockPool pool_;
  PrefixIndex index_;
  Batch batch_;
  Verifier verifier_;
  std::unordered_map<int32_t, std::unique_ptr<Sequence>> sequences_;
  std::vector<std::span<const int32_t>> drafts_;  // beside the batch's entries
  std::vector<HostMove> moves_;
  std::vector<PrefixIndex::Listed> listed_;
  std::string unhealthy_;  // not empty: nothing may be run or read any more, and why
  uint64_t step_ = 0;      // number of the step, counted from 1
};

}  // namespace agentinfer
