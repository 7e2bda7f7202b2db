#pragma once
// The contract between TypeScript and the engine, one crossing down (StepPlan) and one up (StepResult) for
// each step. Everything is flat so that it crosses as typed arrays. lib/native.ts is the other half: the two
// change together, and test/boundary/contract.test.ts compares the strides, field orders and kinds below with
// it.

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "draft/draft_memory.h"
#include "engine/sampler.h"

namespace agentinfer {

// What a sequence may draft from, and what it leaves behind for others.
struct SpeculationSpec {
  bool enabled = false;
  bool session =
      true;  // SequenceSpec::session, if there is one, is its session here too; else origin.session is
  SequenceOrigin origin;
};

// What a sequence is made from. Ids are chosen by the caller and unique among live sequences.
struct SequenceSpec {
  int32_t id = 0;
  int64_t session = -1;         // owner of its KV in the prefix index; -1: nobody's
  uint64_t salt = 0;            // tenants with different salts share no KV
  std::vector<int32_t> tokens;  // the prompt, at least one
  int64_t max_tokens = 0;       // tokens to generate at most, >= 1
  SamplingParams sampling;
  SpeculationSpec speculation;
};

// Names of the fields of one record, in order; a record's stride is the list's length.
inline constexpr std::array kPlanRow{"sequence", "tokens", "draftLimit"};
inline constexpr std::array kPlanPreempt{"sequence"};
inline constexpr std::array kPlanRetain{"session", "retentionClass", "expiresAt"};
inline constexpr std::array kPlanPrefetch{"session"};
inline constexpr std::array kPlanDraft{"sequence", "tokens"};
inline constexpr std::array kOutcome{"sequence", "kind",     "computed", "emitted",      "finish",
                                     "drafted",  "accepted", "blocks",   "cachedTokens", "error"};
inline constexpr std::array kProbe{"sequence", "hitTokens", "pinned", "evictable", "host", "need", "group"};
inline constexpr std::array kMiss{"sequence", "cause", "index", "token", "indexed"};
inline constexpr std::array kPool{"total", "free", "cached", "used", "hostTotal", "hostFree", "evicted"};
inline constexpr std::array kDemand{"pinned", "evictable", "host", "fresh"};
inline constexpr std::array kDraft{"sequence", "source", "drafted", "accepted", "savedMicroseconds"};
inline constexpr std::array kDraftMemory{"open",           "sessions",    "roles",           "storedSessions",
                                         "storedAutomata", "storedBytes", "evictedSessions", "failures"};
inline constexpr int32_t kSuppliedDraft = kSourceKinds;  // as a source: the plan's
inline constexpr std::array kPhases{"reserve", "draft", "forward", "sample", "commit", "total"};

// REQUIRES of whoever makes one: a sequence has one row at most (a second is deferred), is preempted or has a
// row, not both; kPlanRetain: session a safe integer >= 0, class 0..255, the expiry not NaN. What names a
// sequence that is no more is left out, or kGone.
struct StepPlan {
  double now = 0;  // seconds on the policy's clock; retention expiries are on the same clock
  std::vector<int32_t>
      rows;  // kPlanRow: compute `tokens` more tokens (a prefill chunk, or 1), then draft up to draftLimit
  std::vector<int32_t> preempt;   // kPlanPreempt: give the sequence's blocks back (they stay cached); it
                                  // starts over when planned again
  std::vector<double> retain;     // kPlanRetain
  std::vector<int32_t> prefetch;  // kPlanPrefetch: after the step, bring the session's blocks back from the
                                  // host into free ones
  // kPlanDraft: verify so many of `draft_tokens`, in order, instead of drafting for the sequence.
  std::vector<int32_t> drafts;
  std::vector<int32_t> draft_tokens;
  std::vector<int32_t> probe;  // sequences whose hit and need to report (those not started)
  bool demand = false;         // also report the union over the probed sequences
  // Further steps that may follow with the same rows and no new plan while nothing happens (plan_run.h).
  int32_t ahead = 0;
  // Milliseconds for which results that another one follows may be kept, to be published with it. Those of
  // steps that take longer are not.
  double hold = 0;
};

enum class OutcomeKind : int32_t {
  kCommitted,  // the planned tokens were computed
  kDeferred,   // no room this step: nothing happened
  kFailed,     // `error` indexes StepResult::errors; the sequence is gone
  kGone,       // no such sequence (it ended before the plan arrived)
};
inline constexpr std::array kOutcomeKinds{"committed", "deferred", "failed",
                                          "gone"};  // their names, in order
static_assert(static_cast<size_t>(OutcomeKind::kGone) + 1 == kOutcomeKinds.size());

enum class FinishReason : int32_t { kNone, kStop, kLength };
inline constexpr std::array kFinishReasons{"none", "stop", "length"};
static_assert(static_cast<size_t>(FinishReason::kLength) + 1 == kFinishReasons.size());

struct StepError {
  std::string code;  // "ERR_..."
  std::string message;
};

struct StepResult {
  std::vector<int32_t> outcomes;    // kOutcome, in plan order; `error` is -1 or an index into errors
  std::vector<int32_t> tokens;      // emitted tokens of all outcomes, in order
  std::vector<float> logprobs;      // beside tokens; NaN where the sequence did not ask. Empty if none asked
  std::vector<int32_t> top_counts;  // beside tokens: entries of top_ids; empty if none asked
  std::vector<int32_t> top_ids;     // highest first, then the asked-for ids
  std::vector<float> top_logprobs;
  std::vector<int32_t> probes;  // kProbe, of those probed whose report is another than their last
  std::vector<int32_t> misses;  // kMiss, for sequences that started in this step
  std::array<int32_t, kPool.size()> pool{};
  std::array<int32_t, kDemand.size()> demand{};
  // kDraft, for sequences with verified drafts; `source` is a SourceKind or kSuppliedDraft.
  std::vector<int32_t> drafts;
  std::array<double, kDraftMemory.size()> draft_memory{};  // DraftMemory::Stats; zeros without speculation
  std::vector<std::string> notices;             // about the draft memory: a file refused, a save that failed
  std::array<double, kPhases.size()> phases{};  // milliseconds; draft: choosing drafts and learning from them
  std::vector<StepError> errors;
  std::string unhealthy;  // not empty: the device failed, every later step fails too; why
  // Set by run_plan:
  int32_t repeat = 0;  // how many steps with this plan came before
  double gap = 0;      // milliseconds between the end of the step before and the begin of this; 0: the first
  double held = 0;     // milliseconds between the end of the step and its publication
  bool more = false;   // a further step with this plan has begun: another result comes by itself
};

}  // namespace agentinfer
