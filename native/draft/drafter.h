#pragma once
// Proposes drafts and decides how much of each to verify. Used by the engine's thread, in every step:
//
//   drafter.propose(sources, limit, draft)          for each decoding sequence whose sources are due()
//   drafter.admit(drafts, load, lengths)            once: verify the first lengths[i] tokens of drafts[i]
//   ... forward, verify ...
//   drafter.commit(sources, emitted)                for each sequence that emitted, with a draft or without
//   drafter.count(draft, lengths[i], accepted)      for each draft with lengths[i] > 0
//   drafter.finish_step(load, step)
//
// Verification makes every draft lossless, so nothing here can change what is generated, only how fast.
//
// Learning costs nothing extra: what was emitted shows whether each source's next token was right, also for
// sources not chosen and drafts not admitted. So acceptance recovers by itself after a bad phase.
//
// Thread safety: none. Throws only what AdmissionOptions and the sources' owner side (TextSource::append)
// throw.

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "draft/acceptance.h"
#include "draft/admission.h"
#include "draft/sources.h"
#include "draft/step_cost.h"

namespace agentinfer {

struct Draft {
  int length = 0;  // 0: nothing matched
  SourceKind kind = SourceKind::kOwn;
  uint32_t match_length = 0;
  double row_seconds = 0;  // for the caller to set: Offer::row_seconds
  double expected = 0;     // accepted tokens if all are verified: the sum of survival
  std::array<int32_t, kMaxDraftTokens> tokens;
  std::array<double, kMaxDraftTokens> survival;  // chance that tokens 0..i are all accepted
};

struct DrafterOptions {
  uint32_t min_match = 2;  // tokens that must match
  AdmissionOptions admission;
};

struct DraftCounters {
  struct ByKind {
    int64_t drafts = 0, drafted = 0, accepted = 0;  // drafts verified, their tokens, those accepted
  };
  std::array<ByKind, kSourceKinds> by_kind;
  double saved_seconds =
      0;  // estimated from the cost table: plain steps for the accepted tokens, less the drafts' cost
};

class Drafter {
 public:
  Drafter(DrafterOptions options, StepCost cost);

  // Fills `draft` with the best proposal, at most `limit` tokens (more than kMaxDraftTokens means that many),
  // and tells the sources whether it was worth looking. REQUIRES: as SourceSet::look.
  void propose(SourceSet& sources, int limit, Draft& draft);
  // lengths[i] <= drafts[i].length. Null entries are sequences without a draft. REQUIRES: equal sizes.
  void admit(std::span<const Draft* const> drafts, const StepLoad& load, std::span<int> lengths);
  void commit(SourceSet& sources, std::span<const int32_t> emitted);

  void count(const Draft& draft, int drafted, int accepted);
  struct Step {
    int rows = 0;              // as run, drafts and padding included
    int accepted = 0;          // draft tokens, of all sequences
    double draft_context = 0;  // seconds that reading the context for the drafts' rows should take
    double seconds = 0;        // measured; 0: says nothing about StepCost (not all rows were decodes)
  };
  void finish_step(const StepLoad& load, const Step& step);

  const StepCost& cost() const { return cost_; }
  const AcceptanceTable& acceptance() const { return acceptance_; }
  const DraftCounters& counters() const { return counters_; }

 private:
  double worth(const StepLoad& load) const;
  void learn_first(SourceSet& sources, int32_t emitted);
  void learn_pending(SourceSet& sources, std::span<const int32_t> emitted);

  DrafterOptions options_;
  StepCost cost_;
  Admission admission_;
  AcceptanceTable acceptance_;
  // Of the steps so far, fading: the time plain decoding would have taken for what was emitted, and the time
  // it took. By the cost table.
  double plain_seconds_ = 0, taken_seconds_ = 0;
  DraftCounters counters_;
  std::vector<Offer> offers_;  // scratch
};

}  // namespace agentinfer
