#pragma once
// What the engine asks of speculation, step by step. It verifies every draft, so whatever comes from here
// changes how fast a sequence is, never what it says.
//
//   begin(sequence)              when it takes part in a step for the first time
//   choose(entries, room, out)   in each step, before the forward pass
//   learn(entries, ...)          after verification, before the sequences that ended are gone
//   end(sequence)                when it finished or was removed (not after a failure)
//
// One thread calls everything, the engine's.

#include <cstdint>
#include <span>

#include "engine/batch.h"
#include "engine/sequence.h"
#include "engine/step.h"

namespace agentinfer {

class Speculation {
 public:
  virtual ~Speculation() = default;

  virtual void begin(Sequence&) {}
  // out[i]: tokens to verify behind entries[i], at most its draft_limit and `room` in all; valid until the
  // next call. What finds no KV blocks is cut off.
  // Entries whose drafts are supplied are left as they are.
  virtual void choose(std::span<const BatchEntry> entries, int room,
                      std::span<std::span<const int32_t>> out) = 0;
  // The entries are verified; `seconds`: of forward pass and sampling. Adds to result.drafts.
  virtual void learn(std::span<const BatchEntry>, double seconds, StepResult& result) {
    (void)seconds, (void)result;
  }
  virtual void end(Sequence&) {}
  virtual void forget_session(int64_t) {}
  // Fills result.draft_memory and result.notices.
  virtual void report(StepResult&) {}
};

}  // namespace agentinfer
