#pragma once
// Runs steps: reserve -> draft -> forward -> verify -> commit. Owns the sequences, the KV blocks and their index; decides
// nothing (the plan comes from TypeScript). One thread calls everything, the one that made the backend.

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/batch.h"
#include "engine/sequence.h"
#include "engine/step.h"
#include "engine/verify.h"
#include "kv/block_pool.h"
#include "kv/prefix_index.h"
#include "kv/reservation.h"
#include "model/decoder.h"
#include "tensor/check.h"

namespace agentinfer {

inline constexpr int kMaxDraft = 15;  // the NPU's attention takes 16 query tokens a row in decode

// Proposes up to `limit` tokens to follow sequence.tokens, appended to `out`.
using DraftFunction = std::function<void(const Sequence& sequence, int limit, std::vector<int32_t>& out)>;

class Engine {
 public:
  // `decoder` is borrowed. The pool has the decoder's blocks and host blocks. `draft` may be empty: no speculation.
  Engine(Decoder& decoder, int vocabulary, DraftFunction draft);

  // Throws kInvalidArgument: empty prompt, token outside the vocabulary, id in use, prompt longer than the context, bad sampling.
  void add(SequenceSpec spec);
  // Ends a sequence; what it computed stays cached. Unknown ids are ignored (it may have ended by itself).
  void remove(int32_t id);
  // The session will not come back: its blocks lose their retention.
  void forget_session(int64_t session);

  // Never throws for what a sequence or the device did: that is in the result. A failure of the forward pass fails the
  // sequences of the step and gives all their blocks back; a device failure also makes every later step fail.
  StepResult step(const StepPlan& plan);

  const BlockPool& pool() const { return pool_; }
  int64_t max_context() const { return max_context_; }
  // Proves the invariants of pool, index and tables. O(everything); for tests.
  void check() const;

 private:
  using Clock = std::chrono::steady_clock;

  void apply(const StepPlan& plan);
  void reserve(const StepPlan& plan, StepResult& result);
  OutcomeKind join(Sequence& sequence, int tokens, int draft_limit, double now, int outcome, StepResult& result);
  Room take_room(Reservation& reservation, Sequence& sequence, int64_t tokens, double now);
  void forward(StepResult& result);
  void commit(StepResult& result);
  void commit_entry(BatchEntry& entry, StepResult& result);
  void fail_batch(const Error& error, StepResult& result);
  void run_moves();
  void release(Sequence& sequence);
  void explain_miss(const Sequence& sequence, StepResult& result);
  void prefetch(const StepPlan& plan);
  void probe(const StepPlan& plan, StepResult& result);
  void report_pool(StepResult& result) const;
  Sequence* find(int32_t id);

  Decoder& decoder_;
  const int vocabulary_;
  const int64_t max_context_;
  DraftFunction draft_;
  BlockPool pool_;
  PrefixIndex index_;
  Batch batch_;
  Verifier verifier_;
  std::unordered_map<int32_t, std::unique_ptr<Sequence>> sequences_;
  std::vector<int32_t> drafted_;
  std::vector<HostMove> moves_;
  std::vector<PrefixIndex::Listed> listed_;
  std::string unhealthy_;
};

}  // namespace agentinfer
