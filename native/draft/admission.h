#pragma once
// How many tokens of each sequence's draft to verify in this step. All draft tokens of the batch compete by
// their chance to survive; as many are admitted as make (expected emitted tokens) - (what a second is worth)
// * (step time) largest. A second is worth what drafting emits per second in the long run: that choice makes
// the rate over all steps largest, where the best rate of each step by itself would cut good drafts short and
// let poor ones in. No draft is always one of the choices, so the expected rate is never below plain
// decoding, and there is no threshold to tune. (vLLM's adaptive verification takes each step by itself; the
// paper's section on AgentSAM has thresholds instead.)
//
// A pure function: the same inputs give the same lengths, bit for bit as lib/policy/speculate.ts, which users
// can replace. test/fixtures/speculate_cases.json holds both to it.

#include <span>
#include <vector>

#include "draft/acceptance.h"
#include "draft/step_cost.h"

namespace agentinfer {

struct AdmissionOptions {
  // Draft lengths a backend can run, rising, each in 1..kMaxDraftTokens; empty: any. A draft between two
  // lengths is padded up to the longer, which costs as if it were that long.
  std::vector<int> lengths;
  // Every sequence gets the same padded length (a graph captured for uniform query lengths).
  bool uniform = false;
};

struct Offer {
  // Chance that the draft's tokens 0..i are all accepted: in [0, 1], non-increasing. Empty: no draft.
  std::span<const double> survival;
  // Step time that each verified token of it adds beside its row: reading the context once more.
  double row_seconds = 0;
};

struct StepLoad {
  int tokens = 0;    // rows without drafts: decoding sequences, and prefill chunks
  double yield = 0;  // tokens emitted without drafts: the decoding sequences. > 0 where there are offers
  // Part of the step time that drafts do not change beside that of the rows: reading the context; less what
  // is not to count, such as the rows of a prefill. > -(time of the rows).
  double fixed_seconds = 0;
  int room = 0;  // rows that drafts may take, padding included
  // Tokens a second that a second is worth; less than plain decoding emits counts as that. 0: unknown, as if
  // all steps were like this one, i.e. the best rate of this step.
  double worth = 0;
};

class Admission {
 public:
  // Throws kInvalidArgument: lengths out of range or not rising.
  explicit Admission(AdmissionOptions options = {});

  // lengths[i] in 0..offers[i].survival.size(): real tokens, without padding. One thread at a time (scratch
  // memory). REQUIRES: lengths.size() == offers.size(), a valid curve (cost_at).
  void choose(std::span<const Offer> offers, const StepLoad& load, std::span<const CostPoint> curve,
              std::span<int> lengths);

 private:
  struct Group {     // tokens [begin, end) of one offer, admitted together
    double gain;     // expected accepted tokens
    double density;  // gain per row
    int tokens;      // rows, with padding
    double seconds;  // for the context of these rows
    int offer, end;
  };
  void choose_uniform(std::span<const Offer> offers, const StepLoad& load, std::span<const CostPoint> curve,
                      std::span<int> lengths) const;
  void list_groups(std::span<const Offer> offers);

  AdmissionOptions options_;
  std::vector<int> steps_;  // options_.lengths, or 1..kMaxDraftTokens
  std::vector<Group> groups_;
};

}  // namespace agentinfer
